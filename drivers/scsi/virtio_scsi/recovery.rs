// SPDX-License-Identifier: GPL-2.0

//! What to do with a device that works no more: look, wait, and when loss is proven, reset it and
//! send again what it has not answered.
//!
//! As in virtio_blk: proof is a broken ring, or what the device's status says ([`Condition`]). A
//! device that is away is waited for. One that needs repair after repair and answers nothing
//! between them is given up: all commands to it fail. A command that is only late is the business
//! of error handling.

use crate::{
    events::{
        self,
        EventQueue, //
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
use storage::{
    config_field,
    virtio::{
        config::ConfigField,
        queue::Queue,
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
    /// Who resets the device has this.
    #[pin]
    repairs: Mutex<Repairs>,
    #[pin]
    work: Work<Recovery>,
}

/// How the repairs go.
#[derive(Default)]
struct Repairs {
    /// How many there were since the device last made progress, and how much it had done then.
    futile: u32,
    completed: usize,
    /// The device was given up.
    given_up: bool,
    /// The next repair was put off already.
    waited: bool,
    /// The log says that the device is away.
    away: bool,
}

/// When to look again.
enum Next {
    /// When something happens.
    Never,
    /// After so many milliseconds.
    After(u32),
}

impl_has_work! {
    impl HasWork<Self> for Recovery { self.work }
}

/// How often to look for a device that is away, in milliseconds.
const LOOK_MS: u32 = 100;

/// The most to wait between repairs.
const MOST_MS: u32 = 10_000;

impl Recovery {
    pub(crate) fn new(dev: &Device<Bound>, events: Arc<Queue<EventQueue>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                binding: dev.binding(),
                events,
                removing: Atomic::new(false),
                down: Atomic::new(false),
                repairs <- new_mutex!(Repairs::default()),
                work <- new_work!("virtio_scsi::recovery"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Looks soon whether the device still works, and repairs it if not. Any context.
    pub(crate) fn suspect(self: &Arc<Self>) {
        REPAIRS.enqueue(self.clone());
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

    /// Resets the device because somebody wants it, also one that was given up; all commands come
    /// back. If the device does not start, that is tried again. May sleep. Fails with [`ENXIO`],
    /// and does nothing, if the device is away; else as [`Device::restart`].
    pub(crate) fn demand(self: &Arc<Self>, dev: &Device<Bound>) -> Result {
        if dev.condition() == Condition::Away {
            self.suspect();
            return Err(ENXIO);
        }
        *self.repairs.lock() = Repairs::default();
        dev_warn!(dev, "resetting the device\n");
        self.down.store(true, Relaxed);
        dev.cancel_queues();
        self.restart(dev).inspect_err(|_| self.suspect())
    }

    /// The device was reset by others, or slept, and should be back. May sleep.
    pub(crate) fn came_back(self: &Arc<Self>, dev: &Device<Bound>) {
        *self.repairs.lock() = Repairs::default();
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
        self.events.handler().report_reset();
        Ok(())
    }

    /// Looks at the device, and does what it needs.
    fn attend(&self, dev: &Device<Bound>) -> Next {
        let mut repairs = self.repairs.lock();

        if repairs.given_up || self.is_removing() {
            return Next::Never;
        }
        match dev.condition() {
            Condition::Asleep => return Next::Never,
            Condition::Away => {
                if !core::mem::replace(&mut repairs.away, true) {
                    dev_err!(dev, "the device is not there; commands wait for it\n");
                }
                // That it answered nothing to the last repair is no wonder.
                repairs.futile = 0;
                repairs.waited = false;
                return Next::After(LOOK_MS);
            }
            Condition::Ready => {
                repairs.away = false;
                return Next::Never;
            }
            Condition::Lost => repairs.away = false,
        }
        let (completed, in_flight) = dev.counts();

        if completed != repairs.completed {
            repairs.futile = 0;
            repairs.completed = completed;
        }
        let limit = params::REPAIRS.get();
        if limit > 0 && repairs.futile >= limit {
            repairs.given_up = true;
            dev_err!(
                dev,
                "the device works no more: it is reset, and all commands to it fail\n"
            );
            self.down.store(false, Relaxed);
            dev.cancel_queues();
            return Next::Never;
        }
        // The first one is done at once.
        if repairs.futile > 0 && !core::mem::replace(&mut repairs.waited, true) {
            return Next::After((LOOK_MS << repairs.futile.min(10)).min(MOST_MS));
        }
        repairs.waited = false;
        repairs.futile += 1;
        let waiting = self.events.lock().ring.in_flight();
        dev_warn!(
            dev,
            "resetting the device, since it works no more; {} commands in flight are sent again\n",
            in_flight - waiting.min(in_flight)
        );
        match self.restart(dev) {
            Ok(()) => Next::Never,
            Err(_) => Next::After(0),
        }
    }

    /// Resets the device, and sends again what it has not answered.
    fn restart(&self, dev: &Device<Bound>) -> Result {
        dev.restart(|| self.configure(dev)).inspect_err(|e| {
            dev_err!(dev, "the device does not start again: {:?}\n", e);
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

impl WorkItem for Recovery {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        const TICK_MS: u32 = 20;
        let mut left = 0u32;

        loop {
            // Neither a removal nor the end of the module waits longer than that for this.
            while left > 0 {
                if this.binding.with(|_| Ok(())).is_err() {
                    return;
                }
                fsleep(Delta::from_millis(TICK_MS.into()));
                left = left.saturating_sub(TICK_MS);
            }
            // Fails if the device was unbound, which cancelled everything as well.
            match this.binding.with(|dev| Ok(this.attend(dev))) {
                Ok(Next::After(ms)) => left = ms,
                _ => return,
            }
        }
    }
}
