// SPDX-License-Identifier: GPL-2.0

//! The SCSI host: what the mid-layer calls, and the host's life with the device.

use crate::{
    commands,
    counters,
    events,
    hba::{
        works,
        Hba, //
    },
    params,
    scan,
    wire::{
        self,
        Function,
        Request,
        Response, //
    },
    ScsiHost, //
};
use kernel::{
    debugfs::File,
    device::Bound,
    new_mutex,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc,
        Mutex, //
    },
};
use storage::{
    scsi::{
        operations::Timeout,
        Command,
        Device,
        Found,
        Host,
        HostTemplate,
        Late,
        NewDevice,
        Operations,
        QueueMaps,
        Refused, //
    },
    virtio::{
        self,
        frame::Envelope,
        queue::Queue,
        removal,
        restart::Condition, //
    },
};

static TEMPLATE: HostTemplate<ScsiHost> = HostTemplate::new();

#[vtable]
impl Operations for ScsiHost {
    type CommandData = Envelope<Request, Response>;
    type HostData = Hba;

    const NAME: &'static CStr = c"Virtio SCSI HBA";
    const PROC_NAME: &'static CStr = c"virtio_scsi";

    fn template() -> &'static HostTemplate<Self> {
        &TEMPLATE
    }

    #[inline]
    fn queue_command(hba: &Hba, cmd: Command<Self>, is_last: bool) -> Result<(), Refused<Self>> {
        hba.queue_command(cmd, is_last)
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
            .map_or(0, |queue| commands::poll(queue))
    }

    fn timed_out(hba: &Hba, late: &Late<'_, Self>) -> Timeout {
        let Some(queue) = hba.requests.get(late.queue()) else {
            return Timeout::Abort;
        };

        // Perhaps only an interrupt was lost, and its time was shorter than the watch takes.
        if commands::drain(queue) > 0 && !late.is_lent() {
            return Timeout::Wait;
        }
        if hba.is_removing() {
            return Timeout::Abort;
        }
        // What a device that is being repaired has not answered is sent again.
        if !works(queue) {
            late.forget_timeouts();
            hba.recovery.suspect();
            return Timeout::Wait;
        }
        // What is told of it is decided below.
        hba.late.count();
        match params::TIMEOUTS.get() {
            limit if limit > 0 && late.timeouts() >= limit => {
                dev_info!(
                    late.device().as_device(),
                    "a command is not answered in time; aborting it\n"
                );
                Timeout::Abort
            }
            _ => {
                tell_of(late);
                hba.query.suspect(late.seconds());
                Timeout::Wait
            }
        }
    }

    fn may_repeat(late: &Late<'_, Self>) -> bool {
        !late.is_passthrough() || wire::is_repeatable(late.operation())
    }

    fn abort(hba: &Hba, late: &Late<'_, Self>) -> Result {
        // A repair that has begun before the command's time was over sends it again, which it must
        // not do any more once error handling uses the command. Who lets go of the device for
        // others gives it back, with the lock of all queues held. Fails if there is no device.
        let _ = hba.binding().with(|dev| {
            // What is kept the device does not have: it comes back here.
            dev.sift_queues();
            Ok(())
        });
        if !late.is_lent() {
            return Ok(());
        }

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
        hba.binding().with(|dev| hba.reset(dev))
    }

    fn is_absent(hba: &Hba, target: u32) -> bool {
        scan::is_absent(hba, target)
    }

    fn device_init(dev: NewDevice<'_>) {
        // What the host passes through may have limits that the hypervisor shows in VPD pages,
        // whatever version of the standard the device claims.
        dev.try_vpd_pages();
    }

    fn device_configure(dev: Found<'_>) {
        // The disks and drives that QEMU makes itself: 12 of a disk's 40 commands less. What QEMU
        // passes through, and all else, bears other names.
        if dev.is_of_vendor(b"QEMU") {
            dev.read_vpd_pages_at_once();
        }
    }
}

/// Says that a device is slow, after one timeout, two, four, eight, and so on: once for all of its
/// commands, by the first that is so late.
fn tell_of(late: &Late<'_, ScsiHost>) {
    if !late.timeouts().is_power_of_two() {
        return;
    }
    let siblings = late.siblings();

    if siblings.as_late <= 1 {
        dev_warn!(
            late.device().as_device(),
            "not answered for {} s; waiting ({} commands in flight)\n",
            late.seconds(),
            siblings.all
        );
    }
}

/// The host of a bound device.
#[pin_data]
pub(crate) struct BoundHost {
    #[pin]
    host: Mutex<Option<Host<ScsiHost>>>,
    _counters: Option<Pin<KBox<File<Arc<Hba>>>>>,
    hba: Arc<Hba>,
}

impl BoundHost {
    pub(crate) fn new(host: Host<ScsiHost>, hba: Arc<Hba>) -> impl PinInit<Self, Error> {
        // Undone by `remove()`: the queue's owner owns it from here on.
        events::start(&hba.events, hba.recovery.clone());
        // The host is good without them.
        let counters = counters::show(hba.clone(), host.host_ref().number()).ok();

        try_pin_init!(Self {
            host <- new_mutex!(Some(host)),
            _counters: counters,
            hba,
        }? Error)
    }

    /// Finishes what frozen programs polled for: the mid-layer lets a disk sleep only when it is
    /// done. What is tried again meanwhile, the queue's watch finds.
    pub(crate) fn prepare_sleep(&self) {
        let hba = &self.hba;

        if hba.queues.polled > 0 {
            hba.wait_for_queues(hba.queues.interrupting as usize);
        }
    }

    /// Holds further commands back, and waits for those in flight: what the device does not answer
    /// is sent again when it is back.
    pub(crate) fn quiesce(&self) {
        let hba = &self.hba;

        hba.asleep.store(true, Relaxed);
        hba.wait_for_queues(0);
    }

    /// Tells a device that is back what its reset forgot.
    pub(crate) fn configure(&self, dev: &virtio::Device<Bound>) -> Result {
        self.hba.recovery.configure(dev)
    }

    /// Lets commands go on. If the device did not come back, it is repaired, or given up.
    pub(crate) fn resume(&self, dev: &virtio::Device<Bound>) {
        self.hba.asleep.store(false, Relaxed);
        self.hba.recovery.came_back(dev);
    }

    /// The device has something to tell: perhaps that it works no more. Any context.
    pub(crate) fn suspect(&self) {
        self.hba.recovery.suspect();
    }

    /// Removes the host: devices go, commands in flight are waited for, but not for ever.
    pub(crate) fn remove(&self, dev: &virtio::Device<Bound>) {
        let hba = &self.hba;

        events::stop(&hba.events);
        hba.recovery.remove();
        if dev.condition() != Condition::Ready {
            // Nothing in flight will come back by itself.
            dev.cancel_queues();
        }
        let host = self.host.lock().take();
        removal::watched(hba, || drop(host));
    }
}
