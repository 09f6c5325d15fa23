// SPDX-License-Identifier: GPL-2.0

//! Events: logical units come, go and change.
//!
//! The device writes events into buffers of ours. The interrupt only takes them; a work item gives
//! each back before it does what the event says, which may sleep for long. What the device could
//! not tell meanwhile it tells as "events missed": then everything is looked at.

use crate::{
    wire::{
        Address,
        Event,
        Happening,
        Order,
        EVENT_SIZE, //
    },
    WORKQUEUE,
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};
use storage::{
    scsi::{
        device::Presence,
        HostRef, //
    },
    tally::Tally,
    virtio::{
        self,
        buffer::WritableBuffer,
        queue::{
            Handler,
            Queue, //
        },
    },
};

/// How many buffers the device has for events, as in the C driver.
const EVENTS: usize = 8;

/// The time between two events.
const PAUSE: Delta = Delta::from_millis(2);

/// The event queue.
pub(crate) struct EventQueue {
    dev: ARef<virtio::Device>,
    order: Order,
    /// Whose events they are; set before the device is ready.
    host: SetOnce<HostRef>,
    /// The host is being removed.
    stopped: Atomic<bool>,
    /// The device was reset: nobody knows what happened meanwhile.
    sweep: Atomic<bool>,
    unknown: Tally,
    /// Events of units that are not there.
    unfound: Tally,
}

/// What the queue's lock protects beside the ring: buffers that came back, in their order, and
/// those that wait to be given to the device.
#[derive(Default)]
pub(crate) struct Buffers {
    arrived: KVec<WritableBuffer>,
    idle: KVec<WritableBuffer>,
    /// Who repairs a broken queue, and owns this one: from when the host is there until it goes.
    repairer: Option<Arc<dyn Repairer>>,
}

/// Who repairs the device.
pub(crate) trait Repairer: Send + Sync {
    /// The device may work no more. Any context.
    fn suspect(self: Arc<Self>);
}

impl Buffers {
    /// Allocates the buffers.
    pub(crate) fn new() -> Result<Self> {
        let mut idle = KVec::with_capacity(EVENTS, GFP_KERNEL)?;

        for _ in 0..EVENTS {
            idle.push(WritableBuffer::new(EVENT_SIZE)?, GFP_KERNEL)?;
        }
        Ok(Self {
            arrived: KVec::with_capacity(EVENTS, GFP_KERNEL)?,
            idle,
            repairer: None,
        })
    }
}

impl EventQueue {
    pub(crate) fn new(dev: ARef<virtio::Device>, order: Order) -> Self {
        Self {
            dev,
            order,
            host: SetOnce::new(),
            stopped: Atomic::new(false),
            sweep: Atomic::new(false),
            unknown: Tally::new(),
            unfound: Tally::new(),
        }
    }

    /// The count of events that there are not, for the counters.
    pub(crate) fn bad_events(&self) -> &Tally {
        &self.unknown
    }

    /// Says whose events they are.
    pub(crate) fn set_host(&self, host: HostRef) {
        self.host.populate(host);
    }

    /// Whose events they are.
    pub(crate) fn host(&self) -> Option<&HostRef> {
        self.host.as_ref()
    }

    /// Says that a reset, which is nobody's doing here, is over.
    pub(crate) fn report_reset(&self) {
        if let Some(host) = self.host.as_ref() {
            host.report_reset();
        }
    }

    /// Ends the host's recovery if there is none, see [`HostRef::end_recovery`].
    pub(crate) fn end_recovery(&self) {
        if let Some(host) = self.host.as_ref() {
            host.end_recovery();
        }
    }

    fn handle(&self, host: &HostRef, event: Event) {
        if event.missed {
            self.look_at_all(host);
        }
        match event.what {
            Happening::Nothing => {}
            Happening::Added(Address { target, lun: 0 }) => host.scan_target(target.into()),
            Happening::Added(Address { target, lun }) => {
                host.scan_unit(target.into(), lun.into());
            }
            Happening::Removed(address) => match self.device(host, address) {
                Some(dev) => dev.remove(),
                None => self.not_found(host, address),
            },
            Happening::Reset(_) => {}
            // Parameters, mode parameters, or the capacity changed.
            Happening::Changed(address, 0x2a, 0x00 | 0x01 | 0x09) => {
                match self.device(host, address) {
                    Some(dev) => dev.rescan(),
                    None => self.not_found(host, address),
                }
            }
            // The target's list of logical units changed.
            Happening::Changed(address, 0x3f, 0x0e) => host.scan_target(address.target.into()),
            Happening::Changed(..) => {}
            Happening::Unknown(kind, reason) => {
                if let Some(n) = self.unknown.count() {
                    dev_warn!(
                        self.dev,
                        "unknown event {:#x}, reason {:#x} ({} times)\n",
                        kind,
                        reason,
                        n
                    );
                }
            }
        }
    }

    fn device(&self, host: &HostRef, address: Address) -> Option<storage::scsi::device::Held> {
        host.device(address.target.into(), address.lun.into())
    }

    fn not_found(&self, host: &HostRef, address: Address) {
        if let Some(n) = self.unfound.count() {
            dev_info!(
                self.dev,
                "event of SCSI device {}:0:{}:{}, which is not known ({} times)\n",
                host.number(),
                address.target,
                address.lun,
                n
            );
        }
    }

    /// Removes the logical units that are gone, reads those again whose size has changed, and looks
    /// for new ones.
    fn look_at_all(&self, host: &HostRef) {
        let mut devices = host.devices();

        while let Some(dev) = devices.advance() {
            if self.stopped.load(Relaxed) {
                return;
            }
            match dev.probe() {
                Ok(Presence::Gone) => dev.remove(),
                Ok(Presence::Present) if dev.has_other_size() => dev.rescan(),
                _ => (),
            }
        }
        drop(devices);
        host.scan();
    }
}

/// Gives all idle buffers to the device. Process context.
pub(crate) fn refill(queue: &Queue<EventQueue>) {
    let mut guard = queue.lock();

    while let Some(buffer) = guard.state().idle.pop() {
        if let Err((buffer, _)) = guard.ring.add(buffer) {
            let _ = guard.state().idle.push_within_capacity(buffer);
            break;
        }
    }
    Queue::kick(guard);
}

/// From here on a broken queue is repaired by `repairer`.
pub(crate) fn start(queue: &Queue<EventQueue>, repairer: Arc<dyn Repairer>) {
    let mut guard = queue.lock();

    guard.state().repairer = Some(repairer);
    let broken = guard.ring.is_broken();
    drop(guard);
    if broken {
        tell_broken(queue);
    }
}

/// Events that come from now on are not handled, nor is the queue repaired.
pub(crate) fn stop(queue: &Queue<EventQueue>) {
    queue.handler().stopped.store(true, Relaxed);
    let repairer = queue.lock().state().repairer.take();
    drop(repairer);
}

/// The device broke the ring: without a repair no event would come any more, and nobody would know.
#[cold]
fn tell_broken(queue: &Queue<EventQueue>) {
    let repairer = queue.lock().state().repairer.clone();

    if let Some(repairer) = repairer {
        dev_err!(
            queue.handler().dev,
            "the event queue is broken: events may be lost\n"
        );
        repairer.suspect();
    }
}

/// Has everything looked at soon, since events may have been lost.
pub(crate) fn sweep(queue: ArcBorrow<'_, Queue<EventQueue>>) {
    queue.handler().sweep.store(true, Relaxed);
    Queue::defer(queue, &WORKQUEUE);
}

impl Handler for EventQueue {
    type Token = WritableBuffer;
    type State = Buffers;

    const STANDING: bool = true;

    fn used(queue: ArcBorrow<'_, Queue<Self>>) {
        let mut guard = queue.lock();

        loop {
            guard.ring.disable_cb();
            while let Some((buffer, _)) = guard.ring.get_buf() {
                // There is room for all that were made.
                let _ = guard.state().arrived.push_within_capacity(buffer);
            }
            if guard.ring.enable_cb() {
                break;
            }
        }
        let broken = guard.ring.is_broken();
        drop(guard);
        if broken {
            tell_broken(&queue);
        }
        Queue::defer(queue, &WORKQUEUE);
    }

    fn deferred(queue: &Queue<Self>) {
        let this = queue.handler();
        let Some(host) = this.host.as_ref() else {
            return;
        };

        loop {
            if this.stopped.load(Relaxed) {
                return;
            }
            if this.sweep.xchg(false, Relaxed) {
                this.look_at_all(host);
            }
            // In an own statement: the lock is released at its end.
            let arrived = queue.lock().state().arrived.remove(0);
            let Ok(mut buffer) = arrived else { break };
            let event = Event::parse(this.order, buffer.all());

            buffer.clear();
            let _ = queue.lock().state().idle.push_within_capacity(buffer);
            refill(queue);
            this.handle(host, event);
            // A scan keeps the module. Under a flood of events it must be possible to unload it.
            fsleep(PAUSE);
        }
    }

    fn cancelled(queue: &Queue<Self>, mut buffer: WritableBuffer) {
        buffer.clear();
        let _ = queue.lock().state().idle.push_within_capacity(buffer);
    }
}
