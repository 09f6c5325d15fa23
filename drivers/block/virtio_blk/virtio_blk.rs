// SPDX-License-Identifier: GPL-2.0

//! Driver of virtio block devices: /dev/vdX.
//!
//! One I/O from top to bottom: `request_path` (or `bio_path`, with `use_bio`) gives it a frame of
//! `wire`, adds it to the virtqueue of its CPU and, when the device has used it, ends it. `disk`
//! is what both have in common, `seat` where the disk comes and goes with its device, `capacity`
//! follows what the device says later. `choice` decides between the paths, `birth` makes the disk,
//! `change` makes it anew in the other path, `limits` is what the device says about itself, `zones`
//! what it says about zones, `recovery` what happens if the device works no more.
//!
//! C counterpart: drivers/block/virtio_blk.c

#![forbid(unsafe_code)]

mod attributes;
mod bio_path;
mod bio_queue;
mod bio_step;
mod birth;
mod cache;
mod capacity;
mod change;
mod choice;
mod counters;
mod disk;
mod flush;
mod gate;
mod kunit;
mod limits;
mod memory;
mod named;
mod names;
mod params;
mod probe;
mod recovery;
mod request_path;
mod seat;
mod wire;
mod zone_report;
mod zones;

use crate::seat::{
    BoundDisk,
    RESIZE, //
};
use kernel::{
    device::{
        Bound,
        Core, //
    },
    driver::Registration,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use storage::{
    bindings,
    block::Major,
    virtio::{
        self,
        vectors::Budget,
        Adapter,
        Device,
        DeviceId, //
    },
    work::{
        ModuleWorkqueue,
        ModuleWorkqueueGuard, //
    },
};

/// For what I/O waits for, so that memory can be reclaimed by it: refills of rings.
static WORKQUEUE: ModuleWorkqueue = ModuleWorkqueue::new();

/// The same for recovery, whose resets may take long: the refills of others must not wait behind it
/// for the one worker that there is without memory. And for the watch of who waits for a removal,
/// which gives a device up that does not answer. What waits for a device lets others go first.
static RECOVERY_WORKQUEUE: ModuleWorkqueue = ModuleWorkqueue::new();

/// For what itself waits for memory or I/O: `BIRTH` and `RESIZE`.
static SLOW_WORKQUEUE: ModuleWorkqueue = ModuleWorkqueue::new();

/// The major number of the disks.
static MAJOR: Atomic<u32> = Atomic::new(0);

/// The interrupt vectors of all disks.
static VECTORS: Budget = Budget::new(|| params::MAX_VECTORS.get());

/// The virtio driver.
struct VirtioBlk;

storage::virtio_device_table!(ID_TABLE, [DeviceId::new(bindings::VIRTIO_ID_BLOCK)]);

#[vtable]
impl virtio::Driver for VirtioBlk {
    type Data<'bound> = Arc<BoundDisk>;

    const ID_TABLE: virtio::IdTable = &ID_TABLE;

    const FEATURES: &'static [u32] = &[
        bindings::VIRTIO_BLK_F_SEG_MAX,
        bindings::VIRTIO_BLK_F_SIZE_MAX,
        bindings::VIRTIO_BLK_F_GEOMETRY,
        bindings::VIRTIO_BLK_F_RO,
        bindings::VIRTIO_BLK_F_BLK_SIZE,
        bindings::VIRTIO_BLK_F_FLUSH,
        bindings::VIRTIO_BLK_F_TOPOLOGY,
        bindings::VIRTIO_BLK_F_CONFIG_WCE,
        bindings::VIRTIO_BLK_F_MQ,
        bindings::VIRTIO_BLK_F_DISCARD,
        bindings::VIRTIO_BLK_F_WRITE_ZEROES,
        bindings::VIRTIO_BLK_F_SECURE_ERASE,
        wire::VIRTIO_BLK_F_LIFETIME,
        bindings::VIRTIO_BLK_F_ZONED,
    ];

    // Neither wear nor zones: the last two.
    const FEATURES_LEGACY: &'static [u32] = Self::FEATURES.split_at(Self::FEATURES.len() - 2).0;

    fn probe<'bound>(
        dev: &'bound Device<Core<'_>>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        // What holds the result is allocated first: a disk that nobody could unbind is not made.
        pin_init::pin_init_scope(move || Ok(probe::probe(dev)))
    }

    fn unbind<'bound>(dev: &'bound Device<Core<'_>>, disk: Pin<&Arc<BoundDisk>>) {
        disk.remove(dev);
    }

    fn quiesce<'bound>(_dev: &'bound Device<Bound>, disk: Pin<&Arc<BoundDisk>>) {
        disk.quiesce();
    }

    fn configure<'bound>(dev: &'bound Device<Bound>, disk: Pin<&Arc<BoundDisk>>) -> Result {
        disk.configure(dev)
    }

    fn resume<'bound>(_dev: &'bound Device<Bound>, disk: Pin<&Arc<BoundDisk>>) {
        disk.resume();
    }

    fn config_changed<'bound>(_dev: &'bound Device<Bound>, disk: Pin<&Arc<BoundDisk>>) {
        // `DEVICE_NEEDS_RESET` comes this way, too.
        disk.suspect();
        SLOW_WORKQUEUE.enqueue::<_, RESIZE>((*disk).clone());
    }
}

/// The module. Its fields go in this order when it is unloaded.
#[pin_data]
struct Module {
    #[pin]
    _driver: Registration<Adapter<VirtioBlk>>,
    _major: Major,
    _slow_workqueue: ModuleWorkqueueGuard,
    _recovery_workqueue: ModuleWorkqueueGuard,
    _workqueue: ModuleWorkqueueGuard,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _workqueue: WORKQUEUE.create(c"virtio-blk")?,
            _recovery_workqueue: RECOVERY_WORKQUEUE.create_for_resets(c"virtio-blk-recovery")?,
            _slow_workqueue: SLOW_WORKQUEUE.create_for_waiting(c"virtio-blk-slow")?,
            _major: {
                let major = Major::register(c"virtblk")?;
                MAJOR.store(major.number(), Relaxed);
                major
            },
            _driver <- Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
            // All disks are there when the module is.
            _: { _slow_workqueue.flush() },
        })
    }
}

module! {
    type: Module,
    name: "virtio_blk",
    authors: ["The virtio-storage-rs developers"],
    description: "Virtio block driver",
    license: "GPL",
}

storage::module_version!("virtio_blk", "0.1");
