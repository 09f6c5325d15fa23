// SPDX-License-Identifier: GPL-2.0

//! The disk follows its device: a new capacity, and another cache mode after a reset.

use crate::{
    disk::{
        announce,
        AnyDisk,
        BlkDisk, //
    },
    limits,
    seat::{
        BoundDisk,
        RESIZE, //
    },
    SLOW_WORKQUEUE, //
};
use kernel::{
    device::Bound,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue::WorkItem, //
};
use storage::{
    block::gen_disk::Disk,
    config_field,
    virtio::{
        restart::Condition,
        Device, //
    },
};

/// Between two looks at a device that is away.
const AWAY_TICK: Delta = Delta::from_millis(100);

impl WorkItem<RESIZE> for BoundDisk {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut live = this.live.lock();
        let binding = &this.recovery.binding;

        let capacity = loop {
            if !*live {
                return;
            }
            match binding.with(ask_capacity) {
                Ok(None) => {
                    drop(live);
                    fsleep(AWAY_TICK);
                    live = this.live.lock();
                }
                // Fails if the device was unbound, too; there is nothing to do then.
                told => break told.inspect_err(|_| this.recovery.suspect()).ok().flatten(),
            }
        };
        let disk = this.disk();
        let Some(disk) = disk.as_deref() else {
            return;
        };
        // Of this disk: who makes another one in its place holds `live`, and asks again.
        let lost = this.cache_lost.xchg(false, Relaxed);
        // The rest waits for memory or I/O. Who takes `live` gives the device up for that in the
        // end.
        drop(live);
        if let Some(capacity) = capacity {
            match disk {
                AnyDisk::Request(disk) => this.follow_capacity(disk, capacity),
                AnyDisk::Bio(disk) => this.follow_capacity(disk, capacity),
            }
        }
        if lost {
            let (cache, binding) = (&this.recovery.cache, &this.recovery.binding);
            let followed = match disk {
                AnyDisk::Request(disk) => cache.follow(disk, binding),
                AnyDisk::Bio(disk) => cache.follow(disk, binding),
            };
            // For the next time: after a repair, say; or when a device is back that is away since
            // it was looked at.
            if let Err(e) = followed {
                this.cache_lost.store(true, Relaxed);
                if e == EAGAIN {
                    SLOW_WORKQUEUE.enqueue::<_, RESIZE>(this.clone());
                }
            }
        }
    }
}

impl BoundDisk {
    /// Gives the disk the capacity that the device has now. Waits for memory, which may wait for
    /// I/O: so nothing is held that a repair or a reset of the device needs.
    fn follow_capacity<T: BlkDisk>(&self, disk: &Disk<T>, capacity: u64) {
        let dev = self.recovery.binding.device();

        match limits::check_capacity(capacity) {
            // Something else changed.
            Ok(capacity) if capacity == disk.capacity() => (),
            Ok(capacity) => match disk.set_capacity(capacity) {
                _ if !self.sizes.allows() => (),
                Ok(()) => announce(disk, dev, capacity, "new size: "),
                Err(_) => dev_err!(dev, "a disk of zones cannot grow; the old size stays\n"),
            },
            Err(_) if !self.sizes.allows() => (),
            Err(refusal) => dev_err!(dev, "{}; the old size stays\n", refusal),
        }
    }
}

/// The capacity that the device says it has, see [`steady`].
fn ask_capacity(dev: &Device<Bound>) -> Result<Option<u64>> {
    steady(dev, || {
        dev.read_config(config_field!(virtio_blk_config, capacity))
    })
}

/// What `ask` reads of the device; `None` while it is away: it answers anything then. Fails if it
/// has to be brought back. May sleep.
pub(crate) fn steady<R: PartialEq>(
    dev: &Device<Bound>,
    ask: impl Fn() -> Result<R>,
) -> Result<Option<R>> {
    let first = ask();

    match dev.condition() {
        Condition::Ready => (),
        Condition::Away => return Ok(None),
        _ => return Err(EIO),
    }
    // It may have been away for one of the two.
    let again = ask()?;

    Ok((first? == again).then_some(again))
}
