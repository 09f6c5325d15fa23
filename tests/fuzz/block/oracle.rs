// SPDX-License-Identifier: GPL-2.0

//! What the device is asked, what it answers, and how that compares with what the users get.

use super::*;
use crate::virtio::{
    exists,
    Segment, //
};

/// A command to the device on behalf of an I/O.
struct Step {
    asked: u32,
    /// When it was sent, among all.
    sent: u64,
    expected: u32,
    status: usize,
    /// The device did it.
    done: bool,
    /// The length that the device said, once it came back.
    used: Option<u32>,
    /// The status was a success then, or was made one since.
    ok: bool,
}

/// An I/O of the users.
pub(super) struct Io {
    disk: *mut b::gendisk,
    is_mq: bool,
    /// The bio, if its end is polled for.
    pub(super) polled: usize,
    op: u32,
    sector: u64,
    len: usize,
    /// Memory that is its own, and the part of it that is its data.
    memory: usize,
    data: usize,
    /// In one request with it: those that follow, or whom it follows; 0 for none.
    followers: Vec<usize>,
    leader: usize,
    nounmap: bool,
    preflush: bool,
    fua: bool,
    /// It begins and ends on the borders of logical blocks.
    whole: bool,
    pub(super) ended: bool,
    /// It ended well, and rightly so.
    good: bool,
    /// The device wrote to its answer what it had no right to.
    lied: bool,
    /// When it was submitted, or its current step was sent, among all; 0 if it was not yet.
    order: u64,
    /// What was the last that was sent when it was submitted.
    since: u64,
    steps: Vec<Step>,
}

/// The order in which things are sent.
#[derive(Default)]
pub(super) struct Order {
    now: u64,
    /// The last that was sent to each virtqueue since it was found.
    last: Vec<u64>,
    /// What virtqueues had when they went: I/O that is to be sent again before all else.
    lost: Vec<(usize, usize)>,
}

impl Io {
    /// An I/O that users submit now, with memory of its own and the place of its data there.
    pub(super) fn new(
        disk: &Disk,
        op: u32,
        flags: u32,
        sector: u64,
        len: usize,
        (memory, data): (usize, usize),
    ) -> Self {
        let block = u64::from(disk.limits().logical_block_size);

        Self {
            disk: disk.disk,
            is_mq: disk.is_mq(),
            polled: 0,
            op,
            sector,
            len,
            memory,
            data,
            followers: Vec::new(),
            leader: 0,
            nounmap: flags & 1 << b::req_flag_bits___REQ_NOUNMAP != 0,
            preflush: flags & 1 << b::req_flag_bits___REQ_PREFLUSH != 0,
            fua: flags & 1 << b::req_flag_bits___REQ_FUA != 0,
            whole: (len as u64 | sector << 9) % block == 0,
            ended: false,
            good: false,
            lied: false,
            order: 0,
            since: layer().order.now,
            steps: Vec::new(),
        }
    }
}

/// Who polls for the end of a bio does so now.
pub fn poll_bios() {
    for i in 0..layer().ios.len() {
        let io = &layer().ios[i];

        if io.polled != 0 && !io.ended {
            // SAFETY: The bio did not end, so its disk is there.
            unsafe {
                let poll = (*(*io.disk).fops).poll_bio.expect("it is polled for");
                poll(io.polled as *mut b::bio, null_mut(), 0);
            }
        }
    }
}

/// Whether all I/O has ended.
pub fn all_ended() -> bool {
    layer().ios.iter().all(|io| io.ended)
}

/// These are one request.
pub(super) fn merged(mut all: impl Iterator<Item = usize>) {
    let leader = all.next().expect("a request has a bio");

    for id in all {
        layer().ios[id - 1].leader = leader;
        layer().ios[leader - 1].followers.push(id);
    }
}

/// An I/O, and those that are in one request with it.
fn members(id: usize) -> impl Iterator<Item = &'static Io> {
    let io = &layer().ios[id - 1];

    core::iter::once(io).chain(io.followers.iter().map(|id| &layer().ios[id - 1]))
}

/// Whether segments are this memory, in this order.
fn is_memory(segments: &[Segment], wanted: impl Iterator<Item = (usize, usize)>) -> bool {
    let mut wanted = wanted.filter(|(_, len)| *len > 0);
    let (mut at, mut left) = (0, 0);

    for segment in segments {
        let (mut begin, mut len) = (segment.at, segment.len);

        while len > 0 {
            if left == 0 {
                match wanted.next() {
                    Some(next) => (at, left) = next,
                    None => return false,
                }
            }
            if at != begin {
                return false;
            }
            let n = len.min(left);
            (at, left) = (at + n, left - n);
            (begin, len) = (begin + n, len - n);
        }
    }
    left == 0 && wanted.next().is_none()
}

/// The ranges that a discard or the like names: first sector, sectors, flags.
fn ranges(segments: &[Segment]) -> Vec<(u64, u32, u32)> {
    let bytes: Vec<u8> = segments
        .iter()
        // SAFETY: It is memory of that length.
        .flat_map(|s| unsafe { core::slice::from_raw_parts(s.at as *const u8, s.len) })
        .copied()
        .collect();
    let word = |at: &[u8]| u32::from_le_bytes(at.try_into().unwrap());

    bytes
        .chunks_exact(16)
        .map(|range| {
            let sector = u64::from_le_bytes(range[..8].try_into().unwrap());
            (sector, word(&range[8..12]), word(&range[12..]))
        })
        .collect()
}

/// A request is given to the driver.
pub(super) fn is_sent(id: usize) {
    if id > 0 {
        let layer = layer();

        layer.order.now += 1;
        layer.ios[id - 1].order = layer.order.now;
    }
}

/// The virtqueues are new.
pub fn found() {
    layer().order.last.clear();
}

/// The ring gives a buffer back that the device did not answer.
pub fn detached(ring: usize, buffer: &Buffer) {
    if buffer.io > 0 {
        layer().order.lost.push((ring, buffer.io));
    }
}

/// Whatever is sent is later than what was sent before. What was lost comes first, so that nothing
/// overtakes it.
fn check_order(ring: usize, id: usize) {
    let layer = layer();
    let order = &mut layer.order;

    match order.lost.iter().position(|lost| *lost == (ring, id)) {
        Some(at) => {
            order.lost.swap_remove(at);
        }
        None => {
            assert!(
                order.lost.iter().all(|lost| lost.0 != ring),
                "an I/O overtakes what is to be sent again"
            );
            // A step of a bio is submitted when it is sent.
            if !layer.ios[id - 1].is_mq {
                order.now += 1;
                layer.ios[id - 1].order = order.now;
            }
        }
    }
    let this = layer.ios[id - 1].order;
    if order.last.len() <= ring {
        order.last.resize(ring + 1, 0);
    }
    assert!(order.last[ring] < this, "I/O is sent in another order");
    order.last[ring] = this;
}

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

pub fn added(ring: usize, buffer: &mut Buffer) {
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
    // A lying device may write to what it had before, when it is about to be sent again.
    let lied = io > 0 && layer().ios[io - 1].lied;
    // SAFETY: The status is the last byte.
    let first = unsafe { *(status as *const u8) };
    assert!(
        first == 0xff || lied,
        "the status is a success before the device wrote it"
    );
    buffer.io = io;
    buffer.asked = asked;
    if io == 0 {
        return;
    }
    check_order(ring, io);
    let all = || members(buffer.io);
    assert!(
        all().all(|io| !io.ended),
        "an I/O that ended goes to the device"
    );
    let data = || all().map(|io| (io.data, io.len));
    let (last, first) = (buffer.writable.len() - 1, &buffer.readable[1..]);
    match asked {
        0 => assert!(out == 0 && is_memory(&buffer.writable[..last], data())),
        T_OUT | T_APPEND => assert!(into == 0 && is_memory(first, data())),
        11 | 13 | 14 => {
            let unmap = |io: &Io| u32::from(asked == 13 && !io.nounmap);
            let range = |io: &Io| (io.sector, (io.len >> 9) as u32, unmap(io));

            assert!(into == 0 && out % 16 == 0);
            assert!(
                ranges(first).into_iter().eq(all().map(range)),
                "other ranges"
            );
        }
        _ => assert!(into == 0 && out == 0),
    }
    let io = &mut layer().ios[io - 1];
    assert!(io.leader == 0, "a part of a request is sent");
    // That of requests the block layer has seen to.
    assert!(io.is_mq || io.whole, "a bio of half a block is sent");
    if asked != T_FLUSH {
        assert!(asked == command(io.op), "asks {asked} for {}", io.op);
        assert!(
            matches!(asked, 11 | 13 | 14 | 26) || sector == io.sector,
            "the wrong sector"
        );
    }
    io.steps.push(Step {
        asked,
        sent: io.order,
        expected: (into + footer.len) as u32,
        status,
        done: false,
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
    match buffer.asked {
        16 => report(buffer),
        // Its serial number.
        8 => {
            let name = buffer.writable[0];
            let len = name.len.min(3);
            // SAFETY: As above.
            unsafe { (name.at as *mut u8).copy_from_nonoverlapping(b"abc".as_ptr(), len) };
        }
        _ => {}
    }
    does(buffer);
    // Of a read, data and status.
    buffer.writable.iter().map(|s| s.len).sum::<usize>() as u32
}

/// The device does what it is asked, if it is the I/O of users.
fn does(buffer: &Buffer) {
    if buffer.io == 0 {
        return;
    }
    let io = &mut layer().ios[buffer.io - 1];

    assert!(!io.ended, "the device has what ended");
    if matches!(buffer.asked, T_OUT | T_APPEND) {
        // SAFETY: The device may read it.
        let (sector, mark) = unsafe {
            (
                ((buffer.readable[0].at + 8) as *const u64).read_unaligned(),
                (buffer.readable[1].at as *const u64).read_unaligned(),
            )
        };
        assert!(
            sector == io.sector && mark == buffer.io as u64,
            "another's data is written"
        );
        for id in &io.followers {
            // SAFETY: As above: it was compared when it was added.
            let mark = unsafe { (layer().ios[id - 1].data as *const u64).read_unaligned() };
            assert!(mark == *id as u64, "another's data is written");
        }
    }
    io.steps.last_mut().expect("it was added").done = true;
}

/// Zones of all types and states.
const ZONES: [(u8, u8); 8] = [
    (2, 1),
    (1, 0),
    (2, 2),
    (3, 3),
    (2, 4),
    (2, 13),
    (2, 14),
    (2, 15),
];

/// A report of zones of the size that the configuration says.
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
        let size = zone.min(capacity - start);
        let (kind, state) = ZONES[(start / zone) as usize % ZONES.len()];
        // Within the zone, if it is open or closed.
        let pointer = start + if matches!(state, 2..=4) { size / 2 } else { 0 };
        bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&start.to_le_bytes());
        bytes[at + 16..at + 24].copy_from_slice(&pointer.to_le_bytes());
        bytes[at + 24] = kind;
        bytes[at + 25] = state;
        if n == 2 * usize::from(device().crooked >> 4) {
            bend(&mut bytes[at..at + 64], start, size);
        }
        start = start.saturating_add(zone);
        n += 1;
    }
    let said = match device().crooked & 15 {
        1 => 0,
        2 => u64::MAX,
        // Not all that there is room for.
        14 => n.div_ceil(2) as u64,
        _ => n as u64,
    };
    bytes[..8].copy_from_slice(&said.to_le_bytes());
    let mut at = 0;
    for segment in &buffer.writable {
        let len = segment.len.min(bytes.len() - at);
        // SAFETY: The segment is the device's.
        unsafe { core::ptr::copy_nonoverlapping(bytes[at..].as_ptr(), segment.at as *mut u8, len) };
        at += len;
    }
}

/// Makes what is said of a zone one that cannot be, or that is rare.
fn bend(zone: &mut [u8], start: u64, size: u64) {
    let mut put = |at: usize, value: u64| zone[at..at + 8].copy_from_slice(&value.to_le_bytes());

    match device().crooked & 15 {
        3 => put(8, start + 1),
        4 => put(8, start.wrapping_sub(size)),
        5 => put(0, 0),
        6 => put(0, size + 1),
        7 => put(0, size / 2),
        // Open, and written beyond its borders.
        8 => {
            put(16, start.wrapping_sub(1));
            zone[24..26].copy_from_slice(&[2, 2]);
        }
        9 => {
            put(16, start + size + 1);
            zone[24..26].copy_from_slice(&[3, 4]);
        }
        10 => zone[24] = 9,
        11 => zone[25] = 5,
        12 => zone[24..26].copy_from_slice(&[2, 0]),
        13 => zone[24..26].copy_from_slice(&[3, 0]),
        _ => {}
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
        // An append to another zone, or to none.
        if layer().merges && footer.len == 9 {
            let sector = ((buffer.readable[0].at + 8) as *const u64).read_unaligned();
            let other = [sector.wrapping_sub(1), sector + 8192, u64::MAX, sector + 1];
            (footer.at as *mut u64).write_unaligned(other[byte as usize >> 3 & 3]);
        }
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
        io.lied = true;
        if let Some(step) = io.steps.last_mut().filter(|step| step.used.is_some()) {
            // SAFETY: As above.
            step.ok |= unsafe { (step.status as *const u8).read_volatile() } == 0;
        }
    }
}

/// An I/O ends.
pub(super) fn ends(id: usize, status: u8, sector: u64) {
    device_forgets(id);
    let strict = layer().strict;
    layer().order.lost.retain(|lost| lost.1 != id);
    let io = &mut layer().ios[id - 1];

    assert!(!io.ended, "an I/O ends twice");
    io.ended = true;
    // SAFETY: The disk lives as long as it has I/O.
    unsafe { (*(*io.disk).part0).bd_openers.counter -= 1 };
    kfree(io.memory as *mut c_void);
    if status != 0 {
        return;
    }
    io.good = true;
    // It was looked at just now.
    if io.leader != 0 {
        assert!(
            io.steps.is_empty() && layer().ios[io.leader - 1].good,
            "a part of a request ends otherwise than the whole"
        );
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
    // In bio mode a flush serves those as well who waited for one when it was sent.
    if asked.is_empty() && plan == [T_FLUSH] && io.op != 2 {
        let since = io.since;
        let serves = |step: &Step| {
            step.asked == T_FLUSH && step.sent > since && step.used.is_some() && step.ok
        };
        assert!(
            layer().ios.iter().any(|io| io.steps.iter().any(serves)),
            "a flush ends well, and the device did none since"
        );
        return;
    }
    assert!(
        asked == plan,
        "an I/O ends well after {asked:?}, to be {plan:?}"
    );
    for step in done {
        assert!(step.ok, "an I/O ends well, and the device never said so");
        assert!(
            step.done || io.lied,
            "an I/O ends well that no device has done"
        );
        let used = step.used.unwrap();
        assert!(
            !strict || used >= step.expected,
            "an I/O ends well with {used} of {} bytes",
            step.expected
        );
    }
    if io.op == 7 {
        // SAFETY: As above.
        let zone = unsafe { u64::from((*(*io.disk).queue).limits.chunk_sectors) };
        assert!(
            zone > 0 && sector ^ io.sector < zone,
            "an append went to another zone"
        );
    }
}

fn device_forgets(id: usize) {
    if exists() {
        device().popped.retain(|buffer| buffer.io != id);
    }
}
