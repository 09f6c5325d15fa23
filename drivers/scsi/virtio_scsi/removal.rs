// SPDX-License-Identifier: GPL-2.0

//! The removal of a host: what is in flight is waited for as long as the device does something.
//!
//! The mid-layer waits for each command, and a command has the time that its sender gave it: an
//! hour, say, to format a disk. So somebody else has to look, and gives a device up that does
//! nothing for half a minute.

use crate::{
    commands,
    hba::Hba,
    REPAIRS, //
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// How often to look, and how long the device may do nothing, in milliseconds.
const TICK_MS: u32 = 100;
const PATIENCE_MS: u32 = 30_000;

/// What the last look saw.
#[derive(Default)]
struct Seen {
    /// How many commands had come back.
    completed: usize,
    /// For how long the device does nothing, in milliseconds.
    still: u32,
}

/// Looks after the removal of a host. Made with the host: a removal needs no memory.
#[pin_data]
pub(crate) struct Removal {
    hba: Arc<Hba>,
    is_over: Atomic<bool>,
    #[pin]
    seen: Mutex<Seen>,
    #[pin]
    work: Work<Removal>,
}

impl_has_work! {
    impl HasWork<Self> for Removal { self.work }
}

impl Removal {
    pub(crate) fn new(hba: Arc<Hba>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                hba,
                is_over: Atomic::new(false),
                seen <- new_mutex!(Seen::default()),
                work <- new_work!("virtio_scsi::removal"),
            }),
            GFP_KERNEL,
        )
    }

    /// Does `remove`, which waits for commands, but for none of a device that does nothing.
    pub(crate) fn watch(self: &Arc<Self>, remove: impl FnOnce()) {
        REPAIRS.enqueue(self.clone());
        remove();
        self.is_over.store(true, Relaxed);
    }

    fn look(&self) {
        let hba = &self.hba;
        let mut seen = self.seen.lock();

        hba.events.handler().end_recovery();
        match commands::progress(&hba.requests) {
            (completed, here) if here == 0 || completed != seen.completed => {
                *seen = Seen {
                    completed,
                    still: 0,
                };
            }
            _ => seen.still += TICK_MS,
        }
        if seen.still >= PATIENCE_MS {
            // Fails if the device was unbound, which cancelled everything as well.
            let _ = hba.binding().with(|dev| {
                dev_err!(
                    dev,
                    "the device did nothing for {} s: all commands to it fail\n",
                    PATIENCE_MS / 1000
                );
                dev.cancel_queues();
                Ok(())
            });
            seen.still = 0;
        }
    }
}

/// A look at a time, since others need the one worker that there is without memory.
impl WorkItem for Removal {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if this.is_over.load(Relaxed) {
            return;
        }
        this.look();
        fsleep(Delta::from_millis(TICK_MS.into()));
        if !this.is_over.load(Relaxed) {
            REPAIRS.enqueue(this);
        }
    }
}
