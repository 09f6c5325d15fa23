// SPDX-License-Identifier: GPL-2.0

//! What the device is asked, what it answers, and how that compares with what the users get.

use super::{
    cmnd::{
        request,
        slot,
        Slot,
        Stage,
        Step, //
    },
    *,
};
use crate::{
    mem::address_of,
    virtio::{
        device,
        exists,
        Buffer,
        Ring,
        Segment,
        Tells, //
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

/// What a buffer is for, beside commands.
const QUESTION: u32 = 0x100;
const FUNCTION: u32 = 0x200;
const EVENT: u32 = 0x300;

const S_OK: u8 = v::VIRTIO_SCSI_S_OK as u8;
const S_ABORTED: u8 = v::VIRTIO_SCSI_S_ABORTED as u8;
const S_BAD_TARGET: u8 = v::VIRTIO_SCSI_S_BAD_TARGET as u8;
const S_RESET: u8 = v::VIRTIO_SCSI_S_RESET as u8;
const S_SUCCEEDED: u8 = v::VIRTIO_SCSI_S_FUNCTION_SUCCEEDED as u8;

/// Of a header and an answer.
const LUN: usize = 0;
const TAG: usize = 8;
const HEADER: usize = 51;
const PROTECTED_HEADER: usize = 59;
const ANSWER: usize = 108;
const SENSE_LEN: usize = 0;
const STATUS: usize = 10;
const RESPONSE: usize = 11;
const SENSE_AT: usize = 12;

/// A byte of a header.
fn get(at: usize, offset: usize) -> u8 {
    // SAFETY: Who calls this knows the length.
    unsafe { ((at + offset) as *const u8).read_volatile() }
}

fn put(at: usize, offset: usize, value: u8) {
    // SAFETY: As above.
    unsafe { ((at + offset) as *mut u8).write_volatile(value) };
}

fn mark(at: usize) -> u64 {
    // SAFETY: As above.
    unsafe { (at as *const u64).read_unaligned() }
}

fn tag(header: usize) -> u64 {
    mark(header + TAG)
}

/// The target and the unit that a header is for.
fn unit_of(header: usize) -> (u8, u16) {
    let [high, low] = [2, 3].map(|i| get(header, LUN + i));

    (get(header, LUN + 1), u16::from_be_bytes([high & 0x3f, low]))
}

/// Where the command block is.
fn cdb(buffer: &Buffer) -> usize {
    let header = buffer.readable[0];

    header.at + if header.len == HEADER { 19 } else { 27 }
}

/// The operation code of a command.
fn op(buffer: &Buffer) -> u8 {
    get(cdb(buffer), 0)
}

fn is_good(head: usize) -> bool {
    get(head, RESPONSE) == S_OK && get(head, STATUS) == 0
}

/// The virtqueues are new: the device was reset.
pub fn found() {
    was_reset(|_| true);
}

/// The ring gives a buffer back that the device did not answer.
pub fn detached(_ring: usize, _buffer: &Buffer) {}

pub fn added(ring: usize, buffer: &mut Buffer) {
    match ring {
        0 => {
            assert!(buffer.readable.len() == 1 && buffer.readable[0].len == 24);
            assert!(buffer.writable.len() == 1 && buffer.writable[0].len == 1);
            buffer.asked = FUNCTION;
        }
        1 => {
            assert!(buffer.readable.is_empty());
            assert!(buffer.writable.len() == 1 && buffer.writable[0].len == 16);
            buffer.asked = EVENT;
        }
        _ => command_added(ring - 2, buffer),
    }
}

fn command_added(queue: usize, buffer: &mut Buffer) {
    let header = buffer.readable[0];
    let answer = buffer.writable[0];
    let is_one = mid()
        .slots
        .iter()
        .any(|slot| slot.cmd as usize == buffer.object());

    assert!(
        header.len == HEADER || header.len == PROTECTED_HEADER,
        "the header has {} bytes",
        header.len
    );
    assert!(answer.len == ANSWER && get(header.at, LUN) == 1);
    buffer.asked = QUESTION | u32::from(get(cdb(buffer), 0));
    if !is_one {
        assert!(buffer.readable.len() == 1 && buffer.writable.len() == 1);
        assert!(tag(header.at) == 1 << 63);
        return;
    }
    let slot = slot(buffer.object() as *mut v::scsi_cmnd);
    let io = &mut mid().ios[slot.io - 1];
    assert!(
        get(answer.at, RESPONSE) == 0xff || io.lied,
        "the answer is a success before the device wrote it"
    );
    assert!(!io.has_ended(), "a command that ended goes to the device");
    assert!(
        slot.lent == 1,
        "a command goes to the device that was given back"
    );
    // SAFETY: The command is the driver's; nobody changes it meanwhile.
    let (cmd, rq) = unsafe { (&*slot.cmd, &*request(slot.cmd)) };
    // SAFETY: As above: its unit is there.
    let unit = unsafe { ((*cmd.device).id as u8, (*cmd.device).lun as u16 & 0x3fff) };
    // SAFETY: As above.
    let of_queue = unsafe { (*rq.mq_hctx).queue_num };
    let wanted_tag = cmnd::tag(slot.cmd);
    assert!(unit_of(header.at) == unit, "a command for another unit");
    assert!(queue == of_queue as usize, "a command in another's queue");
    assert!(tag(header.at) == wanted_tag);
    let block = cdb(buffer);
    for i in 0..32 {
        assert!(get(block, i) == cmd.cmnd[i], "another command");
    }
    buffer.io = slot.io;
    buffer.asked &= !QUESTION;

    // The data: protection first, one way only, nothing else.
    let mut wanted = Vec::new();
    let mut protection = 0;
    // SAFETY: The lists are the command's, one piece each.
    unsafe {
        let normal = v::scsi_prot_operations_SCSI_PROT_NORMAL as u8;
        // What error handling sends has none, though the command that it uses may.
        if let Some(prot) = cmd.prot_sdb.as_ref().filter(|_| cmd.prot_op != normal) {
            pieces(&prot.table, &mut wanted);
            protection = wanted.iter().map(|piece| piece.1).sum();
        }
        pieces(&cmd.sdb.table, &mut wanted);
    }
    let (out, into) = (&buffer.readable[1..], &buffer.writable[1..]);
    let writes = cmd.sc_data_direction == kernel::bindings::dma_data_direction::DMA_TO_DEVICE;
    let (data, none) = if writes { (out, into) } else { (into, out) };
    let same = |(piece, segment): (&(usize, usize), &Segment)| {
        piece.0 == segment.at && piece.1 == segment.len
    };
    assert!(none.is_empty(), "data goes the wrong way");
    assert!(
        wanted.len() == data.len() && wanted.iter().zip(data).all(same),
        "other data than the command's"
    );
    if header.len == PROTECTED_HEADER {
        let at = header.at + if writes { 19 } else { 23 };
        // SAFETY: The header is as long.
        let said = unsafe { (at as *const u32).read_unaligned() };
        assert!(said as usize == protection, "another length of protection");
    } else {
        assert!(protection == 0);
    }
    // SAFETY: A bio that there is lives as long as the command.
    let priority = match unsafe { rq.bio.as_ref() }.map_or(0, |bio| bio.bi_ioprio) {
        prio if prio >> 13 == 1 => 1 + (prio & 7) as u8,
        prio if prio >> 13 == 3 => 15,
        _ => 0,
    };
    assert!(get(header.at, 17) == priority, "another priority");
    if !writes && matches!(cmd.cmnd[0], INQUIRY | REPORT_LUNS) && io.steps.is_empty() {
        // SAFETY: The data is the command's.
        let dirty = |piece: &(usize, usize)| (0..piece.1).any(|i| get(piece.0, i) != 0);
        assert!(
            !wanted.iter().any(dirty),
            "the device gets old memory, or leaves it to others"
        );
    }
    io.steps.push(Step {
        asked: cmd.cmnd[0],
        head: answer.at,
        eh: cmd.submitter == v::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_ERROR_HANDLER,
        done: false,
        used: false,
        ok: false,
    });
}

/// What a list names.
unsafe fn pieces(table: &kernel::bindings::sg_table, to: &mut Vec<(usize, usize)>) {
    for i in 0..table.nents as usize {
        let sg = &*table.sgl.add(i);

        to.push((
            address_of(sg.page_link as usize & !3) + sg.offset as usize,
            sg.length as usize,
        ));
    }
}

/// Does something with so many bytes from `skip` on of a list.
unsafe fn each_piece(
    sg: *const b::scatterlist,
    nents: u32,
    len: usize,
    mut skip: usize,
    mut with: impl FnMut(*mut u8, usize),
) -> usize {
    let mut left = len;

    for i in 0..nents as usize {
        let sg = &*sg.add(i);
        let at = address_of(sg.page_link as usize & !3) + sg.offset as usize;
        let passed = skip.min(sg.length as usize);
        let n = left.min(sg.length as usize - passed);

        skip -= passed;
        left -= n;
        if n > 0 {
            with((at + passed) as *mut u8, n);
        }
    }
    len - left
}

#[no_mangle]
unsafe extern "C" fn sg_zero_buffer(
    sg: *const b::scatterlist,
    nents: u32,
    len: usize,
    skip: isize,
) -> usize {
    each_piece(sg, nents, len, skip as usize, |at, n| at.write_bytes(0, n))
}

#[no_mangle]
unsafe extern "C" fn sg_pcopy_to_buffer(
    sg: *const b::scatterlist,
    nents: u32,
    mut to: *mut u8,
    len: usize,
    skip: isize,
) -> usize {
    each_piece(sg, nents, len, skip as usize, |at, n| {
        to.copy_from(at, n);
        to = to.add(n);
    })
}

/// Writes the answer to a command.
fn respond(buffer: &Buffer, response: u8, status: u8, sense: &[u8]) -> u32 {
    let at = buffer.writable[0].at;

    for i in 0..SENSE_AT {
        put(at, i, 0);
    }
    put(at, SENSE_LEN, sense.len() as u8);
    put(at, STATUS, status);
    put(at, RESPONSE, response);
    for (i, value) in sense.iter().enumerate() {
        put(at, SENSE_AT + i, *value);
    }
    ANSWER as u32
}

pub fn answer(buffer: &Buffer) -> u32 {
    match buffer.asked {
        FUNCTION => manage(buffer),
        EVENT => {
            (0..16).for_each(|i| put(buffer.writable[0].at, i, 0));
            16
        }
        _ => serve(buffer),
    }
}

/// Puts bytes into a segment, as far as they fit.
fn put_all(segment: &Segment, offset: usize, bytes: &[u8]) {
    for (i, byte) in (offset..segment.len).zip(bytes) {
        put(segment.at, i, *byte);
    }
}

/// Sense data by which a unit tells of a reset, in one form or the other.
fn attention(target: u8) -> [u8; 14] {
    match target % 2 {
        0 => [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x29, 0],
        _ => [0x72, 6, 0x29, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// The units of a target, or all of them, have to tell of a reset.
fn was_reset(is_one: impl Fn(&(u8, u16)) -> bool) {
    if mid().tells {
        let units: Vec<_> = mid().stock.iter().copied().filter(is_one).collect();
        mid().resets.extend(units);
    }
}

/// What the mid-layer makes of the answer to a question, of which it believes what it reads: it looks
/// at no memory beyond the answer, and needs none beyond reason.
pub(super) fn look_at(cmd: *mut v::scsi_cmnd) {
    // SAFETY: The command is the mid-layer's, and so is its data.
    unsafe {
        let cmd = &*cmd;
        let mut data = Vec::new();

        let reads = cmd.sc_data_direction == b::dma_data_direction::DMA_FROM_DEVICE;
        if cmd.result != 0 || !reads || !matches!(cmd.cmnd[0], INQUIRY | REPORT_LUNS) {
            return;
        }
        pieces(&cmd.sdb.table, &mut data);
        let Some(&(at, len)) = data.first() else {
            return;
        };
        let len = len - cmd.resid_len as usize;
        let byte = |i: usize| if i < len { get(at, i) } else { 0 };
        let [op, vital, page, high, low, ..] = cmd.cmnd;

        if op == REPORT_LUNS && len >= 4 {
            let said = u32::from_be_bytes([0, 1, 2, 3].map(byte));
            assert!(said <= 8 * 0x8001, "a list of units of {said} bytes");
        }
        if op == INQUIRY && vital & 1 == 1 && page == IDENTIFICATION {
            let most = len.min(u16::from_be_bytes([high, low]).into());
            let end = 4 + usize::from(u16::from_be_bytes([2, 3].map(byte)));
            let mut at = 4;

            while end <= most && at < end {
                at += 4 + usize::from(byte(at + 3));
                assert!(at <= end, "a designator goes beyond its page");
            }
        }
    }
}

/// A disk, or a drive for CDs.
fn kind_of(unit: (u8, u16)) -> u8 {
    match unit {
        (2, 2) => 5,
        _ => 0,
    }
}

/// An honest device does what a command asks.
fn serve(buffer: &Buffer) -> u32 {
    let (target, lun) = unit_of(buffer.readable[0].at);
    let op = op(buffer);
    let has_target = mid().stock.iter().any(|unit| unit.0 == target);
    let has_unit = mid().stock.contains(&(target, lun));
    let data = buffer.writable.get(1);

    if buffer.io > 0 {
        let io = &mut mid().ios[buffer.io - 1];

        assert!(!io.has_ended(), "the device has what ended");
        let step = io.steps.last_mut().expect("it was added");
        step.done = true;
        if op == WRITE {
            let data = buffer.readable.last().unwrap();
            let first = buffer.readable[1];
            // Behind protection, which is zero.
            let is_first = io.data == first.at;
            assert!(data.len > 0);
            if is_first {
                assert!(
                    mark(first.at) == buffer.io as u64,
                    "another's data is written"
                );
            }
        }
    }
    if !has_target {
        return respond(buffer, S_BAD_TARGET, 0, &[]);
    }
    let unit = (target, lun);
    let is_question = matches!(op, INQUIRY | REPORT_LUNS | REQUEST_SENSE);
    if has_unit && !is_question && mid().resets.contains(&unit) {
        mid().resets.retain(|other| *other != unit);
        return respond(buffer, S_OK, 2, &attention(target));
    }
    match (op, data) {
        (INQUIRY, None) => {}
        (INQUIRY, Some(data)) => {
            let [vital, page] = [1, 2].map(|i| get(cdb(buffer), i));

            match (vital & 1, page) {
                (0, _) => {
                    put(data.at, 0, if has_unit { kind_of(unit) } else { 0x7f });
                    // Those of a target can be removed.
                    put_all(data, 1, &[if target == 3 { 0x80 } else { 0 }]);
                    let maker = if lun == 0 { b"QEMU    " } else { b"nobody's" };
                    put_all(data, 8, maker);
                }
                // Two designators.
                (_, IDENTIFICATION) => put_all(
                    data,
                    0,
                    &[
                        0, page, 0, 16, 2, 1, 0, 4, b'a', b'b', b'c', b'd', 1, 3, 0, 4, 1, 2, 3, 4,
                    ],
                ),
                _ => put_all(data, 0, &[0, page, 0, 4, b'a', b'b', b'c', b'd']),
            }
        }
        (REPORT_LUNS, Some(data)) => {
            let units = mid().stock.iter().filter(|unit| unit.0 == target).count();
            put_all(data, 0, &(8 * units as u32).to_be_bytes());
        }
        // 8192 sectors; of some only the longer form says it, and of some it is another size.
        (READ_CAPACITY, Some(data)) if has_unit => {
            let last = [0x1fff, 0x0fff, u32::MAX][usize::from(lun) % 3];
            put_all(data, 0, &last.to_be_bytes());
            put_all(data, 4, &512u32.to_be_bytes());
        }
        (SERVICE_ACTION_IN, Some(data)) if has_unit => {
            put_all(data, 0, &0x7ffu64.to_be_bytes());
            put_all(data, 8, &4096u32.to_be_bytes());
        }
        (REQUEST_SENSE, Some(data)) => {
            put(data.at, 0, 0x70);
            put(data.at, 2, 5);
        }
        // There is no such unit.
        _ if !has_unit => {
            return respond(
                buffer,
                S_OK,
                2,
                &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x25],
            );
        }
        (READ, Some(_)) if buffer.io > 0 => {
            let io = &mid().ios[buffer.io - 1];
            // SAFETY: The data of a read is 512 bytes at least.
            unsafe { (io.data as *mut u64).write_unaligned(!(buffer.io as u64)) };
        }
        _ => {}
    }
    respond(buffer, S_OK, 0, &[])
}

/// An honest device ends the commands that a function names before it answers, or says whether it
/// has one.
fn manage(buffer: &Buffer) -> u32 {
    let header = buffer.readable[0].at;
    let subtype = get(header, 4);
    // Behind the kind and the subtype.
    let unit = unit_of(header + 8);
    let wanted = mark(header + 16);
    if u32::from(subtype) == v::VIRTIO_SCSI_T_TMF_QUERY_TASK {
        let is_one = |at: usize| tag(at) == wanted && unit_of(at) == unit;
        let has = device().rings.iter().skip(2).any(|ring| {
            // SAFETY: The rings live, and none of them is the one of functions.
            unsafe { (**ring).has_one(|buffer| is_one(buffer.readable[0].at)) }
        });

        put(
            buffer.writable[0].at,
            0,
            if has { S_SUCCEEDED } else { S_OK },
        );
        return 1;
    }
    let (is_one, response): (&dyn Fn(usize) -> bool, u8) = match u32::from(subtype) {
        v::VIRTIO_SCSI_T_TMF_ABORT_TASK => {
            (&|at| tag(at) == wanted && unit_of(at) == unit, S_ABORTED)
        }
        v::VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET => (&|at| unit_of(at) == unit, S_RESET),
        _ => (&|at| unit_of(at).0 == unit.0, S_RESET),
    };

    for ring in device().rings.iter().skip(2) {
        // SAFETY: The rings live, and none of them is the one of functions.
        unsafe {
            while (**ring).answer_one(
                |buffer| is_one(buffer.readable[0].at),
                |buffer| respond(buffer, response, 0, &[]),
            ) {}
        }
    }
    if u32::from(subtype) != v::VIRTIO_SCSI_T_TMF_ABORT_TASK {
        let whole = u32::from(subtype) != v::VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET;
        was_reset(|other| other.0 == unit.0 && (whole || *other == unit));
    }
    put(buffer.writable[0].at, 0, S_OK);
    1
}

/// Something happens to the units, and the device tells.
pub fn event() {
    let unit = (byte() % 4, u16::from(byte() % 3));
    let kind = byte();
    let stock = &mut mid().stock;
    let (event, reason) = match kind % 4 {
        0 if !stock.contains(&unit) => {
            stock.push(unit);
            (1, v::VIRTIO_SCSI_EVT_RESET_RESCAN)
        }
        0 | 1 => {
            stock.retain(|other| *other != unit);
            (1, v::VIRTIO_SCSI_EVT_RESET_REMOVED)
        }
        2 => (1, v::VIRTIO_SCSI_EVT_RESET_HARD),
        _ => (
            3,
            [0x2a, 0x012a, 0x092a, 0x0e3f][usize::from(kind >> 4 & 3)],
        ),
    };
    let missed = if kind & 8 != 0 { 0x80 } else { 0 };

    let Some(ring) = device().rings.get(1).copied() else {
        return;
    };
    // SAFETY: The ring lives.
    unsafe {
        if !device().works() {
            return;
        }
        (*ring).answer_one(
            |_| true,
            |buffer| {
                write_event(buffer.writable[0].at, [event, 0, 0, missed], unit, reason);
                16
            },
        );
    }
}

fn write_event(at: usize, kind: [u8; 4], unit: (u8, u16), reason: u32) {
    let [high, low] = unit.1.to_be_bytes();
    let bytes = [1, unit.0, high, low, 0, 0, 0, 0];

    (0..4).for_each(|i| put(at, i, kind[i]));
    (0..8).for_each(|i| put(at, 4 + i, bytes[i]));
    (0..4).for_each(|i| put(at, 12 + i, reason.to_le_bytes()[i]));
}

pub fn lie(buffer: &Buffer, what: u8) {
    let at = buffer.writable[0].at;

    match buffer.asked {
        FUNCTION => put(at, 0, if what < 0xc0 { what % 13 } else { what }),
        EVENT => {
            let kind = [what & 3, 0, 0, what & 0x80];
            write_event(
                at,
                kind,
                (byte() % 5, (byte() % 4).into()),
                u32::from(byte()) & 0x83,
            );
            // In the form of addresses that is for larger numbers.
            if what & 0x40 == 0 {
                put(at, 6, 0x40);
            }
            if chance(4) {
                put(at, below(16), byte());
            }
        }
        _ => {
            put(at, RESPONSE, if what < 0xc0 { what % 12 } else { what });
            put(
                at,
                STATUS,
                [0, 2, 0, 0x18, 0, 0x28, 8, 0][usize::from(byte() & 7)],
            );
            if chance(2) {
                let residual = word();
                (0..8).for_each(|i| put(at, i, residual.to_le_bytes()[i]));
                // A key, of sense data or of nothing.
                put(at, SENSE_AT, 0x70);
                let key = byte();
                put(at, SENSE_AT + 2, key & 15);
                // Of a reset that there was, or was not; not ready; or it does not say why.
                if mid().tells && key >> 6 > 0 {
                    put(at, RESPONSE, S_OK);
                    put(at, STATUS, 2);
                    match key >> 6 {
                        3 => put_all(&buffer.writable[0], SENSE_AT, &attention(key >> 4)),
                        2 => put(at, SENSE_AT + 2, 2),
                        _ => put(at, SENSE_AT, 0),
                    }
                }
            }
            // Of blocks of another size, or of none.
            if mid().sized && buffer.writable.len() > 1 && op(buffer) == READ_CAPACITY {
                let size = byte();
                put_all(&buffer.writable[1], 4, &[0, 0, size & 0xe, size >> 7]);
            }
            if mid().asks
                && buffer.writable.len() > 1
                && matches!(op(buffer), INQUIRY | REPORT_LUNS)
            {
                let [high, low] = (u16::from(byte()) << 2).to_be_bytes();
                put_all(&buffer.writable[1], 2, &[high, low, 0, 0, 0, byte()]);
            }
            for _ in 0..below(4) {
                let segment = buffer.writable[below(buffer.writable.len())];
                put(segment.at, below(segment.len.min(256)), byte());
            }
        }
    }
    wrote();
}

/// The command in use that has this tag.
fn of_tag(tag: u64) -> Option<&'static Slot> {
    let is_one = |slot: &&Slot| slot.stage != Stage::Free && cmnd::tag(slot.cmd) == tag;

    mid().slots.iter().find(is_one)
}

/// The device says that it does not have a command, or may have said so.
fn note_denial(buffer: &Buffer) {
    let header = buffer.readable[0].at;
    let denies = get(buffer.writable[0].at, 0) == S_OK || device().racing;
    let tag = mark(header + 16);

    if u32::from(get(header, 4)) == v::VIRTIO_SCSI_T_TMF_QUERY_TASK && denies {
        if let Some(slot) = of_tag(tag) {
            mid().denied.push((tag, slot.sends, w().now));
        }
    }
}

/// The log says something: that a command is lost, only if the device denied it twice, not at once.
/// And one that tells the truth does not have it then.
pub fn heard(text: &str) {
    let Some((_, text)) = text
        .split_once("a command was lost")
        .and_then(|(_, text)| text.split_once("(tag 0x"))
    else {
        return;
    };
    let digits: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
    let tag = u64::from_str_radix(&digits, 16).expect("a tag");
    let slot = of_tag(tag).expect("a command that is lost is in use");
    let same = |(of, sends, _): &&(u64, u64, u64)| *of == tag && *sends == slot.sends;
    let when: Vec<_> = mid().denied.iter().filter(same).map(|x| x.2).collect();
    let apart = when
        .last()
        .zip(when.first())
        .map(|(last, first)| last - first);

    assert!(
        apart >= Some(1_000_000_000),
        "a command is lost that the device did not deny twice"
    );
    if device().tells == Tells::Truth && !mid().ios[slot.io - 1].lied {
        let is_one = |buffer: &Buffer| buffer.object() == slot.cmd as usize;
        // SAFETY: The rings live, and nobody is at them who prints.
        let has = |ring: &*mut Ring| unsafe { (**ring).has_one(is_one) };

        assert!(
            !device().rings.iter().any(has),
            "a command is lost that the device has"
        );
    }
}

pub fn popped(buffer: &Buffer, _used: u32) {
    if buffer.asked == FUNCTION {
        note_denial(buffer);
    }
    if buffer.io == 0 {
        return;
    }
    let io = &mut mid().ios[buffer.io - 1];
    let step = io.steps.last_mut().expect("it was added");

    assert!(
        !step.used && io.result.is_none(),
        "a token comes back twice"
    );
    step.used = true;
    step.ok = is_good(step.head);
}

pub fn wrote() {
    for io in mid().ios.iter_mut().filter(|io| io.result.is_none()) {
        io.lied = true;
        if let Some(step) = io.steps.last_mut().filter(|step| step.used) {
            step.ok |= is_good(step.head);
        }
    }
}

/// A command ends.
pub(super) fn ends(id: usize, result: i32) {
    if exists() {
        device().popped.retain(|buffer| buffer.io != id);
    }
    let io = &mid().ios[id - 1];

    assert!(!io.has_ended(), "a command ends twice");
    if result != 0 {
        return;
    }
    let step = io.steps.last().filter(|step| step.used);
    let step = step.expect("a command ends well that never came back");
    assert!(
        step.asked == io.op && !step.eh,
        "a command ends well after another one"
    );
    assert!(step.ok, "a command ends well, and the device never said so");
    assert!(
        step.done || io.lied,
        "a command ends well that no device has done"
    );
    if io.op == READ && !io.lied {
        assert!(mark(io.data) == !(id as u64), "a read that brought nothing");
    }
}
