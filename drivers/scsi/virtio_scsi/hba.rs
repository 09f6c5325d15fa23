// SPDX-License-Identifier: GPL-2.0

//! The device behind a host: its queues, and what is done when it does not answer.

use crate::{
    commands::{
        self,
        RequestQueue,
        RequestQueues, //
    },
    events::{
        self,
        EventQueue, //
    },
    limits::Queues,
    tmf::{
        self,
        ControlQueue, //
    },
    wire::{
        Address,
        Function,
        CDB_SIZE,
        SENSE_SIZE, //
    },
    ScsiHost, //
};
use kernel::{
    device::Bound,
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
};
use storage::{
    config_field,
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
        config::ConfigField,
        queue::{
            Handler,
            Queue, //
        },
        state::Binding, //
    },
};

/// The data of a host: the queues of its device.
pub(crate) struct Hba {
    pub(crate) binding: Arc<Binding>,
    pub(crate) control: Arc<Queue<ControlQueue>>,
    pub(crate) events: Arc<Queue<EventQueue>>,
    pub(crate) requests: Arc<RequestQueues>,
    pub(crate) queues: Queues,
    /// Whose interrupts go to which CPU.
    pub(crate) map: CpuMap,
    /// The host is being removed: no command may hold that up for ever.
    pub(crate) removing: Atomic<bool>,
    /// Error handling resets the device: commands wait.
    resetting: Atomic<bool>,
    /// The device sleeps: commands wait, and error handling must not start it.
    pub(crate) asleep: Atomic<bool>,
    /// How many commands found a broken ring.
    stranded: Tally,
}

impl Hba {
    pub(crate) fn new(
        binding: Arc<Binding>,
        control: Arc<Queue<ControlQueue>>,
        events: Arc<Queue<EventQueue>>,
        requests: Arc<RequestQueues>,
        queues: Queues,
        map: CpuMap,
    ) -> Self {
        Self {
            binding,
            control,
            events,
            requests,
            queues,
            map,
            removing: Atomic::new(false),
            resetting: Atomic::new(false),
            asleep: Atomic::new(false),
            stranded: Tally::new(),
        }
    }

    pub(crate) fn device(&self) -> &virtio::Device {
        self.binding.device()
    }

    /// Whether commands wait: two that hold them, each lets go of its own hold only.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        self.resetting.load(Relaxed) || self.asleep.load(Relaxed)
    }

    pub(crate) fn is_removing(&self) -> bool {
        self.removing.load(Relaxed)
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
            return Err(cmd.refuse());
        }
        commands::submit(queue, cmd, is_last).or_else(|(cmd, e)| self.not_added(queue, cmd, e))
    }

    /// Tells the device the sizes of the driver's fields; to be done after each reset.
    pub(crate) fn configure(dev: &virtio::Device<Bound>) -> Result {
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
        Ok(())
    }

    /// Decides what becomes of a command that the ring did not take.
    #[cold]
    fn not_added(
        &self,
        queue: &Queue<RequestQueue>,
        cmd: Command<ScsiHost>,
        e: Error,
    ) -> Result<(), Refused<ScsiHost>> {
        let host = if e == ENOSPC || e == ENOMEM {
            // It comes again when another one completes, or after a while.
            return Err(cmd.refuse());
        } else if e == ENODEV && self.holds() {
            return Err(cmd.refuse());
        } else if e == ENODEV {
            HostByte::NO_CONNECT
        } else if e == EIO && self.can_recover() {
            // This ring is broken, by what the device wrote there. Only a reset mends it, which
            // error handling comes to when the command's time is over, as for those in the ring.
            if let Some(n) = self.stranded.count() {
                dev_warn!(
                    self.device(),
                    "a queue works no more; commands wait for a reset ({} times)\n",
                    n
                );
            }
            queue.lock().state().push(cmd);
            return Ok(());
        } else if e == EIO {
            // All rings are broken: the device was pulled.
            HostByte::BAD_TARGET
        } else {
            HostByte::ERROR
        };

        commands::end(cmd, host);
        Ok(())
    }

    /// What is to be done once the device is ready, for the first time or again.
    pub(crate) fn started(&self) {
        events::refill(&self.events);
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

    /// Whether a reset may help. When the device is pulled, the control queue is broken, too.
    pub(crate) fn can_recover(&self) -> bool {
        !self.is_removing() && works(&self.control)
    }

    /// Takes everything back from the device, which does not start again.
    pub(crate) fn cancel(&self, dev: &virtio::Device<Bound>) {
        dev.cancel_queues();
        self.end_stranded();
    }

    fn end_stranded(&self) {
        for queue in self.requests.iter() {
            commands::end_stranded(queue);
        }
    }

    /// Whether a ring can work no more.
    pub(crate) fn is_broken(&self) -> bool {
        !self.requests.iter().all(|queue| works(queue))
    }

    /// Resets the device and starts it again; or, if it is to go, only resets it. All commands
    /// come back, whatever happens. If the device sleeps, who wakes it starts it: for error handling
    /// that is as good, the commands wait.
    pub(crate) fn reset(&self, dev: &virtio::Device<Bound>) -> Result {
        if self.is_removing() || self.asleep.load(Relaxed) {
            self.cancel(dev);
            return if self.is_removing() {
                Err(ENODEV)
            } else {
                Ok(())
            };
        }
        dev_warn!(dev, "resetting the device\n");
        self.resetting.store(true, Relaxed);
        let result = dev.restart(|| Self::configure(dev));
        self.resetting.store(false, Relaxed);
        self.end_stranded();
        match result {
            Ok(()) => {
                self.started();
                events::sweep(self.events.as_arc_borrow());
                Ok(())
            }
            // It went to sleep just now.
            Err(e) if e == EBUSY => Ok(()),
            Err(e) => {
                dev_err!(dev, "the device does not start again: {:?}\n", e);
                Err(e)
            }
        }
    }
}

/// Whether the device may still answer on `queue`.
pub(crate) fn works<H: Handler>(queue: &Queue<H>) -> bool {
    let guard = queue.lock();

    guard.ring.is_attached() && !guard.ring.is_broken()
}
