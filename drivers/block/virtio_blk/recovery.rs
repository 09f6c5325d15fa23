// SPDX-License-Identifier: GPL-2.0

//! What to do with a device that works no more: give it up.
//!
//! A device that writes nonsense into a ring breaks it; what is in flight would never end. So the
//! device is reset, everything in flight ends with an error, and later I/O fails at once.

use crate::{
    cache::CacheMode,
    WORKQUEUE, //
};
use kernel::{
    device::Bound,
    impl_has_work, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use storage::{
    tally::Tally,
    virtio::{
        state::Binding,
        Device, //
    },
};

/// Shared by all queues of a device.
#[pin_data]
pub(crate) struct Recovery {
    pub(crate) binding: Arc<Binding>,
    /// What a reset of the device forgets.
    #[pin]
    pub(crate) cache: CacheMode,
    /// Somebody waits for all I/O to end, which late I/O may not hold up for ever.
    impatient: Atomic<bool>,
    /// How many answers of the device were nonsense.
    nonsense: Tally,
    #[pin]
    work: Work<Recovery>,
}

impl_has_work! {
    impl HasWork<Self> for Recovery { self.work }
}

impl Recovery {
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Arc<Self>> {
        let cache = CacheMode::new(dev)?;

        Arc::pin_init(
            pin_init!(Self {
                binding: dev.binding(),
                cache <- cache,
                impatient: Atomic::new(false),
                nonsense: Tally::new(),
                work <- new_work!("virtio_blk::recovery"),
            }),
            GFP_KERNEL,
        )
    }

    /// Gives the device up, soon. Any context.
    pub(crate) fn give_up(self: &Arc<Self>) {
        if WORKQUEUE.enqueue(self.clone()) {
            dev_err!(
                self.binding.device(),
                "the device works no more: it is reset, and all I/O to it fails\n"
            );
        }
    }

    /// Whether late I/O is given up, together with the device.
    pub(crate) fn set_impatient(&self, on: bool) {
        self.impatient.store(on, Relaxed);
    }

    /// I/O is in flight for too long. Like the C driver, a device in use gets all the time that it
    /// takes. Any context.
    pub(crate) fn late(self: &Arc<Self>) {
        if self.impatient.load(Relaxed) {
            self.give_up();
        }
    }

    /// The device answered what it must not. Any context.
    #[cold]
    pub(crate) fn nonsense(&self, status: u8, used: usize, expected: usize) {
        if let Some(n) = self.nonsense.count() {
            dev_err!(
                self.binding.device(),
                "bad answer: status {:#x}, {} of {} bytes written; I/O error ({} times)\n",
                status,
                used,
                expected,
                n
            );
        }
    }

    /// The count of bad answers, for the counters.
    pub(crate) fn bad_answers(&self) -> &Tally {
        &self.nonsense
    }
}

impl WorkItem for Recovery {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // Fails if the device was unbound meanwhile, which cancelled everything as well.
        let _ = this.binding.with(|dev| {
            dev.cancel_queues();
            Ok(())
        });
    }
}
