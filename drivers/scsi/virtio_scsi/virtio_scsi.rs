// SPDX-License-Identifier: GPL-2.0

//! Driver of virtio SCSI hosts: many targets behind one device.
//!
//! One command from top to bottom: `commands` gives it a frame of `wire`, adds it to the virtqueue
//! of its CPU and, when the device has used it, finishes it. `events` hears of devices that come
//! and go, `tmf` asks the device to end commands that it does not answer, `query` whether it has
//! them, `recovery` repairs a device that works no more, `hba` is the device with all its queues,
//! `host` the SCSI host's side of it, whose `removal` has an end, `limits` what the device says
//! about itself.
//!
//! C counterpart: drivers/scsi/virtio_scsi.c

#![forbid(unsafe_code)]

mod commands;
mod counters;
mod events;
mod hba;
mod host;
mod kunit;
mod limits;
mod params;
mod probe;
mod query;
mod recovery;
mod removal;
mod scan;
mod tmf;
mod waiter;
mod wire;

use crate::host::BoundHost;
use kernel::{
    device::{
        Bound,
        Core, //
    },
    driver::Registration,
    prelude::*, //
};
use storage::{
    bindings,
    virtio::{
        self,
        Adapter,
        Device,
        DeviceId, //
    },
    work::{
        ModuleWorkqueue,
        ModuleWorkqueueGuard, //
    },
};

/// Where events wait to be handled.
static WORKQUEUE: ModuleWorkqueue = ModuleWorkqueue::new();

/// For repairs, which commands wait for, so that memory can be reclaimed by them, and for the watch
/// of removals.
static REPAIRS: ModuleWorkqueue = ModuleWorkqueue::new();

/// The SCSI driver: see `host`.
struct ScsiHost;

/// The virtio driver.
struct VirtioScsi;

storage::virtio_device_table!(ID_TABLE, [DeviceId::new(bindings::VIRTIO_ID_SCSI)]);

#[vtable]
impl virtio::Driver for VirtioScsi {
    type Data<'bound> = BoundHost;

    const ID_TABLE: virtio::IdTable = &ID_TABLE;

    const FEATURES: &'static [u32] = &[
        bindings::VIRTIO_SCSI_F_HOTPLUG,
        bindings::VIRTIO_SCSI_F_CHANGE,
        bindings::VIRTIO_SCSI_F_T10_PI,
    ];

    fn probe<'bound>(
        dev: &'bound Device<Core<'_>>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        probe::probe(dev)
    }

    fn unbind<'bound>(dev: &'bound Device<Core<'_>>, host: Pin<&BoundHost>) {
        host.remove(dev);
    }

    fn prepare_sleep<'bound>(_dev: &'bound Device<Bound>, host: Pin<&BoundHost>) {
        host.prepare_sleep();
    }

    fn quiesce<'bound>(_dev: &'bound Device<Bound>, host: Pin<&BoundHost>) {
        host.quiesce();
    }

    fn configure<'bound>(dev: &'bound Device<Bound>, host: Pin<&BoundHost>) -> Result {
        host.configure(dev)
    }

    fn resume<'bound>(dev: &'bound Device<Bound>, host: Pin<&BoundHost>) {
        host.resume(dev);
    }

    fn config_changed<'bound>(_dev: &'bound Device<Bound>, host: Pin<&BoundHost>) {
        // `DEVICE_NEEDS_RESET` comes this way.
        host.suspect();
    }
}

/// The module. Its fields go in this order when it is unloaded.
#[pin_data]
struct Module {
    #[pin]
    _driver: Registration<Adapter<VirtioScsi>>,
    _repairs: ModuleWorkqueueGuard,
    _workqueue: ModuleWorkqueueGuard,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _workqueue: WORKQUEUE.create_for_scans(c"virtio-scsi")?,
            _repairs: REPAIRS.create(c"virtio-scsi-repair")?,
            _driver <- Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        })
    }
}

module! {
    type: Module,
    name: "virtio_scsi",
    authors: ["The virtio-storage-rs developers"],
    description: "Virtio SCSI HBA driver",
    license: "GPL",
}

storage::module_version!("virtio_scsi", "0.1");
