// SPDX-License-Identifier: GPL-2.0

//! What to do with a device that works no more: look, wait, and when loss is proven, reset it and
//! send again what it has not answered.
//!
//! What counts as proof, and when such a device is given up, is in the library, see [`repair`]. A
//! command that is only late is the business of error handling, unless the device says that it has
//! lost it, see `query`.

use crate::{
    events::{
        self,
        EventQueue,
        Repairer, //
    },
    params,
    wire::{
        CDB_SIZE,
        SENSE_SIZE, //
    },
    REPAIRS, //
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
    config_field,
    scsi::HostRef,
    tally::Tally,
    virtio::{
        config::ConfigField,
        queue::Queue,
        repair::{
            self,
            Repair,
            Repairs,
            Wish, //
        },
        restart::Condition,
        state::Binding,
        Device, //
    },
};

/// Shared by all queues of a device.
#[pin_data]
pub(crate) struct Recovery {
    pub(crate) binding: Arc<Binding>,
    events: Arc<Queue<EventQueue>>,
    /// The host is being removed: no command may hold that up for ever.
    removing: Atomic<bool>,
    /// The queues were taken from the device, which is to be started again: commands wait.
    down: Atomic<bool>,
    /// The device has lost commands, as it says itself.
    lost: Atomic<bool>,
    /// It does not say what it has, and is not asked before the next reset.
    mute: Atomic<bool>,
    /// How often the device was reset.
    resets: Tally,
    #[pin]
    repairs: Repairs,
    #[pin]
    work: Work<Recovery>,
}

impl_has_work! {
    impl HasWork<Self> for Recovery { self.work }
}

impl Recovery {
    pub(crate) fn new(dev: &Device<Bound>, events: Arc<Queue<EventQueue>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                binding: dev.binding(),
                events,
                removing: Atomic::new(false),
                down: Atomic::new(false),
                lost: Atomic::new(false),
                mute: Atomic::new(false),
                resets: Tally::new(),
                repairs <- Repairs::new(),
                work <- new_work!("virtio_scsi::recovery"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// How often the device was reset, for the counters.
    pub(crate) fn resets(&self) -> &Tally {
        &self.resets
    }

    /// Looks soon whether the device still works, and repairs it if not. Any context.
    pub(crate) fn suspect(self: &Arc<Self>) {
        REPAIRS.enqueue(self.clone());
    }

    /// Whose device it is; `None` before that is added.
    pub(crate) fn host(&self) -> Option<&HostRef> {
        self.events.handler().host()
    }

    /// The device has lost commands: it is to be reset.
    pub(crate) fn lose(self: &Arc<Self>) {
        self.lost.store(true, Relaxed);
        self.suspect();
    }

    /// Notes that the device does not say what it has.
    pub(crate) fn set_mute(&self) {
        self.mute.store(true, Relaxed);
    }

    pub(crate) fn is_mute(&self) -> bool {
        self.mute.load(Relaxed)
    }

    /// From here on nothing is repaired.
    pub(crate) fn remove(&self) {
        self.removing.store(true, Relaxed);
    }

    /// Whether commands wait for a reset that somebody wanted, and that did not succeed yet.
    #[inline]
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Relaxed) && !self.is_removing()
    }

    pub(crate) fn is_removing(&self) -> bool {
        self.removing.load(Relaxed)
    }

    /// Resets the device because somebody wants it, also one that was given up, and sends again
    /// what it has not answered, but for what error handling waits for: that comes back. If the
    /// device does not start, all commands come back, and it is tried again. May sleep. Fails with
    /// [`ENXIO`], and does nothing, if the device is away; else as [`Device::restart`].
    pub(crate) fn demand(self: &Arc<Self>, dev: &Device<Bound>) -> Result {
        if dev.condition() == Condition::Away {
            self.suspect();
            return Err(ENXIO);
        }
        self.repairs.hold().forget();
        self.lost.store(false, Relaxed);
        dev_warn!(dev, "resetting the device\n");
        self.restart(dev).inspect_err(|e| {
            if dev.condition() == Condition::Asleep {
                // Others have just taken it, and start it. Error handling may not end while a
                // command of its own is kept.
                dev.sift_queues();
            } else if *e != ENXIO {
                // The same.
                self.down.store(true, Relaxed);
                dev.cancel_queues();
            }
            self.suspect();
        })
    }

    /// The device was reset by others, or slept, and should be back. May sleep.
    pub(crate) fn came_back(self: &Arc<Self>, dev: &Device<Bound>) {
        self.repairs.hold().forget();
        self.lost.store(false, Relaxed);
        self.down.store(false, Relaxed);
        match dev.condition() {
            Condition::Ready => self.started(),
            _ => self.suspect(),
        }
    }

    /// Tells a device that is not ready yet what its reset forgot, before the first command that a
    /// unit may tell of the reset.
    pub(crate) fn configure(&self, dev: &Device<Bound>) -> Result {
        const CDB_AT: ConfigField<u32> = config_field!(virtio_scsi_config, cdb_size);
        const SENSE_AT: ConfigField<u32> = config_field!(virtio_scsi_config, sense_size);

        dev.write_config(CDB_AT, CDB_SIZE as u32)?;
        dev.write_config(SENSE_AT, SENSE_SIZE as u32)?;
        for (name, at, wanted) in [
            ("cdb_size", CDB_AT, CDB_SIZE),
            ("sense_size", SENSE_AT, SENSE_SIZE),
        ] {
            let found: u32 = dev.read_config(at)?;

            if found as usize != wanted {
                dev_err!(
                    dev,
                    "configuration refused: {} stays {}, though the driver wrote {}\n",
                    name,
                    found,
                    wanted
                );
                return Err(EINVAL);
            }
        }
        self.mute.store(false, Relaxed);
        self.events.handler().report_reset();
        Ok(())
    }

    /// Resets the device, and sends again what it has not answered. Fails with [`ENODEV`] once the
    /// host is being removed: then the device is reset only.
    fn restart(&self, dev: &Device<Bound>) -> Result {
        // Looked at under the lock of the queues, which a removal takes after it has begun: from
        // then on nobody gives commands to a device again that may be silent.
        let configure = || match self.is_removing() {
            true => Err(ENODEV),
            false => self.configure(dev),
        };

        // Each is told.
        self.resets.count();
        dev.restart(configure).inspect_err(|e| {
            if self.is_removing() {
                // What is kept is not sent any more.
                dev.cancel_queues();
            } else {
                dev_err!(dev, "the device does not start again: {:?}\n", e);
            }
        })?;
        self.down.store(false, Relaxed);
        self.started();
        Ok(())
    }

    /// What is to be done when the device is ready again.
    fn started(&self) {
        events::refill(&self.events);
        // What changed meanwhile, nobody told.
        events::sweep(self.events.as_arc_borrow());
    }
}

impl Repair for Recovery {
    const WAITS: &'static str = "commands wait for it";
    const FAILS: &'static str = "all commands to it fail";

    fn binding(&self) -> &Binding {
        &self.binding
    }

    fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    fn limit(&self) -> u32 {
        params::REPAIRS.get()
    }

    fn wish(&self) -> Wish {
        if self.is_removing() {
            Wish::Leave
        } else if self.lost.load(Relaxed) {
            Wish::Reset("it has lost commands")
        } else {
            Wish::Nothing
        }
    }

    fn repair(&self, dev: &Device<Bound>, why: &str) -> Result {
        let (_, in_flight) = dev.counts();
        // The buffers of events wait for something to happen.
        let waiting = self.events.lock().ring.in_flight();

        self.lost.store(false, Relaxed);
        dev_warn!(
            dev,
            "resetting the device, since {}; {} commands in flight are sent again\n",
            why,
            in_flight - waiting.min(in_flight)
        );
        self.restart(dev)
    }

    fn given_up(&self) {
        self.down.store(false, Relaxed);
    }
}

impl Repairer for Recovery {
    fn suspect(self: Arc<Self>) {
        Recovery::suspect(&self);
    }
}

impl WorkItem for Recovery {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if repair::attend(&*this) {
            this.suspect();
        }
    }
}
