// SPDX-License-Identifier: GPL-2.0

//! The virtio bus and split rings, as the kernel's virtio core has them; and the device, which writes
//! to all that it can reach: used rings, buffers, configuration, status.

use crate::{
    mem::{
        memory,
        new, //
    },
    world::{
        below,
        byte,
        chance,
        w,
        word, //
    },
};
use kernel::bindings as b;
use std::{
    collections::VecDeque,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    ptr::null_mut, //
};
use storage::bindings as v;

const ENOSPC: c_int = -28;
const EIO: c_int = -5;
const ENOMEM: c_int = -12;

#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub at: usize,
    pub len: usize,
}

/// A buffer in a ring.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    pub token: usize,
    pub readable: Vec<Segment>,
    pub writable: Vec<Segment>,
    descriptors: u32,
    /// The number of the I/O, and what was asked, as the driver of the type of device knows it.
    pub io: usize,
    pub asked: u32,
}

#[repr(C)]
pub struct Ring {
    vq: v::virtqueue,
    size: usize,
    /// The core's own state of each head.
    state: Vec<Option<Buffer>>,
    /// Memory that the device writes.
    used: Vec<(u32, u32)>,
    used_idx: u16,
    last_used: u16,
    broken: bool,
    /// What the device has and did not answer, in its order.
    pub waiting: VecDeque<usize>,
}

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
}

pub struct Device {
    pub vdev: *mut v::virtio_device,
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
        (*vdev).config = &OPS;
        (&raw mut (*vdev).__bindgen_anon_1)
            .cast::<u64>()
            .write(features);
        (*vdev).dev.id = 1;
        DEVICE = Some(Device {
            vdev,
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
        });
    }
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
        crate::mem::kfree(device.vdev.cast());
        DEVICE = None;
    }
}

static OPS: v::virtio_config_ops = {
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
    if !device.shifty || chance(2) {
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
    0
}

#[no_mangle]
extern "C" fn rust_helper_storage_is_cut_off(_: *mut v::virtio_device) -> bool {
    false
}

unsafe extern "C" fn get_status(_: *mut v::virtio_device) -> u8 {
    device().status
}

unsafe extern "C" fn set_status(_: *mut v::virtio_device, status: u8) {
    device().status = status;
}

unsafe extern "C" fn find_vqs(
    vdev: *mut v::virtio_device,
    n: c_uint,
    vqs: *mut *mut v::virtqueue,
    infos: *mut v::virtqueue_info,
    _affinity: *mut v::irq_affinity,
) -> c_int {
    let device = device();

    crate::world::might_sleep();
    assert!(device.rings.is_empty(), "virtqueues are found twice");
    if device.no_queues {
        return -2;
    }
    for i in 0..n as usize {
        let size = device.ring_size;
        let mut vq: v::virtqueue = core::mem::zeroed();
        let info = &*infos.add(i);

        assert!(!info.name.is_null());
        vq.callback = info.callback;
        vq.vdev = vdev;
        vq.index = i as u32;
        vq.num_free = size as u32;
        let ring = Box::into_raw(Box::new(Ring {
            vq,
            size,
            state: vec![None; size],
            used: vec![(0, 0); size],
            used_idx: 0,
            last_used: 0,
            broken: false,
            waiting: VecDeque::new(),
        }));
        device.rings.push(ring);
        vqs.add(i).write(ring.cast());
    }
    0
}

unsafe extern "C" fn del_vqs(_: *mut v::virtio_device) {
    for ring in core::mem::take(&mut device().rings) {
        let ring = Box::from_raw(ring);

        assert!(
            ring.state.iter().all(Option::is_none),
            "a ring is deleted with tokens in it"
        );
    }
}

#[no_mangle]
extern "C" fn rust_helper_storage_reset_device(_: *mut v::virtio_device) {
    let device = device();

    crate::world::might_sleep();
    device.status = 0;
    device.popped.clear();
    for ring in &device.rings {
        // SAFETY: The rings live until `del_vqs()`.
        unsafe { (**ring).waiting.clear() };
    }
}

#[no_mangle]
extern "C" fn rust_helper_storage_device_ready(_: *mut v::virtio_device) {
    device().status |= v::VIRTIO_CONFIG_S_DRIVER_OK as u8;
}

#[no_mangle]
extern "C" fn virtio_add_status(_: *mut v::virtio_device, status: c_uint) {
    device().status |= status as u8;
}

#[no_mangle]
extern "C" fn virtio_max_dma_size(_: *mut v::virtio_device) -> usize {
    device().max_dma
}

#[no_mangle]
extern "C" fn rust_helper_storage_set_vq_affinity() {}

#[no_mangle]
extern "C" fn try_module_get() -> bool {
    true
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

unsafe fn walk(mut sg: *mut b::scatterlist, to: &mut Vec<Segment>) {
    loop {
        let at = ((*sg).page_link & !3) as usize + (*sg).offset as usize;
        let len = (*sg).length as usize;

        assert!(len > 0, "an empty segment");
        assert!(
            memory().holds(at, len),
            "a device is given what is no buffer"
        );
        to.push(Segment { at, len });
        assert!(to.len() < 10_000, "a list without an end");
        if (*sg).page_link & 2 != 0 {
            return;
        }
        sg = sg.add(1);
        if (*sg).page_link & 1 != 0 {
            sg = ((*sg).page_link & !3) as *mut b::scatterlist;
        }
    }
}

#[no_mangle]
unsafe extern "C" fn virtqueue_add_sgs(
    vq: *mut v::virtqueue,
    lists: *mut *mut b::scatterlist,
    out: c_uint,
    into: c_uint,
    token: *mut c_void,
) -> c_int {
    let ring = vq.cast::<Ring>();
    let mut buffer = Buffer {
        token: token as usize,
        ..Buffer::default()
    };

    assert!(w().atomic > 0, "a ring is used without its lock");
    assert!(w().irq == 0, "an interrupt adds");
    for i in 0..out + into {
        let to = if i < out {
            &mut buffer.readable
        } else {
            &mut buffer.writable
        };
        walk(*lists.add(i as usize), to);
    }
    let n = buffer.readable.len() + buffer.writable.len();
    if (*ring).broken {
        return EIO;
    }
    assert!(n <= (*ring).size, "a chain longer than the ring");
    if device().racing && chance(32) {
        return ENOMEM;
    }
    let n = if device().indirect && n > 1 {
        1
    } else {
        n as u32
    };
    if (*ring).vq.num_free < n {
        return ENOSPC;
    }
    (*ring).vq.num_free -= n;
    buffer.descriptors = n;
    let head = (*ring)
        .state
        .iter()
        .position(Option::is_none)
        .expect("a free head");
    (device().kind.added)((*ring).vq.index as usize, &mut buffer);
    assert!(
        !(*ring)
            .state
            .iter()
            .flatten()
            .any(|other| other.token == buffer.token),
        "a token is in the ring twice"
    );
    (*ring).state[head] = Some(buffer);
    if device().status & v::VIRTIO_CONFIG_S_NEEDS_RESET as u8 == 0 {
        (*ring).waiting.push_back(head);
    }
    0
}

#[no_mangle]
unsafe extern "C" fn virtqueue_get_buf(vq: *mut v::virtqueue, len: *mut c_uint) -> *mut c_void {
    let ring = &mut *vq.cast::<Ring>();

    assert!(w().atomic > 0, "a ring is used without its lock");
    if ring.broken || ring.last_used == ring.used_idx {
        return null_mut();
    }
    let (id, used) = ring.used[ring.last_used as usize % ring.size];
    let Some(buffer) = ring.state.get_mut(id as usize).and_then(Option::take) else {
        ring.broken = true;
        return null_mut();
    };
    *len = used;
    ring.last_used = ring.last_used.wrapping_add(1);
    ring.vq.num_free += buffer.descriptors;
    ring.waiting.retain(|head| *head != id as usize);
    let token = buffer.token;
    (device().kind.popped)(&buffer, used);
    device().popped.push(buffer);
    race();
    token as *mut c_void
}

#[no_mangle]
unsafe extern "C" fn virtqueue_detach_unused_buf(vq: *mut v::virtqueue) -> *mut c_void {
    let ring = &mut *vq.cast::<Ring>();

    assert!(
        device().status == 0,
        "buffers are taken from a device that was not reset"
    );
    let Some(buffer) = ring.state.iter_mut().find_map(Option::take) else {
        return null_mut();
    };
    ring.vq.num_free += buffer.descriptors;
    buffer.token as *mut c_void
}

#[no_mangle]
unsafe extern "C" fn virtqueue_get_vring_size(vq: *mut v::virtqueue) -> c_uint {
    (*vq.cast::<Ring>()).size as u32
}

#[no_mangle]
unsafe extern "C" fn virtqueue_is_broken(vq: *mut v::virtqueue) -> bool {
    (*vq.cast::<Ring>()).broken
}

#[no_mangle]
extern "C" fn virtqueue_kick_prepare(_: *mut v::virtqueue) -> bool {
    !device().racing || !chance(8)
}

#[no_mangle]
unsafe extern "C" fn virtqueue_notify(vq: *mut v::virtqueue) -> bool {
    assert!(
        w().atomic == 0 && w().irq == 0,
        "notifies with a lock held, or from an interrupt"
    );
    assert!(w().rcu > 0);
    !(*vq.cast::<Ring>()).broken
}

#[no_mangle]
extern "C" fn virtqueue_disable_cb(_: *mut v::virtqueue) {}

#[no_mangle]
unsafe extern "C" fn virtqueue_enable_cb(vq: *mut v::virtqueue) -> bool {
    let ring = &*vq.cast::<Ring>();

    ring.broken || ring.last_used == ring.used_idx
}

impl Ring {
    /// The device says that it used the buffer `id`.
    fn put_used(&mut self, id: u32, len: u32) {
        let at = self.used_idx as usize % self.size;

        self.used[at] = (id, len);
        self.used_idx = self.used_idx.wrapping_add(1);
    }

    /// Answers what waits longest as it should.
    pub fn answer(&mut self) -> bool {
        let Some(head) = self.waiting.pop_front() else {
            return false;
        };
        if let Some(buffer) = &self.state[head] {
            let len = (device().kind.answer)(buffer);
            self.put_used(head as u32, len);
        }
        true
    }

    /// Answers something somehow.
    pub fn lie(&mut self) {
        let waits = self.waiting.len();
        let lie = byte();

        if waits > 0 {
            // Any order; some are answered, and stay where they can be answered again.
            let at = if lie & 1 == 0 { 0 } else { below(waits) };
            let head = self.waiting[at];
            if lie & 2 == 0 {
                let _ = self.waiting.remove(at);
            }
            if let Some(buffer) = self.state[head].clone() {
                let right = (device().kind.answer)(&buffer);
                if lie & 4 != 0 {
                    (device().kind.lie)(&buffer, byte());
                }
                let len = match lie >> 3 & 3 {
                    0 => right,
                    1 => right.wrapping_sub(1 + u32::from(byte())),
                    2 => 0,
                    _ => word() as u32,
                };
                self.put_used(head as u32, len);
            }
        }
        match lie >> 5 {
            5 => self.put_used(word() as u32, u32::from(byte())),
            6 => self.put_used(below(self.size) as u32, u32::from(byte())),
            7 => self.used_idx = self.used_idx.wrapping_add(word() as u16),
            _ => {}
        }
    }

    /// Answers all that it swallowed as well, and sets its index right.
    pub fn repent(&mut self) {
        self.used_idx = self.last_used;
        self.waiting = (0..self.size)
            .filter(|head| self.state[*head].is_some())
            .collect();
        while self.answer() {}
    }

    pub fn break_it(&mut self) {
        self.broken = true;
    }
}

/// `vring_interrupt()`.
pub fn interrupt(ring: *mut Ring) {
    // SAFETY: The ring lives; the main task calls, so nobody is at it.
    unsafe {
        if (*ring).last_used == (*ring).used_idx || (*ring).broken {
            return;
        }
        if let Some(callback) = (*ring).vq.callback {
            w().irq += 1;
            callback(&raw mut (*ring).vq);
            w().irq -= 1;
            assert!(
                w().atomic == 0 && w().rcu == 0,
                "an interrupt ends in a lock"
            );
        }
    }
}

/// The device writes to a buffer that it has, or had: one byte.
pub fn scribble() {
    let device = device();
    let mut places: Vec<Segment> = device
        .popped
        .iter()
        .flat_map(|x| x.writable.clone())
        .collect();

    for ring in &device.rings {
        // SAFETY: The rings live.
        let ring = unsafe { &**ring };
        places.extend(
            ring.waiting
                .iter()
                .filter_map(|i| ring.state[*i].as_ref())
                .flat_map(|x| x.writable.clone()),
        );
    }
    if places.is_empty() {
        return;
    }
    let place = places[below(places.len())];
    // The end is where the status is.
    let at = if chance(2) {
        place.len - 1
    } else {
        below(place.len)
    };

    if memory().holds(place.at, place.len) {
        // SAFETY: It is memory that the device was given, of an I/O that has not ended.
        unsafe { ((place.at + at) as *mut u8).write_volatile(byte()) };
        (device.kind.wrote)();
    }
}

/// Perhaps the device writes just now, between two steps of the driver.
pub fn race() {
    if exists() && device().racing && chance(4) {
        scribble();
    }
}

/// Calls a driver's function with the device, in a task.
pub fn call(
    name: &'static str,
    f: impl FnOnce(*mut v::virtio_driver, *mut v::virtio_device) + 'static,
) -> usize {
    crate::world::spawn(name, || {
        let vdev = device().vdev;

        // SAFETY: The device is there.
        f(driver(unsafe { (*vdev).id.device }), vdev);
    })
}

/// Shows the rings.
pub fn dump() {
    for ring in &device().rings {
        // SAFETY: The rings live.
        let ring = unsafe { &**ring };
        let held: Vec<_> = ring
            .state
            .iter()
            .flatten()
            .map(|x| (x.io, x.asked))
            .collect();

        eprintln!(
            "size {}, used {} to {}, broken {}, holds {held:?}, waiting {:?}",
            ring.size, ring.last_used, ring.used_idx, ring.broken, ring.waiting
        );
    }
}
