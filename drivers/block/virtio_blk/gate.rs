// SPDX-License-Identifier: GPL-2.0

//! Flushes that serve several who wait, in bio mode; in request mode blk-mq does the same.
//!
//! A flush makes durable what was written before it was sent, and no more. So one that is under way
//! helps none who asks now; but all who ask meanwhile are served by the next one, on whatever queue
//! they came. Only flushes without data wait for others: bios with data send their own, which serve
//! who waits just as well.
//!
//! While somebody waits, a flush is under way, or one of those who waited is in a queue's line, to
//! send the next: so nobody is left.

use kernel::prelude::*;
use storage::{
    block::bio::{
        Bio,
        BioList, //
    },
    compat::{
        new_spinlock_irq,
        SpinLockIrq, //
    },
};

/// The flushes of a disk. Its lock comes after those of the queues.
#[pin_data]
pub(crate) struct Gate {
    #[pin]
    inner: SpinLockIrq<Inner>,
}

struct Inner {
    /// How many flushes are to be sent, or under way.
    sent: usize,
    waiting: BioList,
}

impl Gate {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- new_spinlock_irq!(Inner {
                sent: 0,
                waiting: BioList::new(),
            }),
        }? Error)
    }

    /// Has a flush without data wait for the next one to be sent. Gives it back if none is under
    /// way: then it has [entered](Self::enter), to be sent itself.
    pub(crate) fn wait(&self, flush: Bio) -> Result<(), Bio> {
        let mut inner = self.inner.lock();

        if inner.sent == 0 {
            inner.sent = 1;
            return Err(flush);
        }
        inner.waiting.push(flush);
        Ok(())
    }

    /// A flush is to be sent. Each one [leaves](Self::leave), whatever becomes of it.
    pub(crate) fn enter(&self) {
        self.inner.lock().sent += 1;
    }

    /// A flush is being sent: it serves all who wait by now. They go to `served`.
    pub(crate) fn board(&self, served: &mut BioList) {
        let mut waiting = self.inner.lock().waiting.take();

        while let Some(bio) = waiting.pop() {
            served.push(bio);
        }
    }

    /// A flush ended. Returns who is to send the next one, of those who wait.
    pub(crate) fn leave(&self) -> Option<Bio> {
        let mut inner = self.inner.lock();

        inner.sent -= 1;
        if inner.sent > 0 {
            return None;
        }
        inner.waiting.pop()
    }

    /// Whether nobody waits, and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();

        inner.sent == 0 && inner.waiting.is_empty()
    }
}
