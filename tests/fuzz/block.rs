// SPDX-License-Identifier: GPL-2.0

//! The block layer as far as the drivers see it, and what it knows of each I/O: what was asked, what
//! the device answered, how it ended.

mod disk;
mod mq;

pub use mq::{
    rerun,
    softirq, //
};

use crate::{
    mem::{
        kfree,
        memory,
        new,
        zeroed, //
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
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_ulong,
        c_ushort,
        c_void, //
    },
    ptr::null_mut, //
};

/// The timeout of a request.
const TIMEOUT: u64 = 30_000_000_000;

const EINVAL: c_int = -22;
const EIO: c_int = -5;
const ENODEV: c_int = -19;

const IDLE: u32 = 0;
const IN_FLIGHT: u32 = 1;

/// A command to the device on behalf of an I/O.
struct Step {
    asked: u32,
    expected: u32,
    status: usize,
    /// The length that the device said, once it came back.
    used: Option<u32>,
    /// The status was a success then, or was made one since.
    ok: bool,
}

/// An I/O of the users.
struct Io {
    op: u32,
    sector: u64,
    len: usize,
    data: usize,
    preflush: bool,
    fua: bool,
    ended: bool,
    steps: Vec<Step>,
}

#[derive(Default)]
pub struct Layer {
    ios: Vec<Io>,
    disks: Vec<Disk>,
    sets: Vec<Set>,
    /// The plug of the current task: callbacks with their sizes.
    plug: Option<Vec<*mut b::blk_plug_cb>>,
    pub strict: bool,
    /// Requests that complete on another CPU.
    pub remote: bool,
    softirq: Vec<*mut b::request>,
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
    added: bool,
    dead: bool,
    /// Its attributes, and how many users have one open.
    pub groups: *const *const b::attribute_group,
    pub readers: u32,
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
    assert!(layer.softirq.is_empty());
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

// What the device is asked, and how that compares with what the users get.

const T_OUT: u32 = 1;
const T_FLUSH: u32 = 4;
const T_APPEND: u32 = 15;

/// The command for an operation of the block layer.
fn command(op: u32) -> u32 {
    match op {
        0 | 1 => op,
        2 => T_FLUSH,
        3 => 11,
        5 => 14,
        7 => T_APPEND,
        9 => 13,
        11 => 18,
        13 => 20,
        15 => 22,
        17 => 24,
        19 => 26,
        _ => u32::MAX,
    }
}

pub fn added(_: usize, buffer: &mut Buffer) {
    let header = buffer.readable[0];
    assert!(header.len == 16, "the header has {} bytes", header.len);
    // SAFETY: It is memory of that length.
    let (asked, io, sector) = unsafe {
        let at = header.at as *const u32;
        (
            at.read_unaligned(),
            at.add(1).read_unaligned() as usize,
            at.add(2).cast::<u64>().read_unaligned(),
        )
    };
    let out: usize = buffer.readable[1..].iter().map(|s| s.len).sum();
    let footer = *buffer.writable.last().expect("there is a status");
    let into: usize = buffer.writable.iter().map(|s| s.len).sum::<usize>() - footer.len;
    let status = footer.at + footer.len - 1;

    assert!(footer.len == if asked == T_APPEND { 9 } else { 1 });
    // SAFETY: The status is the last byte.
    assert!(
        unsafe { *(status as *const u8) } == 0xff,
        "the status is a success before the device wrote it"
    );
    buffer.io = io;
    buffer.asked = asked;
    if io == 0 {
        return;
    }
    let io = &mut layer().ios[io - 1];
    assert!(!io.ended, "an I/O that ended goes to the device");
    match asked {
        0 => assert!(out == 0 && into == io.len && buffer.writable[0].at == io.data),
        T_OUT | T_APPEND => assert!(into == 0 && out == io.len && buffer.readable[1].at == io.data),
        11 | 13 | 14 => assert!(into == 0 && out % 16 == 0 && out > 0),
        _ => assert!(into == 0 && out == 0),
    }
    if asked != T_FLUSH {
        assert!(asked == command(io.op), "asks {asked} for {}", io.op);
        assert!(
            matches!(asked, 11 | 13 | 14 | 26) || sector == io.sector,
            "the wrong sector"
        );
    }
    io.steps.push(Step {
        asked,
        expected: (into + footer.len) as u32,
        status,
        used: None,
        ok: false,
    });
}

pub fn answer(buffer: &Buffer) -> u32 {
    let footer = *buffer.writable.last().unwrap();

    // SAFETY: The segments are the device's.
    unsafe {
        ((footer.at + footer.len - 1) as *mut u8).write_volatile(0);
        if footer.len == 9 {
            let at = (buffer.readable[0].at + 8) as *const u64;
            (footer.at as *mut u64).write_unaligned(at.read_unaligned());
        }
    }
    if buffer.asked == 16 {
        report(buffer);
    }
    // Of a read, data and status.
    buffer.writable.iter().map(|s| s.len).sum::<usize>() as u32
}

/// A report of zones of 128 KiB that are all empty.
fn report(buffer: &Buffer) {
    let mut bytes = vec![0u8; buffer.writable.iter().map(|s| s.len).sum::<usize>() - 1];
    let zone = u64::from(u32::from_le_bytes(
        device().config[72..76].try_into().unwrap(),
    ));
    let capacity = u64::from_le_bytes(device().config[..8].try_into().unwrap());
    // SAFETY: The header has 16 bytes.
    let mut start = unsafe { ((buffer.readable[0].at + 8) as *const u64).read_unaligned() };
    let mut n = 0;

    while 64 + (n + 1) * 64 <= bytes.len() && start < capacity && zone > 0 {
        let at = 64 + n * 64;
        bytes[at..at + 8].copy_from_slice(&zone.min(capacity - start).to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&start.to_le_bytes());
        bytes[at + 16..at + 24].copy_from_slice(&start.to_le_bytes());
        bytes[at + 24] = 2;
        bytes[at + 25] = 1;
        start = start.saturating_add(zone);
        n += 1;
    }
    bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
    let mut at = 0;
    for segment in &buffer.writable {
        let len = segment.len.min(bytes.len() - at);
        // SAFETY: The segment is the device's.
        unsafe { core::ptr::copy_nonoverlapping(bytes[at..].as_ptr(), segment.at as *mut u8, len) };
        at += len;
    }
}

pub fn lie(buffer: &Buffer, byte: u8) {
    let footer = buffer.writable.last().unwrap();
    let status = footer.at + footer.len - 1;

    // SAFETY: The segments are the device's.
    unsafe {
        // Known ones, and all others.
        let known = [0u8, 1, 2, 3, 4, 5, 6, 0xff];
        (status as *mut u8).write_volatile(if byte < 0xc0 {
            known[byte as usize % 8]
        } else {
            byte
        });
        for _ in 0..world::below(4) {
            let segment = buffer.writable[world::below(buffer.writable.len())];
            let at = world::below(segment.len.min(256));
            ((segment.at + at) as *mut u8).write_volatile(world::byte());
        }
    }
    wrote();
}

pub fn popped(buffer: &Buffer, used: u32) {
    if buffer.io == 0 {
        return;
    }
    let io = &mut layer().ios[buffer.io - 1];
    let step = io.steps.last_mut().expect("it was added");

    assert!(step.used.is_none() && !io.ended, "a token comes back twice");
    step.used = Some(used);
    // SAFETY: The token is there until the I/O ends.
    step.ok = unsafe { (step.status as *const u8).read_volatile() } == 0;
}

pub fn wrote() {
    for io in layer().ios.iter_mut().filter(|io| !io.ended) {
        if let Some(step) = io.steps.last_mut().filter(|step| step.used.is_some()) {
            // SAFETY: As above.
            step.ok |= unsafe { (step.status as *const u8).read_volatile() } == 0;
        }
    }
}

/// An I/O ends.
fn ends(id: usize, status: u8, sector: u64) {
    device_forgets(id);
    let strict = layer().strict;
    let io = &mut layer().ios[id - 1];

    assert!(!io.ended, "an I/O ends twice");
    io.ended = true;
    kfree(io.data as *mut c_void);
    if status != 0 {
        return;
    }
    // What the device did, by its own words, must be what was to be done, in the right order.
    let done: Vec<_> = io.steps.iter().filter(|step| step.used.is_some()).collect();
    let mut plan = Vec::new();
    if io.preflush && io.op != 2 {
        plan.push(T_FLUSH);
    }
    if io.op != 1 || io.len > 0 {
        plan.push(command(io.op));
        if io.fua {
            plan.push(T_FLUSH);
        }
    }
    let asked: Vec<_> = done.iter().map(|step| step.asked).collect();
    assert!(
        asked == plan,
        "an I/O ends well after {asked:?}, to be {plan:?}"
    );
    for step in done {
        assert!(step.ok, "an I/O ends well, and the device never said so");
        let used = step.used.unwrap();
        assert!(
            !strict || used >= step.expected,
            "an I/O ends well with {used} of {} bytes",
            step.expected
        );
    }
    if io.op == 7 {
        let zone = disk_zone();
        assert!(
            zone > 0 && sector ^ io.sector < zone,
            "an append went to another zone"
        );
    }
}

fn device_forgets(id: usize) {
    if crate::virtio::exists() {
        device().popped.retain(|buffer| buffer.io != id);
    }
}

fn disk_zone() -> u64 {
    // SAFETY: The disk lives.
    layer().disks.first().map_or(0, |disk| unsafe {
        u64::from((*disk.q).limits.chunk_sectors)
    })
}

/// An I/O of the users, as a bio.
///
/// The I/O priority is its number, which the device hears in the header.
pub fn make_bio(disk: &Disk, op: u32, flags: u32, sector: u64, segments: &[usize]) -> *mut b::bio {
    let layer = layer();
    let has_data = matches!(op, 0 | 1 | 7);
    let len: usize = segments.iter().sum();
    let bio = new::<b::bio>();
    let data = zeroed(segments.len() * 4096 + 1) as usize;
    let vecs = zeroed((segments.len() + 1) * size_of::<b::bio_vec>()).cast::<b::bio_vec>();

    layer.ios.push(Io {
        op,
        sector,
        len: if has_data || matches!(op, 3 | 5 | 9) {
            len
        } else {
            0
        },
        data,
        preflush: flags & 1 << b::req_flag_bits___REQ_PREFLUSH != 0,
        fua: flags & 1 << b::req_flag_bits___REQ_FUA != 0,
        ended: false,
        steps: Vec::new(),
    });
    // SAFETY: It is new, and zero is valid.
    unsafe {
        (*bio).bi_bdev = (*disk.disk).part0;
        (*bio).bi_opf = op | flags;
        (*bio).bi_ioprio = layer.ios.len() as u16;
        (*bio).bi_iter.bi_sector = sector;
        (*bio).bi_iter.bi_size = layer.ios.last().unwrap().len as u32;
        (*bio).bi_io_vec = vecs;
        if has_data {
            let mut at = data;
            for (i, len) in segments.iter().enumerate() {
                vecs.add(i).write(b::bio_vec {
                    bv_page: (at & !4095) as *mut b::page,
                    bv_len: *len as u32,
                    bv_offset: (at & 4095) as u32,
                });
                at += len;
                (*bio).bi_vcnt += 1;
            }
        }
    }
    bio
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
    layer().plug = Some(Vec::new());
    f();
    for cb in layer().plug.take().unwrap_or_default() {
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
    let Some(plug) = &mut layer().plug else {
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
