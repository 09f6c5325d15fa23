// SPDX-License-Identifier: GPL-2.0

//! The device behind a host: its queues, and what is done when somebody wants it reset.

use crate::{
    commands::{
        self,
        RequestQueues, //
    },
    events::EventQueue,
    limits::Queues,
    query::Query,
    recovery::Recovery,
    tmf::{
        self,
        ControlQueue, //
    },
    wire::{
        Address,
        Function, //
    },
    ScsiHost, //
};
use kernel::{
    device::Bound,
    impl_has_work,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue::Work, //
};
use storage::{
    cpu_map::CpuMap,
    scsi::{
        Command,
        Device,
        HostByte,
        Refused, //
    },
    tally::Tally,
    virtio::{
        self,
        queue::{
            Handler,
            Queue, //
        },
        removal::Removal,
        restart::Condition,
        state::Binding, //
    },
};

/// The data of a host: the queues of its device. Its work looks after the host's removal.
#[pin_data]
pub(crate) struct Hba {
    pub(crate) recovery: Arc<Recovery>,
    pub(crate) control: Arc<Queue<ControlQueue>>,
    pub(crate) events: Arc<Queue<EventQueue>>,
    pub(crate) requests: Arc<RequestQueues>,
    /// Whether the device still has what is late.
    pub(crate) query: Arc<Query>,
    pub(crate) queues: Queues,
    /// Whose interrupts go to which CPU.
    pub(crate) map: CpuMap,
    /// The device sleeps, or is about to: commands wait.
    pub(crate) asleep: Atomic<bool>,
    /// How often a command's time was over, and the device had not answered it.
    pub(crate) late: Tally,
    #[pin]
    pub(crate) removal: Removal,
    #[pin]
    work: Work<Hba>,
}

impl_has_work! {
    impl HasWork<Self> for Hba { self.work }
}

impl Hba {
    pub(crate) fn new(
        recovery: Arc<Recovery>,
        control: Arc<Queue<ControlQueue>>,
        events: Arc<Queue<EventQueue>>,
        requests: Arc<RequestQueues>,
        query: Arc<Query>,
        queues: Queues,
        map: CpuMap,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            recovery,
            control,
            events,
            requests,
            query,
            queues,
            map,
            asleep: Atomic::new(false),
            late: Tally::new(),
            removal <- Removal::new(),
            work <- new_work!("virtio_scsi::removal"),
        })
    }

    pub(crate) fn binding(&self) -> &Binding {
        &self.recovery.binding
    }

    /// Whether commands wait: two that hold them, each lets go of its own hold only.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        self.recovery.is_down() || self.asleep.load(Relaxed)
    }

    pub(crate) fn is_removing(&self) -> bool {
        self.recovery.is_removing()
    }

    /// Gives a command to the device, or says why not.
    #[inline]
    pub(crate) fn queue_command(
        &self,
        cmd: Command<ScsiHost>,
        is_last: bool,
    ) -> Result<(), Refused<ScsiHost>> {
        let Some(queue) = self.requests.get(cmd.queue()) else {
            return Err(cmd.refuse());
        };
        if self.holds() {
            return Err(cmd.refuse_until_back());
        }
        commands::submit(queue, cmd, is_last).or_else(|(cmd, e)| self.not_added(cmd, e))
    }

    /// Decides what becomes of a command that the ring did not take.
    #[cold]
    fn not_added(&self, cmd: Command<ScsiHost>, e: Error) -> Result<(), Refused<ScsiHost>> {
        let host = if e == ENOSPC || e == ENOMEM {
            // It comes again when another one completes, or after a while.
            return Err(cmd.refuse());
        } else if e == EAGAIN || e == ENODEV && self.holds() {
            return Err(cmd.refuse_until_back());
        } else if e == ENODEV || e == EIO && self.is_removing() {
            // Nobody starts, or repairs, the device any more.
            HostByte::NO_CONNECT
        } else if e == EIO && cmd.has_other_path() && !cmd.is_late() {
            // The ring is broken: the other path need not wait for the repair.
            self.recovery.suspect();
            HostByte::TRANSPORT_FAILFAST
        } else if e == EIO {
            // The ring is broken: until it is repaired, or the device is gone.
            self.recovery.suspect();
            return Err(cmd.refuse_until_back());
        } else {
            HostByte::ERROR
        };

        commands::end(cmd, host);
        Ok(())
    }

    /// Has the device perform `function` on `dev`.
    pub(crate) fn manage(&self, dev: &Device, function: Function) -> Result {
        let address = Address::new(dev.target(), dev.lun()).ok_or(EINVAL)?;
        let result = tmf::run(&self.control, function, address, self.is_removing());

        // All commands that a function ended are in the rings before the function's answer, but
        // perhaps not taken out yet.
        commands::drain_all(&self.requests);
        result
    }

    /// Waits until the device has no command of the queues from `first` on, but not for ever.
    pub(crate) fn wait_for_queues(&self, first: usize) {
        const POLL_MS: i64 = 10;
        const LIMIT_MS: i64 = 30_000;
        let queues = self.requests.get(first..).unwrap_or_default();
        let mut waited = 0;

        while queues.iter().any(|queue| queue.lock().ring.in_flight() > 0) && waited < LIMIT_MS {
            fsleep(Delta::from_millis(POLL_MS));
            waited += POLL_MS;
            commands::drain_all(queues);
        }
    }

    /// Resets the device and starts it again; or, if it is to go, only resets it. What is in flight
    /// is sent again, or comes back; what error handling waits for always does, but from a device
    /// that is away, which nobody can reset. If the device sleeps, or others reset it, who wakes it
    /// starts it: that is as good, the commands wait, but for what error handling waits for; unless
    /// they do not come back.
    pub(crate) fn reset(&self, dev: &virtio::Device<Bound>) -> Result {
        if self.is_removing() {
            dev.cancel_queues();
            return Err(ENODEV);
        }
        // Nobody wakes it meanwhile, who would need the binding as well.
        if dev.condition() == Condition::Asleep {
            match dev.take_from_others() {
                Ok(()) => self.asleep.store(false, Relaxed),
                // They bring it back.
                Err(e) if e == EBUSY => {
                    dev.sift_queues();
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        match self.recovery.demand(dev) {
            // It went to sleep just now.
            Err(e) if e == EBUSY => Ok(()),
            result => result,
        }
    }
}

/// Whether the device may answer on `queue`: not while it is repaired. It may while there is more
/// to send again than the ring had room for.
pub(crate) fn works<H: Handler>(queue: &Queue<H>) -> bool {
    let guard = queue.lock();

    guard.ring.is_attached() && !guard.ring.is_broken()
}
