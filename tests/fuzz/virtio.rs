// SPDX-License-Identifier: GPL-2.0

//! The virtio bus, as the kernel's virtio core has it; and the device, which writes to all that it can
//! reach: used rings, buffers, configuration, status.

mod ring;

pub use ring::{
    dump,
    interrupt,
    race,
    scribble,
    Buffer,
    Ring,
    Segment, //
};

use crate::{
    mem::new,
    world::{
        below,
        byte,
        chance,
        life, //
    },
};
use std::ffi::{
    c_int,
    c_uint,
    c_void,
    CStr,
    CString, //
};
use storage::bindings as v;

/// What a type of device does with the buffers.
pub struct Kind {
    /// Looks at what the driver asks for.
    pub added: fn(ring: usize, &mut Buffer),
    /// Writes the right answer; returns its length.
    pub answer: fn(&Buffer) -> u32,
    /// Sets the status or response to a byte.
    pub lie: fn(&Buffer, u8),
    /// The driver took it back, with the length that the device said.
    pub popped: fn(&Buffer, u32),
    /// The device wrote somewhere.
    pub wrote: fn(),
    /// The driver took it back from a ring that goes.
    pub detached: fn(ring: usize, &Buffer),
    /// There are new rings.
    pub found: fn(),
    /// The ring whose buffers wait for something to happen.
    pub standing: Option<u32>,
}

/// Where a device is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Place {
    Here,
    /// Its bus does not let it work.
    CutOff,
    /// All that is read of it are ones.
    Away,
}

/// What a device tells by its event index.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tells {
    /// This or that.
    Anything,
    /// The truth. It loses what it has taken, now and then.
    Truth,
    /// It has none.
    Nothing,
}

pub struct Device {
    pub vdev: *mut v::virtio_device,
    pub name: CString,
    pub rings: Vec<*mut Ring>,
    pub config: [u8; 256],
    config_size: usize,
    pub status: u8,
    generation: u32,
    /// The configuration changes while it is read.
    pub shifty: bool,
    /// The device writes while the driver reads.
    pub racing: bool,
    pub ring_size: usize,
    pub indirect: bool,
    pub kind: &'static Kind,
    /// Buffers that came back, and whose I/O has not ended: hostile devices still write to them.
    pub popped: Vec<Buffer>,
    pub max_dma: usize,
    /// `find_vqs()` fails.
    pub no_queues: bool,
    /// It does not take its features again.
    pub stubborn: bool,
    /// It does not hear notifications, now and then.
    pub deaf: bool,
    pub place: Place,
    /// It is behind virtio PCI, with so many interrupt vectors of the machine.
    pub vectors: Option<u32>,
    /// The machine has no more of them, now and then, nor a line for it.
    pub scarce: bool,
    /// Nobody may take vectors for it.
    no_msi: bool,
    /// It lost its power while it was away.
    forgot: bool,
    /// It was reset since its virtqueues were found.
    was_reset: bool,
    /// The guest does not trust its host.
    pub confidential: bool,
    /// Its driver goes with its module, which goes now.
    pub unloads: bool,
    pub going: bool,
    /// It answers just when the driver has looked.
    pub prompt: bool,
    /// How many buffers the driver took back.
    pub taken: u64,
    /// What it says that it has taken from its rings.
    pub tells: Tells,
    /// It gets a driver again.
    pub rebinds: bool,
    /// Nobody can write to its configuration.
    fixed: bool,
    /// It has a queue for administration, which is there with the others only.
    pub admin: bool,
    /// How its reports of zones are wrong, and of which of the first two; 0 if they are not.
    pub crooked: u8,
    /// Who resets it does not end that in time (2), or not at all (1).
    pub tardy: u8,
}

impl Device {
    /// It is behind another device: of PCI, say, where an interrupt may add buffers.
    pub fn be_behind(&self, which: u64) {
        let name = match which {
            5 => Some(c"virtio-mmio"),
            6 => Some(c"vduse"),
            7 => None,
            _ => Some(c"virtio-pci"),
        };

        // SAFETY: They are new, and zero is valid; `unplug()` frees them.
        unsafe {
            let parent = new::<kernel::bindings::device>();
            if let Some(name) = name {
                let driver = new::<kernel::bindings::device_driver>();
                (*driver).name = name.as_ptr().cast();
                (*parent).driver = driver;
            }
            (*self.vdev).dev.parent = parent;
        }
    }

    /// Whether an interrupt may add buffers.
    pub fn may_add(&self) -> bool {
        // SAFETY: The device is there, and what it is behind.
        unsafe {
            let parent = (*self.vdev).dev.parent;

            !parent.is_null()
                && !(*parent).driver.is_null()
                && !CStr::from_ptr((*(*parent).driver).name.cast())
                    .to_bytes()
                    .starts_with(b"vd")
        }
    }

    /// Whether it can write to memory.
    pub fn can_write(&self) -> bool {
        self.place == Place::Here
    }

    /// Whether it does what an honest device does.
    pub fn works(&self) -> bool {
        self.can_write() && self.status & v::VIRTIO_CONFIG_S_NEEDS_RESET as u8 == 0
    }

    /// It goes elsewhere, or comes back.
    pub fn go(&mut self, place: Place) {
        if place == Place::Here && core::mem::take(&mut self.forgot) {
            self.forget();
        }
        self.place = place;
    }

    /// It does nothing wrong any more.
    pub fn be_honest(&mut self) {
        self.shifty = false;
        self.racing = false;
        self.no_queues = false;
        self.stubborn = false;
        self.scarce = false;
        self.crooked = 0;
        self.fixed = false;
        self.hear();
        self.go(Place::Here);
    }

    /// It hears all notifications, and those that it did not.
    pub fn hear(&mut self) {
        self.deaf = false;
        for ring in self.rings.clone() {
            // SAFETY: The rings live until `del_vqs()`.
            unsafe { (*ring).tell() };
        }
    }

    /// It forgets that it was ever started.
    pub fn forget(&mut self) {
        self.status = 0;
        self.was_reset = true;
        for ring in &self.rings {
            // SAFETY: The rings live until `del_vqs()`.
            unsafe { (**ring).forget() };
        }
    }
}

static mut DEVICE: Option<Device> = None;
pub static mut DRIVERS: Vec<*mut v::virtio_driver> = Vec::new();

pub fn device() -> &'static mut Device {
    // SAFETY: One thread; borrowed for a moment only.
    unsafe { (*(&raw mut DEVICE)).as_mut().expect("there is a device") }
}

pub fn exists() -> bool {
    // SAFETY: As above.
    unsafe { (*(&raw const DEVICE)).is_some() }
}

pub fn driver(id: u32) -> *mut v::virtio_driver {
    // SAFETY: As above; the drivers' tables are static.
    unsafe {
        let drivers = &*(&raw const DRIVERS);
        *drivers
            .iter()
            .find(|driver| (*(***driver).id_table).device == id)
            .expect("the driver is registered")
    }
}

/// Plugs a device in, its driver not told yet.
pub fn plug(id: u32, features: u64, config_size: usize, kind: &'static Kind) {
    let vdev = new::<v::virtio_device>();

    // SAFETY: It is new, and zero is valid.
    unsafe {
        (*vdev).id.device = id;
        (*vdev).config = &FULL_OPS;
        (&raw mut (*vdev).__bindgen_anon_1)
            .cast::<u64>()
            .write(features);
        (*vdev).dev.id = 1;
        DEVICE = Some(Device {
            vdev,
            name: CString::new(format!("virtio{}", life())).unwrap(),
            rings: Vec::new(),
            config: [0; 256],
            config_size,
            status: 0,
            generation: 0,
            shifty: false,
            racing: false,
            ring_size: 16,
            indirect: features & 1 << v::VIRTIO_RING_F_INDIRECT_DESC != 0,
            kind,
            popped: Vec::new(),
            max_dma: usize::MAX,
            no_queues: false,
            stubborn: false,
            deaf: false,
            place: Place::Here,
            vectors: None,
            scarce: true,
            no_msi: false,
            forgot: false,
            was_reset: false,
            confidential: false,
            unloads: false,
            going: false,
            prompt: false,
            taken: 0,
            tells: Tells::Anything,
            rebinds: false,
            fixed: false,
            admin: false,
            crooked: 0,
            tardy: 0,
        });
    }
}

/// Further settings of a device, whatever its type.
pub fn set_up(more: u64) {
    const ADMIN_VQ: u64 = 1 << v::VIRTIO_F_ADMIN_VQ;
    let device = device();

    // SAFETY: Nobody uses the device yet.
    unsafe {
        if more & 15 == 15 {
            (*device.vdev).config = &BARE_OPS;
        }
        device.admin = more >> 4 & 3 == 3;
        if device.admin {
            *(&raw mut (*device.vdev).__bindgen_anon_1).cast::<u64>() |= ADMIN_VQ;
        }
    }
    device.confidential = more >> 6 & 3 == 3;
    device.prompt = more >> 37 & 1 == 1;
    device.rebinds = more >> 38 & 1 == 1;
    device.fixed = more >> 39 & 7 == 7;
    crate::mem::memory().scarce = more >> 42 & 3 == 3;
    device.unloads = more >> 36 & 1 == 1;
    device.tardy = [0, 0, 1, 2][more as usize >> 34 & 3];
    crate::world::w().preempts = more >> 32 & 3 == 3;
}

/// Takes the device away; its driver must have let go of it.
pub fn unplug() {
    let device = device();

    assert!(device.rings.is_empty(), "virtqueues are left");
    // SAFETY: Nobody uses it.
    unsafe {
        assert!(
            (*device.vdev).dev.id == 1,
            "references to the device are left"
        );
        assert!((*device.vdev).dev.driver_data.is_null() && (*device.vdev).priv_.is_null());
        let parent = (*device.vdev).dev.parent;
        if !parent.is_null() {
            crate::mem::kfree((*parent).driver.cast());
            crate::mem::kfree(parent.cast());
        }
        crate::mem::kfree(device.vdev.cast());
        DEVICE = None;
    }
}

static FULL_OPS: v::virtio_config_ops = OPS;

/// Those of a transport without a configuration space.
static BARE_OPS: v::virtio_config_ops = v::virtio_config_ops { get: None, ..OPS };

const OPS: v::virtio_config_ops = {
    // SAFETY: All functions may be absent.
    let mut ops: v::virtio_config_ops = unsafe { core::mem::zeroed() };

    ops.get = Some(config_get);
    ops.set = Some(config_set);
    ops.generation = Some(generation);
    ops.get_status = Some(get_status);
    ops.set_status = Some(set_status);
    ops.find_vqs = Some(find_vqs);
    ops.del_vqs = Some(del_vqs);
    ops.finalize_features = Some(finalize_features);
    ops
};

unsafe extern "C" fn config_get(
    _: *mut v::virtio_device,
    at: c_uint,
    to: *mut c_void,
    len: c_uint,
) {
    let device = device();
    let (at, len) = (at as usize, len as usize);

    crate::world::might_sleep();
    assert!(
        at + len <= device.config_size,
        "reads beyond the configuration"
    );
    if device.shifty && chance(4) {
        device.config[at + below(len)] = byte();
        device.generation = device.generation.wrapping_add(u32::from(byte() & 1));
    }
    if device.place == Place::Away {
        core::ptr::write_bytes(to.cast::<u8>(), 0xff, len);
        return;
    }
    core::ptr::copy_nonoverlapping(device.config[at..].as_ptr(), to.cast(), len);
}

unsafe extern "C" fn config_set(
    _: *mut v::virtio_device,
    at: c_uint,
    from: *const c_void,
    len: c_uint,
) {
    let device = device();
    let (at, len) = (at as usize, len as usize);

    assert!(
        at + len <= device.config_size,
        "writes beyond the configuration"
    );
    if !device.fixed && (!device.shifty || chance(2)) {
        core::ptr::copy_nonoverlapping(from.cast(), device.config[at..].as_mut_ptr(), len);
    }
}

unsafe extern "C" fn generation(_: *mut v::virtio_device) -> u32 {
    let device = device();

    if device.shifty && chance(16) {
        device.generation = device.generation.wrapping_add(1);
    }
    device.generation
}

unsafe extern "C" fn finalize_features(_: *mut v::virtio_device) -> c_int {
    if device().stubborn && chance(2) {
        -22
    } else {
        0
    }
}

#[no_mangle]
extern "C" fn rust_helper_storage_is_cut_off(_: *mut v::virtio_device) -> bool {
    device().place != Place::Here
}

unsafe extern "C" fn get_status(_: *mut v::virtio_device) -> u8 {
    match device().place {
        Place::Away => 0xff,
        _ => device().status,
    }
}

unsafe extern "C" fn set_status(_: *mut v::virtio_device, status: u8) {
    device().status = status;
}

unsafe extern "C" fn find_vqs(
    vdev: *mut v::virtio_device,
    n: c_uint,
    vqs: *mut *mut v::virtqueue,
    infos: *mut v::virtqueue_info,
    affinity: *mut v::irq_affinity,
) -> c_int {
    let device = device();

    crate::world::might_sleep();
    assert!(device.rings.is_empty(), "virtqueues are found twice");
    if device.no_queues {
        return -2;
    }
    if let Some(vectors) = &mut device.vectors {
        let affinity = affinity.cast::<kernel::bindings::irq_affinity>();
        let reserved = affinity.as_ref().map_or(0, |affinity| affinity.pre_vectors);

        assert_eq!(*vectors, 0, "vectors are left");
        *vectors = match device.scarce && chance(4) {
            _ if device.no_msi => 0,
            true => 2 * u32::from(byte() & 1),
            false if reserved > n => 2,
            false => 1 + n,
        };
        if *vectors == 0 && device.scarce && chance(4) {
            return -2;
        }
    }
    device.was_reset = false;
    (device.kind.found)();
    for i in 0..n as usize {
        let size = device.ring_size;
        let mut vq: v::virtqueue = core::mem::zeroed();
        let info = &*infos.add(i);

        assert!(!info.name.is_null());
        vq.callback = info.callback;
        vq.vdev = vdev;
        vq.index = i as u32;
        vq.num_free = size as u32;
        let ring = new::<Ring>();
        ring.write(Ring::new(vq, size));
        device.rings.push(ring);
        vqs.add(i).write(ring.cast());
    }
    0
}

unsafe extern "C" fn del_vqs(_: *mut v::virtio_device) {
    let runs = device().status & v::VIRTIO_CONFIG_S_DRIVER_OK as u8 != 0;

    // Virtio core may say after a probe that it runs, when it was reset meanwhile.
    assert!(
        !runs || device().was_reset || device().place == Place::Away,
        "virtqueues of a device that runs are deleted"
    );
    for ring in core::mem::take(&mut device().rings) {
        assert!((*ring).is_empty(), "a ring is deleted with tokens in it");
        core::ptr::drop_in_place(ring);
        crate::mem::kfree(ring.cast());
    }
    if let Some(vectors) = &mut device().vectors {
        *vectors = 0;
    }
}

#[no_mangle]
extern "C" fn rust_helper_storage_reset_device(_: *mut v::virtio_device) {
    let device = device();

    crate::world::might_sleep();
    assert!(device.place != Place::Away, "what is not there is reset");
    assert!(
        !device.admin || !device.rings.is_empty(),
        "virtio PCI looks for its queue for administration"
    );
    device.popped.clear();
    device.forget();
}

#[no_mangle]
extern "C" fn rust_helper_storage_is_confidential() -> bool {
    device().confidential
}

#[no_mangle]
extern "C" fn rust_helper_storage_config_enable(_: *mut v::virtio_device) {}

#[no_mangle]
extern "C" fn rust_helper_storage_device_ready(_: *mut v::virtio_device) {
    if device().place != Place::Away {
        device().status |= v::VIRTIO_CONFIG_S_DRIVER_OK as u8;
    }
}

#[no_mangle]
extern "C" fn virtio_add_status(_: *mut v::virtio_device, status: c_uint) {
    let takes = status != v::VIRTIO_CONFIG_S_FEATURES_OK || !device().stubborn || chance(2);

    if device().place != Place::Away && takes {
        device().status |= status as u8;
    }
}

#[no_mangle]
extern "C" fn virtio_max_dma_size(_: *mut v::virtio_device) -> usize {
    device().max_dma
}

#[no_mangle]
extern "C" fn rust_helper_storage_set_vq_affinity() {}

#[no_mangle]
extern "C" fn rust_helper_storage_has_vectors(_: *mut v::virtio_device) -> bool {
    device().vectors.is_some()
}

#[no_mangle]
extern "C" fn rust_helper_storage_count_vectors(_: *mut v::virtio_device) -> c_uint {
    device().vectors.unwrap_or(0)
}

#[no_mangle]
extern "C" fn rust_helper_storage_forbid_msi(_: *mut v::virtio_device, forbid: bool) -> bool {
    core::mem::replace(&mut device().no_msi, forbid)
}

#[no_mangle]
extern "C" fn rust_helper_storage_machine_vectors() -> c_uint {
    u32::from(byte() % 16)
}

#[no_mangle]
extern "C" fn rust_helper_storage_num_online_cpus() -> c_uint {
    2
}

#[no_mangle]
extern "C" fn try_module_get() -> bool {
    !exists() || !device().going
}

#[no_mangle]
extern "C" fn module_put() {}

#[no_mangle]
extern "C" fn __register_virtio_driver(driver: *mut v::virtio_driver) -> c_int {
    // SAFETY: One thread.
    unsafe { (*(&raw mut DRIVERS)).push(driver) };
    0
}

#[no_mangle]
extern "C" fn unregister_virtio_driver() {}

/// Calls a driver's function with the device, in a task.
pub fn call(
    name: &'static str,
    f: impl FnOnce(*mut v::virtio_driver, *mut v::virtio_device) + 'static,
) -> u64 {
    crate::world::spawn(name, || {
        let vdev = device().vdev;

        // SAFETY: The device is there.
        f(driver(unsafe { (*vdev).id.device }), vdev);
    })
}
