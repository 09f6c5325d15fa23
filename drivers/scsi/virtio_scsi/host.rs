// SPDX-License-Identifier: GPL-2.0

//! The SCSI host: what the mid-layer calls, and what happens when the device does not answer.

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
    params, probe,
    tmf::{
        self,
        ControlQueue, //
    },
    wire::{
        Address,
        Function,
        Request,
        Response, //
    },
};
use kernel::{
    device::Bound,
    new_mutex,
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
};
use storage::{
    cpu_map::CpuMap,
    scsi::{
        operations::Timeout,
        Command,
        Device,
        Host,
        HostByte,
        Late,
        Operations,
        QueueMaps,
        Refused, //
    },
    virtio::{
        self,
        frame::Envelope,
        queue::Queue,
        state::Binding, //
    },
};

/// The SCSI driver.
pub(crate) struct ScsiHost;

/// The data of a host: the queues of its device.
pub(crate) struct Hba {
    pub(crate) binding: Arc<Binding>,
    pub(crate) control: Arc<Queue<ControlQueue>>,
    pub(crate) events: Arc<Queue<EventQueue>>,
    pub(crate) requests: Arc<RequestQueues>,
    pub(crate) queues: Queues,
    /// Whose interrupts go to which CPU.
    map: CpuMap,
    /// The host is being removed: no command may hold that up for ever.
    removing: Atomic<bool>,
    /// The device is being reset, or sleeps: commands wait.
    pub(crate) held: Atomic<bool>,
    /// The device sleeps, so that error handling must not start it.
    asleep: Atomic<bool>,
    /// How often there were late commands, and interrupts that were lost.
    late: Atomic<u32>,
    lost: Atomic<u32>,
    /// How many commands found a broken ring.
    stranded: Atomic<u32>,
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
            held: Atomic::new(false),
            asleep: Atomic::new(false),
            late: Atomic::new(0),
            lost: Atomic::new(0),
            stranded: Atomic::new(0),
        }
    }

    fn device(&self) -> &virtio::Device {
        self.binding.device()
    }

    fn is_removing(&self) -> bool {
        self.removing.load(Relaxed)
    }

    /// Decides what becomes of a command that the ring did not take.
    #[cold]
    pub(crate) fn not_added(
        &self,
        queue: &Queue<RequestQueue>,
        cmd: Command<ScsiHost>,
        e: Error,
    ) -> Result<(), Refused<ScsiHost>> {
        let host = if e == ENOSPC || e == ENOMEM {
            // It comes again when another one completes, or after a while.
            return Err(cmd.refuse());
        } else if e == ENODEV && self.held.load(Relaxed) {
            return Err(cmd.refuse());
        } else if e == ENODEV {
            HostByte::NO_CONNECT
        } else if e == EIO && self.can_recover() {
            // This ring is broken, by what the device wrote there. Only a reset mends it, which
            // error handling comes to when the command's time is over, as for those in the ring.
            if let Some(n) = count(&self.stranded) {
                dev_warn!(
                    self.device(),
                    "a queue works no more; commands wait for a reset ({} times)\n",
                    n
                );
            }
            queue.lock().state.push(cmd);
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
        tmf::watch(self.control.as_arc_borrow());
    }

    /// Has the device perform `function` on `dev`.
    fn manage(&self, dev: &Device, function: Function) -> Result {
        let address = Address::new(dev.target(), dev.lun()).ok_or(EINVAL)?;
        let result = tmf::run(&self.control, function, address, self.is_removing());

        // All commands that a function ended are in the rings before the function's answer, but
        // perhaps not taken out yet.
        commands::drain_all(&self.requests);
        result
    }

    /// Waits until the device has no command of the queues from `first` on, but not for ever.
    fn wait_for_queues(&self, first: usize) {
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
    fn can_recover(&self) -> bool {
        !self.is_removing() && !self.control.lock().ring.is_broken()
    }

    /// Takes everything back from the device, which does not start again.
    fn cancel(&self, dev: &virtio::Device<Bound>) {
        dev.cancel_queues();
        self.end_stranded();
    }

    fn end_stranded(&self) {
        for queue in self.requests.iter() {
            commands::end_stranded(queue);
        }
    }

    /// Whether a ring can work no more.
    fn is_broken(&self) -> bool {
        self.requests
            .iter()
            .any(|queue| queue.lock().ring.is_broken())
    }

    /// Resets the device and starts it again; or, if it is to go, only resets it. All commands
    /// come back, whatever happens.
    fn reset(&self, dev: &virtio::Device<Bound>) -> Result {
        if self.is_removing() || self.asleep.load(Relaxed) {
            self.cancel(dev);
            return Err(ENODEV);
        }
        dev_warn!(dev, "resetting the device\n");
        self.held.store(true, Relaxed);
        let result = dev.restart(|| probe::configure(dev));
        self.held.store(false, Relaxed);
        self.end_stranded();
        match result {
            Ok(()) => {
                self.started();
                events::sweep(self.events.as_arc_borrow());
            }
            Err(e) => dev_err!(dev, "the device does not start again: {:?}\n", e),
        }
        result
    }
}

#[vtable]
impl Operations for ScsiHost {
    type CommandData = Envelope<Request, Response>;
    type HostData = Hba;

    const NAME: &'static CStr = c"Virtio SCSI HBA";
    const PROC_NAME: &'static CStr = c"virtio_scsi";

    #[inline]
    fn queue_command(hba: &Hba, cmd: Command<Self>, is_last: bool) -> Result<(), Refused<Self>> {
        commands::queue_command(hba, cmd, is_last)
    }

    fn commit(hba: &Hba, queue: usize) {
        if let Some(queue) = hba.requests.get(queue) {
            Queue::kick(queue.lock());
        }
    }

    fn map_queues(hba: &Hba, maps: QueueMaps<'_>) {
        maps.map(&hba.map, hba.queues.interrupting, hba.queues.polled);
    }

    fn poll(hba: &Hba, queue: usize) -> usize {
        hba.requests
            .get(queue)
            .map_or(0, |queue| commands::drain(queue))
    }

    fn timed_out(hba: &Hba, late: &Late<'_, Self>) -> Timeout {
        let Some(queue) = hba.requests.get(late.queue()) else {
            return Timeout::Abort;
        };

        // Perhaps only an interrupt was lost.
        if commands::drain(queue) > 0 && !late.is_lent() {
            if let Some(n) = count(&hba.lost) {
                dev_warn!(
                    hba.device(),
                    "commands were done without an interrupt ({} times)\n",
                    n
                );
            }
            return Timeout::Wait;
        }
        if hba.is_removing() || queue.lock().ring.is_broken() {
            return Timeout::Abort;
        }
        match params::TIMEOUTS.get() {
            limit if limit > 0 && late.timeouts() >= limit => {
                dev_info!(
                    late.device().as_device(),
                    "a command is not answered in time; aborting it\n"
                );
                Timeout::Abort
            }
            _ => {
                if let Some(n) = count(&hba.late) {
                    dev_warn!(
                        hba.device(),
                        "commands are in flight for longer than their timeout; waiting \
                        (noticed {} times)\n",
                        n
                    );
                }
                Timeout::Wait
            }
        }
    }

    fn abort(hba: &Hba, late: &Late<'_, Self>) -> Result {
        hba.manage(late.device(), Function::AbortTask(late.tag().into()))
    }

    fn device_reset(hba: &Hba, dev: &Device) -> Result {
        dev_info!(dev.as_device(), "device reset\n");
        hba.manage(dev, Function::ResetUnit)
    }

    fn target_reset(hba: &Hba, dev: &Device) -> Result {
        dev_info!(dev.as_device(), "target reset\n");
        hba.manage(dev, Function::ResetNexus)
    }

    fn host_reset(hba: &Hba) -> Result {
        // Fails if the device was unbound meanwhile, which cancelled everything as well.
        hba.binding.with(|dev| hba.reset(dev))
    }

    fn device_init(dev: &Device) {
        // What the host passes through may have limits that the hypervisor shows in VPD pages,
        // whatever version of the standard the device claims.
        dev.try_vpd_pages();
    }
}

/// The host of a bound device.
#[pin_data]
pub(crate) struct BoundHost {
    #[pin]
    host: Mutex<Option<Host<ScsiHost>>>,
    hba: Arc<Hba>,
}

impl BoundHost {
    pub(crate) fn new(host: Host<ScsiHost>, hba: Arc<Hba>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            host <- new_mutex!(Some(host)),
            hba,
        }? Error)
    }

    /// Finishes what frozen programs polled for: the mid-layer lets a disk sleep only when it is
    /// done. What is tried again meanwhile, the control queue's watch finds.
    pub(crate) fn prepare_sleep(&self) {
        let hba = &self.hba;

        if hba.queues.polled > 0 {
            hba.wait_for_queues(hba.queues.interrupting as usize);
            tmf::watch(hba.control.as_arc_borrow());
        }
    }

    /// Holds further commands back, and waits for those in flight: what the device does not answer
    /// comes back when it loses its queues, and is tried again.
    pub(crate) fn quiesce(&self) {
        let hba = &self.hba;

        hba.held.store(true, Relaxed);
        hba.asleep.store(true, Relaxed);
        hba.wait_for_queues(0);
    }

    /// Lets commands go on. If the device did not come back, they fail.
    pub(crate) fn resume(&self, dev: &virtio::Device<Bound>) {
        let hba = &self.hba;
        let is_back = hba.events.lock().ring.size() > 0 && probe::configure(dev).is_ok();

        hba.asleep.store(false, Relaxed);
        hba.held.store(false, Relaxed);
        if is_back {
            hba.started();
            events::sweep(hba.events.as_arc_borrow());
        }
    }

    /// Removes the host: devices go, commands in flight are waited for, but not for ever.
    pub(crate) fn remove(&self, dev: &virtio::Device<Bound>) {
        let hba = &self.hba;

        hba.events.handler().stop();
        hba.removing.store(true, Relaxed);
        if hba.is_broken() {
            // The device was pulled: nothing in flight will come back by itself.
            hba.cancel(dev);
        }
        let host = self.host.lock().take();
        drop(host);
    }
}

/// Counts, and returns the count when it is worth a message: at powers of two.
pub(crate) fn count(counter: &Atomic<u32>) -> Option<u32> {
    let n = counter.fetch_add(1, Relaxed).wrapping_add(1);

    n.is_power_of_two().then_some(n)
}
