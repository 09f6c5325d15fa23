// SPDX-License-Identifier: GPL-2.0

//! The block layer as far as the drivers see it, and what it knows of each I/O: what was asked, what
//! the device answered, how it ended.

mod disk;
mod mq;
mod oracle;

pub use disk::{
    close,
    close_all,
    open,
    report, //
};
pub use mq::{
    merge,
    rerun,
    rests,
    softirq, //
};
pub use oracle::{
    added,
    all_ended,
    answer,
    detached,
    found,
    lie,
    poll_bios,
    popped,
    wrote, //
};
use oracle::{
    ends,
    is_sent,
    Io,
    Order, //
};

use crate::{
    mem::{
        kfree,
        memory,
        new,
        page_of,
        zeroed,
        zeroed_pages, //
    },
    virtio::{
        device,
        race,
        Buffer, //
    },
    world::{
        self,
        block,
        chance,
        current,
        might_sleep,
        spawn,
        w,
        wake,
        FOREVER,
        JIFFY, //
    },
};
use kernel::bindings as b;
use std::{
    cell::Cell,
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_ulong,
        c_ushort,
        c_void, //
    },
    ptr::null_mut,
    rc::Rc, //
};

/// The timeout of a request.
const TIMEOUT: u64 = 30_000_000_000;

const EAGAIN: c_int = -11;
const EINVAL: c_int = -22;
const EIO: c_int = -5;
const ENODEV: c_int = -19;

const IDLE: u32 = 0;
const IN_FLIGHT: u32 = 1;

#[derive(Default)]
pub struct Layer {
    ios: Vec<Io>,
    order: Order,
    disks: Vec<Disk>,
    sets: Vec<Set>,
    /// The plugs of tasks: callbacks.
    plugs: Vec<(usize, Vec<*mut b::blk_plug_cb>)>,
    pub strict: bool,
    /// Requests that complete on another CPU.
    pub remote: bool,
    softirq: Vec<*mut b::request>,
    /// Who has a disk open, a removed one as well.
    openers: Vec<*mut b::gendisk>,
    /// What the users submit in a row is merged, as far as it may be; and it may be large.
    pub merges: bool,
    /// The ends of some requests go unnoticed (`io-timeout-fail`).
    pub forgets: bool,
}

struct Set {
    set: *mut b::blk_mq_tag_set,
    /// All requests, by hardware queue.
    requests: Vec<Vec<*mut b::request>>,
    busy: Vec<*mut b::request>,
}

pub struct Disk {
    pub disk: *mut b::gendisk,
    q: *mut b::request_queue,
    hctxs: Vec<*mut b::blk_mq_hw_ctx>,
    set: *mut b::blk_mq_tag_set,
    stopped: bool,
    quiesced: bool,
    frozen: u32,
    waiting: Vec<*mut b::request>,
    /// These are to be tried again.
    goes_on: bool,
    added: bool,
    dead: bool,
    /// Its attributes, and how many users have one open: that may outlive the disk.
    pub groups: *const *const b::attribute_group,
    pub readers: Rc<Cell<u32>>,
    /// The driver, and those who have it open.
    refs: u32,
}

static mut LAYER: Option<Layer> = None;

pub fn layer() -> &'static mut Layer {
    // SAFETY: One thread; borrowed for a moment only.
    unsafe { (*(&raw mut LAYER)).get_or_insert_with(Layer::default) }
}

/// All is over: each I/O has ended, nothing is left.
pub fn end() {
    let layer = layer();

    assert!(layer.ios.iter().all(|io| io.ended), "an I/O never ended");
    assert!(
        layer.disks.is_empty() && layer.sets.is_empty(),
        "a disk is left"
    );
    assert!(layer.softirq.is_empty() && layer.openers.is_empty());
    *layer = Layer::default();
}

/// The disk with this address.
pub fn by_id(id: usize) -> &'static mut Disk {
    disk::of_disk(id as *mut b::gendisk)
}

/// The disk that was added, if it is there.
pub fn disk() -> Option<&'static mut Disk> {
    layer()
        .disks
        .iter_mut()
        .find(|disk| disk.added && !disk.dead)
}

/// An I/O of the users, as a bio.
///
/// The I/O priority is its number, which the device hears in the header.
/// If it has `begun`, a part of it was done already, with the first vector and a part of the second.
pub fn make_bio(
    disk: &Disk,
    op: u32,
    flags: u32,
    sector: u64,
    segments: &[usize],
    begun: bool,
) -> *mut b::bio {
    const DONE: usize = 512;
    let layer = layer();
    let has_data = matches!(op, 0 | 1 | 7);
    let len: usize = segments.iter().sum();
    let bio = new::<b::bio>();
    let memory = match layer.merges {
        true => zeroed_pages(len + 2 * DONE) as usize,
        false => zeroed(len.max(segments.len() * 4096) + 8) as usize,
    };
    let data = memory + if begun { 2 * DONE } else { 0 };
    let vecs = zeroed((segments.len() + 2) * size_of::<b::bio_vec>()).cast::<b::bio_vec>();

    let size = if has_data || matches!(op, 3 | 5 | 9) {
        len
    } else {
        0
    };
    let mut io = Io::new(disk, op, flags, sector, size, (memory, data));
    if flags & 1 << b::req_flag_bits___REQ_POLLED != 0 {
        io.polled = bio as usize;
    }
    layer.ios.push(io);
    // SAFETY: They are new, and zero is valid.
    unsafe {
        // Who has I/O in flight has the disk open.
        (*(*disk.disk).part0).bd_openers.counter += 1;
        // By which the device knows what is written.
        (data as *mut u64).write(layer.ios.len() as u64);
        (*bio).bi_bdev = (*disk.disk).part0;
        (*bio).bi_opf = op | flags;
        (*bio).bi_ioprio = layer.ios.len() as u16;
        (*bio).bi_iter.bi_sector = sector;
        (*bio).bi_iter.bi_size = size as u32;
        (*bio).bi_io_vec = vecs;
        if has_data {
            let mut at = memory;
            if begun {
                (*bio).bi_iter.bi_idx = 1;
                (*bio).bi_iter.bi_offset = DONE as u32;
            }
            let mut push = |len: usize| {
                vecs.add((*bio).bi_vcnt.into()).write(b::bio_vec {
                    bv_page: page_of(at) as *mut b::page,
                    bv_len: len as u32,
                    bv_offset: (at & 4095) as u32,
                });
                at += len;
                (*bio).bi_vcnt += 1;
            };
            if begun {
                push(DONE);
            }
            for (i, len) in segments.iter().enumerate() {
                push(len + if begun && i == 0 { DONE } else { 0 });
            }
        }
    }
    bio
}

/// Somebody polls for a bio that has ended, and is nobody's by now, or one of another driver's disk.
pub fn poll_stale(disk: &Disk) {
    let (bio, bdev) = (new::<b::bio>(), new::<b::block_device>());
    let (other, fops) = (new::<b::gendisk>(), new::<b::block_device_operations>());

    // SAFETY: The disk lives, and so does what is new.
    unsafe {
        let poll = (*(*disk.disk).fops).poll_bio.unwrap();

        assert!(poll(bio, null_mut(), 0) == 0);
        (*other).fops = fops;
        (*bdev).bd_disk = other;
        (*bio).bi_bdev = bdev;
        assert!(poll(bio, null_mut(), 0) == 0);
    }
    for memory in [bio.cast(), bdev.cast(), other.cast(), fops.cast()] {
        kfree(memory);
    }
}

/// Ends a bio that the driver does not get.
pub fn give_up(bio: *mut b::bio) {
    // SAFETY: The bio is ours.
    unsafe {
        (*bio).bi_status = 10;
        bio_endio(bio);
    }
}

/// How many I/Os have a number.
pub fn count() -> usize {
    layer().ios.len()
}

#[no_mangle]
unsafe extern "C" fn bio_endio(bio: *mut b::bio) {
    assert!(w().atomic == 0, "a bio ends with a lock held");
    // One of the driver itself.
    if let Some(end) = (*bio).bi_end_io {
        device().popped.retain(|buffer| buffer.io != 0);
        return end(bio);
    }
    end_bio(bio);
}

/// As [`bio_endio`], which blk-mq may call with a driver's lock held.
unsafe fn end_bio(bio: *mut b::bio) {
    ends(
        (*bio).bi_ioprio.into(),
        (*bio).bi_status,
        (*bio).bi_iter.bi_sector,
    );
    kfree((*bio).bi_io_vec.cast());
    kfree(bio.cast());
    wake(bio as usize);
}

#[no_mangle]
unsafe extern "C" fn bio_init(
    bio: *mut b::bio,
    bdev: *mut b::block_device,
    table: *mut b::bio_vec,
    max: c_ushort,
    opf: c_uint,
) {
    core::ptr::write_bytes(bio, 0, 1);
    (*bio).bi_bdev = bdev;
    (*bio).bi_io_vec = table;
    (*bio).bi_max_vecs = max;
    (*bio).bi_opf = opf;
}

#[no_mangle]
extern "C" fn bio_uninit() {}

#[no_mangle]
unsafe extern "C" fn bio_split_to_limits(bio: *mut b::bio) -> *mut b::bio {
    might_sleep();
    bio
}

#[no_mangle]
extern "C" fn bio_start_io_acct() -> c_ulong {
    w().now / JIFFY
}

#[no_mangle]
extern "C" fn bio_end_io_acct_remapped(_bio: *mut b::bio, start: c_ulong, _bdev: *mut c_void) {
    assert!(start <= w().now / JIFFY);
    race();
}

#[no_mangle]
extern "C" fn rust_helper_storage_account_flush() {}

#[no_mangle]
extern "C" fn rust_helper_storage_zone_plug_bio(_bio: *mut b::bio) -> bool {
    false
}

/// The task has a plug while `f` runs.
pub fn plugged(f: impl FnOnce()) {
    let task = current();

    layer().plugs.push((task, Vec::new()));
    f();
    let plugs = &mut layer().plugs;
    let at = plugs.iter().position(|plug| plug.0 == task);
    for cb in plugs.swap_remove(at.expect("it has a plug")).1 {
        // SAFETY: The callback frees it.
        unsafe { (*cb).callback.unwrap()(cb, chance(2)) };
    }
}

#[no_mangle]
unsafe extern "C" fn blk_check_plugged(
    unplug: b::blk_plug_cb_fn,
    data: *mut c_void,
    size: c_int,
) -> *mut b::blk_plug_cb {
    let task = current();
    let Some((_, plug)) = layer().plugs.iter_mut().find(|plug| plug.0 == task) else {
        return null_mut();
    };
    if let Some(cb) = plug.iter().find(|cb| (***cb).data == data) {
        return *cb;
    }
    let cb = zeroed(size as usize).cast::<b::blk_plug_cb>();
    (*cb).callback = unplug;
    (*cb).data = data;
    plug.push(cb);
    cb
}
