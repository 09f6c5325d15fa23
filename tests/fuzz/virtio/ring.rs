// SPDX-License-Identifier: GPL-2.0

//! Split rings, as the kernel's virtio core has them; and what a device does to them.

use super::*;
use crate::{
    mem::{
        address_of,
        memory, //
    },
    world::{
        say,
        w,
        word, //
    },
};
use kernel::bindings as b;
use std::{
    collections::VecDeque,
    ptr::null_mut, //
};

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

impl Buffer {
    /// What the token points to: bit 1 says how old it is.
    pub fn object(&self) -> usize {
        self.token & !2
    }
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
    /// Up to where the driver was told of what is used.
    told: Option<u16>,
    broken: bool,
    /// The device wrote to the descriptors.
    astray: bool,
    /// What the device was not told of.
    untold: Vec<usize>,
    /// What the device has and did not answer, in its order.
    waiting: VecDeque<usize>,
}

unsafe fn walk(mut sg: *mut b::scatterlist, to: &mut Vec<Segment>) {
    loop {
        let at = address_of((*sg).page_link as usize & !3) + (*sg).offset as usize;
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
    assert!(w().irq == 0 || device().may_add(), "an interrupt adds");
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
    assert!(!(*ring).astray, "descriptors in use are used");
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
    say(|| format!("ring {} has I/O {}", (*ring).vq.index, buffer.io));
    assert!(
        !(*ring)
            .state
            .iter()
            .flatten()
            .any(|other| other.token == buffer.token),
        "a token is in the ring twice"
    );
    (*ring).state[head] = Some(buffer);
    (*ring).untold.push(head);
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
    device().taken += 1;
    ring.vq.num_free += buffer.descriptors;
    // The device chained all descriptors to those of the buffer: they are taken for free ones.
    if device().racing && !device().indirect && !ring.is_empty() && chance(64) {
        ring.vq.num_free = ring.size as u32;
        ring.astray = true;
    }
    ring.waiting.retain(|head| *head != id as usize);
    ring.untold.retain(|head| *head != id as usize);
    let token = buffer.token;
    say(|| format!("I/O {} comes back", buffer.io));
    (device().kind.popped)(&buffer, used);
    // A device that was reset does not write any more.
    if device().status != 0 {
        device().popped.push(buffer);
        race();
    }
    token as *mut c_void
}

#[no_mangle]
unsafe extern "C" fn virtqueue_detach_unused_buf(vq: *mut v::virtqueue) -> *mut c_void {
    let ring = &mut *vq.cast::<Ring>();

    // One that is not there has lost its power, or it would have to be reset.
    device().forgot |= device().place == Place::Away;
    assert!(
        device().status == 0 || device().forgot,
        "buffers are taken from a device that was not reset"
    );
    let Some(buffer) = ring.state.iter_mut().find_map(Option::take) else {
        assert!(!ring.astray, "C's BUG_ON()");
        return null_mut();
    };
    say(|| format!("ring {} loses I/O {}", ring.vq.index, buffer.io));
    (device().kind.detached)(ring.vq.index as usize, &buffer);
    ring.vq.num_free += buffer.descriptors;
    buffer.token as *mut c_void
}

#[no_mangle]
unsafe extern "C" fn virtqueue_get_vring_size(vq: *mut v::virtqueue) -> c_uint {
    (*vq.cast::<Ring>()).size as u32
}

#[no_mangle]
unsafe extern "C" fn __virtqueue_break(vq: *mut v::virtqueue) {
    (*vq.cast::<Ring>()).broken = true;
}

#[no_mangle]
unsafe extern "C" fn virtqueue_is_broken(vq: *mut v::virtqueue) -> bool {
    (*vq.cast::<Ring>()).broken
}

#[no_mangle]
unsafe extern "C" fn virtqueue_kick_prepare(vq: *mut v::virtqueue) -> bool {
    if device().racing && chance(8) {
        // It looks by itself.
        (*vq.cast::<Ring>()).tell();
        return false;
    }
    true
}

#[no_mangle]
unsafe extern "C" fn virtqueue_notify(vq: *mut v::virtqueue) -> bool {
    assert!(
        w().atomic == 0 && (w().irq == 0 || device().may_add()),
        "notifies with a lock held, or from an interrupt"
    );
    assert!(w().rcu > 0);
    (*vq.cast::<Ring>()).tell();
    !(*vq.cast::<Ring>()).broken
}

#[no_mangle]
extern "C" fn virtqueue_disable_cb(_: *mut v::virtqueue) {}

#[no_mangle]
unsafe extern "C" fn virtqueue_enable_cb(vq: *mut v::virtqueue) -> bool {
    let ring = &mut *vq.cast::<Ring>();

    if device().prompt && chance(4) {
        if device().kind.standing != Some(ring.vq.index) {
            ring.answer();
        } else if device().works() {
            ring.answer_one(|_| true, device().kind.answer);
        }
    }

    ring.broken || ring.last_used == ring.used_idx
}

#[no_mangle]
unsafe extern "C" fn rust_helper_storage_is_all_taken(vq: *mut v::virtqueue) -> bool {
    assert!(w().atomic > 0, "a ring is used without its lock");
    match device().tells {
        Tells::Anything => chance(2),
        Tells::Truth => (*vq.cast::<Ring>()).untold.is_empty(),
        Tells::Nothing => false,
    }
}

#[no_mangle]
unsafe extern "C" fn virtqueue_enable_cb_prepare(vq: *mut v::virtqueue) -> c_uint {
    assert!(w().atomic > 0, "a ring is used without its lock");
    (*vq.cast::<Ring>()).last_used.into()
}

#[no_mangle]
unsafe extern "C" fn virtqueue_poll(vq: *mut v::virtqueue, last_used: c_uint) -> bool {
    let ring = &*vq.cast::<Ring>();

    assert!(
        w().rcu > 0 || w().atomic > 0,
        "a virtqueue is used that may be gone"
    );
    !ring.broken && last_used != ring.used_idx.into()
}

impl Ring {
    pub fn new(vq: v::virtqueue, size: usize) -> Self {
        Self {
            vq,
            size,
            state: vec![None; size],
            used: vec![(0, 0); size],
            used_idx: 0,
            last_used: 0,
            told: None,
            broken: false,
            astray: false,
            untold: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Whether device and driver know from each other what they did to it.
    pub fn is_known(&self) -> bool {
        let is_told = self.used_idx == self.last_used || self.told == Some(self.used_idx);

        !self.is_untold() && (is_told || self.broken)
    }

    /// Whether the device was asked for nothing that it did not answer.
    pub fn has_answered(&self) -> bool {
        self.waiting.is_empty() || !device().works()
    }

    /// Whether a device that lies no more leaves it alone, also one that [`repents`](Self::repent).
    pub fn is_at_rest(&self, repents: bool) -> bool {
        let answers = device().works() && device().kind.standing != Some(self.vq.index);
        let used = self.used_idx.wrapping_sub(self.last_used) as usize;

        self.is_known()
            && match repents && device().works() {
                true => {
                    self.untold.is_empty()
                        && (!answers || used == self.state.iter().flatten().count())
                }
                false => !answers || self.waiting.is_empty(),
            }
    }

    pub fn is_empty(&self) -> bool {
        self.state.iter().all(Option::is_none)
    }

    /// The device is told that there is something, and hears it or not.
    pub fn tell(&mut self) {
        if !device().deaf || chance(2) {
            self.waiting.extend(self.untold.drain(..));
        }
    }

    /// Whether a device that hears was not told of something.
    pub fn is_untold(&self) -> bool {
        !self.untold.is_empty() && !self.broken && !device().deaf
    }

    /// The device forgets what it has.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.untold.clear();
    }

    /// The device says that it used the buffer `id`.
    fn put_used(&mut self, id: u32, len: u32) {
        let at = self.used_idx as usize % self.size;

        self.used[at] = (id, len);
        self.used_idx = self.used_idx.wrapping_add(1);
    }

    /// Answers what waits longest as it should.
    pub fn answer(&mut self) -> bool {
        if !device().works() || device().kind.standing == Some(self.vq.index) {
            return false;
        }
        let Some(head) = self.waiting.pop_front() else {
            return false;
        };
        if let Some(buffer) = &self.state[head] {
            let len = (device().kind.answer)(buffer);
            self.put_used(head as u32, len);
        }
        true
    }

    /// Answers the first that waits and is `wanted`, by what `answer` writes; whether there is one.
    pub fn answer_one(
        &mut self,
        wanted: impl Fn(&Buffer) -> bool,
        answer: impl FnOnce(&Buffer) -> u32,
    ) -> bool {
        let is_one = |head: &usize| self.state[*head].as_ref().is_some_and(&wanted);
        let Some(at) = self.waiting.iter().position(is_one) else {
            return false;
        };
        let head = self.waiting.remove(at).unwrap();
        let len = answer(self.state[head].as_ref().unwrap());

        self.put_used(head as u32, len);
        true
    }

    /// Whether one waits that is `wanted`.
    pub fn has_one(&self, wanted: impl Fn(&Buffer) -> bool) -> bool {
        let is_one = |head: &usize| self.state[*head].as_ref().is_some_and(&wanted);

        self.waiting.iter().any(is_one)
    }

    /// Whether the core has this token in the ring.
    pub fn has(&self, token: usize) -> bool {
        self.state
            .iter()
            .flatten()
            .any(|buffer| buffer.object() == token)
    }

    /// Answers something somehow.
    pub fn lie(&mut self) {
        let waits = self.waiting.len();
        let lie = byte();

        if !device().can_write() {
            return;
        }

        if lie >> 5 == 4 && device().tells == Tells::Truth {
            self.waiting.pop_front();
            return;
        }
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
        if !device().works() {
            return;
        }
        self.untold.clear();
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
        (*ring).told = Some((*ring).used_idx);
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
    if !device.can_write() {
        return;
    }
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
        say(|| format!("the device writes to {place:?}"));
        (device.kind.wrote)();
    }
}

/// Perhaps the device writes just now, between two steps of the driver.
pub fn race() {
    if exists() && device().racing && chance(4) {
        scribble();
    }
}

/// Shows the rings, and what commands there are.
pub fn dump() {
    crate::scsi::dump();
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
