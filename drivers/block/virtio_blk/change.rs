// SPDX-License-Identifier: GPL-2.0

//! A disk changes its path because the operator wants it: nobody may have it open. It is taken away
//! from the system, the device starts over, and the disk comes back under the same name and number.

use crate::{
    choice::{
        self,
        Choice,
        Path,
        Why, //
    },
    disk::{
        AnyDisk,
        BlkDisk,
        TICK, //
    },
    memory,
    params::UseBio,
    probe,
    seat::{
        BoundDisk,
        RESIZE, //
    },
    wire,
    SLOW_WORKQUEUE, //
};
use kernel::{
    device::Bound,
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Instant,
        Monotonic, //
    }, //
};
use storage::{
    bindings,
    compat::EOPNOTSUPP,
    virtio::{
        removal::PATIENCE,
        restart::Condition,
        Device, //
    },
};

impl BoundDisk {
    /// Brings the disk into the path that is `wanted`, and has it keep that.
    ///
    /// [`EBUSY`] if somebody has it open or the device is away, [`EOPNOTSUPP`] if it has zones,
    /// [`ENXIO`] if there is no disk, [`EIO`] if the device does not work: then all stays as it is.
    /// May sleep, and by a user of the disk's files only who does not hold up its removal.
    pub(crate) fn change(self: &Arc<Self>, wanted: UseBio) -> Result {
        let (dev, live, disk, serial) = loop {
            let asked = self.disk();
            // This waits for the storage, and so long neither `live` is held nor the device kept.
            // Who takes `live` to reset the device gives up, in the end, what it is held for, with
            // all I/O of a disk that may be in use; unbinding waits for who keeps the device before
            // it ends the last I/O.
            let serial = asked.as_ref().map(|disk| disk.serial());
            let dev = self.recovery.binding.keep()?;
            let since = Instant::<Monotonic>::now();
            let live = loop {
                if let Some(live) = self.live.try_lock() {
                    break live;
                }
                // Who has it may wait for us: for the last user of a disk that could not be added,
                // as the writer of its file is.
                if since.elapsed() > PATIENCE {
                    return Err(EBUSY);
                }
                fsleep(TICK);
            };

            if !*live {
                return Err(EBUSY);
            }
            let disk = self.disk().ok_or(ENXIO)?;
            match (asked, serial) {
                (Some(asked), Some(serial)) if Arc::ptr_eq(&asked, &disk) => {
                    break (dev, live, disk, serial);
                }
                // It was shown just now, or changed by another: so again.
                _ => (),
            }
        };
        let before = *self.choice.lock();
        let zoned = probe::read_config(&dev)?.zone_map().zone_sectors > 0;
        let settled = choice::settled((wanted, Why::Written), zoned);

        if zoned && wanted == UseBio::Yes {
            dev_notice!(
                dev,
                "a disk of zones is in request mode, which keeps writes in order\n"
            );
            return Err(EOPNOTSUPP);
        }
        match settled {
            Some(choice) if choice.path == before.path => {
                *self.choice.lock() = choice;
                choice.trace(&dev, disk.name());
                memory::remember(dev.address().to_bytes(), &serial, wanted);
                return Ok(());
            }
            _ => (),
        }
        if dev.condition() != Condition::Ready {
            return Err(EIO);
        }
        disk.retire_soon().inspect_err(|_| {
            dev_notice!(
                dev,
                "[{}] is in use, and stays in {} mode\n",
                disk.name(),
                before.path.name()
            );
        })?;
        memory::remember(dev.address().to_bytes(), &serial, wanted);
        disk.remove();
        drop(disk);
        let gone = self.slot.lock().take();
        drop(gone);

        let result = self.come_back(&dev, wanted, settled).or_else(|e| {
            dev_err!(dev, "the path cannot be changed: {:?}\n", e);
            let made = self.remake(&dev, before.path)?;
            self.show(&dev, made, before)?;
            Err(e)
        });
        // Before others may take it away again.
        if self.disk().is_none() && self.unborn.lock().is_none() {
            dev_err!(dev, "the disk did not come back\n");
        }
        drop(live);
        // What changed meanwhile, and a cache mode that the device did not take.
        SLOW_WORKQUEUE.enqueue::<_, RESIZE>(self.clone());
        result
    }

    /// Makes the disk anew.
    fn come_back(
        self: &Arc<Self>,
        dev: &Device<Bound>,
        wanted: UseBio,
        settled: Option<Choice>,
    ) -> Result {
        match settled {
            Some(choice) => {
                let made = self.remake(dev, choice.path)?;
                self.show(dev, made, choice)
            }
            None => {
                let made = self.remake(dev, Path::Request)?;
                self.decide(dev, made, Some((wanted, Why::Written)))
            }
        }
    }
}

impl AnyDisk {
    /// The serial number; empty if there is none.
    fn serial(&self) -> KVec<u8> {
        let len = bindings::VIRTIO_BLK_ID_BYTES as usize;
        let Ok(mut serial) = KVec::from_elem(0, len, GFP_KERNEL) else {
            return KVec::new();
        };
        let told = match self {
            Self::Request(disk) => BlkDisk::read(disk, wire::SERIAL, &mut serial),
            Self::Bio(disk) => BlkDisk::read(disk, wire::SERIAL, &mut serial),
        };
        let end = serial.iter().position(|byte| *byte == 0);

        serial.truncate(if told.is_ok() { end.unwrap_or(len) } else { 0 });
        serial
    }

    /// Refuses who wants to open the disk from now on; [`EBUSY`] if somebody has it open.
    fn retire(&self) -> Result {
        match self {
            Self::Request(disk) => disk.retire(),
            Self::Bio(disk) => disk.retire(),
        }
    }

    /// The same, but waits a little for who only has a look: each uevent has udev open the disk.
    fn retire_soon(&self) -> Result {
        const MOST: usize = 40;

        for _ in 0..MOST {
            if self.retire().is_ok() {
                return Ok(());
            }
            fsleep(TICK);
        }
        self.retire()
    }

    /// Takes a disk away that nobody uses.
    fn remove(&self) {
        match self {
            Self::Request(disk) => disk.remove(),
            Self::Bio(disk) => disk.remove(),
        }
    }
}
