// SPDX-License-Identifier: GPL-2.0

//! Who wants commands done: users, and the mid-layer itself.

use super::{
    cmnd::{
        dispatch,
        request,
        slot,
        Io,
        Stage,
        TIMEOUT, //
    },
    unit, //
    *,
};
use crate::{
    mem::{
        kfree,
        new,
        page_of,
        zeroed, //
    },
    world::{
        self,
        below,
        block,
        byte,
        current,
        might_sleep,
        w,
        FOREVER, //
    },
};
use kernel::bindings as b;
use std::ffi::c_void;

/// A command that is about to be.
struct Wish<'a> {
    sdev: *mut v::scsi_device,
    cdb: &'a [u8],
    data: &'a [(usize, usize)],
    protection: &'a [(usize, usize)],
    to_device: bool,
    flags: u32,
    priority: u16,
    waits: bool,
    owned: Vec<usize>,
}

/// The list of scatterlist entries for these pieces.
fn list(pieces: &[(usize, usize)]) -> *mut b::scatterlist {
    let list = zeroed(pieces.len() * size_of::<b::scatterlist>()).cast::<b::scatterlist>();

    for (i, (at, len)) in pieces.iter().enumerate() {
        // SAFETY: The list has as many.
        unsafe {
            let sg = &mut *list.add(i);
            let is_last = i + 1 == pieces.len();

            sg.page_link = (page_of(*at) | if is_last { 2 } else { 0 }) as _;
            sg.offset = *at as u32 & 4095;
            sg.length = *len as u32;
        }
    }
    list
}

/// Makes a command, to be sent soon; `None` if there is none that is free.
fn prepare(queue: usize, mut wish: Wish<'_>) -> Option<*mut v::scsi_cmnd> {
    let mid = mid();
    let n = mid.host.as_ref()?.hctxs.len();
    // SAFETY: The host is added.
    let free = |slot: &&mut Slot| unsafe {
        slot.stage == Stage::Free && (*(*request(slot.cmd)).mq_hctx).queue_num as usize == queue % n
    };
    let slot = mid.slots.iter_mut().find(free)?;
    let cmd = slot.cmd;
    let len: usize = wish.data.iter().map(|piece| piece.1).sum();

    mid.ios.push(Io {
        waits: wish.waits,
        op: wish.cdb[0],
        data: wish.data.first().map_or(0, |piece| piece.0),
        result: None,
        lied: false,
        steps: Vec::new(),
        owned: Vec::new(),
    });
    if matches!(wish.cdb[0], INQUIRY | REPORT_LUNS) {
        // Memory that had another use.
        for piece in wish.data {
            // SAFETY: The data is the command's.
            unsafe { (piece.0 as *mut u8).write_bytes(0xa5, piece.1) };
        }
    }
    slot.stage = Stage::Waiting;
    slot.io = mid.ios.len();
    slot.aborted = false;
    // SAFETY: The command is free.
    unsafe {
        let rq = request(cmd);
        (*rq).cmd_flags = wish.flags;
        (*rq).timeout = (TIMEOUT / world::JIFFY) as u32;
        (*rq).bio = null_mut();
        if wish.priority != 0 {
            let bio = new::<b::bio>();
            (*bio).bi_ioprio = wish.priority;
            (*rq).bio = bio;
            wish.owned.push(bio as usize);
        }
        (*cmd).device = wish.sdev;
        (*cmd).retries = 0;
        (*cmd).allowed = 5;
        (*cmd).cmd_len = wish.cdb.len() as u16;
        (*cmd).cmnd = [0; 32];
        (&mut (*cmd).cmnd)[..wish.cdb.len()].copy_from_slice(wish.cdb);
        (*cmd).sc_data_direction = match (len, wish.to_device) {
            (0, _) => NO_DATA,
            (_, true) => b::dma_data_direction::DMA_TO_DEVICE,
            (_, false) => b::dma_data_direction::DMA_FROM_DEVICE,
        };
        (*cmd).sdb = core::mem::zeroed();
        (*cmd).prot_sdb = null_mut();
        (*cmd).prot_op = v::scsi_prot_operations_SCSI_PROT_NORMAL as u8;
        if len > 0 {
            let list = list(wish.data);
            wish.owned.push(list as usize);
            (*cmd).sdb.length = len as u32;
            (*cmd).sdb.table.sgl = list;
            (*cmd).sdb.table.nents = wish.data.len() as u32;
        }
        if !wish.protection.is_empty() {
            let list = list(wish.protection);
            let buffer = zeroed(size_of::<v::scsi_data_buffer>()).cast::<v::scsi_data_buffer>();
            wish.owned.push(list as usize);
            wish.owned.push(buffer as usize);
            (*buffer).table.sgl = list;
            (*buffer).table.nents = wish.protection.len() as u32;
            (*cmd).prot_sdb = buffer;
            (*cmd).prot_op = match wish.to_device {
                true => v::scsi_prot_operations_SCSI_PROT_WRITE_PASS as u8,
                false => v::scsi_prot_operations_SCSI_PROT_READ_PASS as u8,
            };
        }
    }
    mid.ios.last_mut().unwrap().owned = wish.owned;
    Some(cmd)
}

/// Has a unit do something, and waits; returns the result of the command, or an error.
pub(super) fn execute(
    sdev: *mut v::scsi_device,
    cdb: &[u8],
    buffer: usize,
    len: usize,
    retries: i32,
) -> i32 {
    for _ in 0..retries.max(1) {
        let result = execute_once(sdev, cdb, buffer, len);

        if !matches!(result & 0xff_0000, DID_RESET | DID_BUS_BUSY) || result < 0 {
            return result;
        }
    }
    DID_ERROR
}

fn execute_once(sdev: *mut v::scsi_device, cdb: &[u8], buffer: usize, len: usize) -> i32 {
    might_sleep();
    let data = [(buffer, len)];
    let cmd = loop {
        if !unit::takes(sdev) || mid().slots.is_empty() {
            return ENXIO;
        }
        // SAFETY: The host is added.
        let queues = unsafe { (*shost()).tag_set.map[0].nr_queues } as usize;
        let wish = Wish {
            sdev,
            cdb,
            data: if len > 0 { &data } else { &[] },
            protection: &[],
            to_device: false,
            flags: b::req_op_REQ_OP_DRV_IN,
            priority: 0,
            waits: true,
            owned: Vec::new(),
        };
        match prepare(current() % queues, wish) {
            Some(cmd) => break cmd,
            None => block(progress(), FOREVER),
        };
    };
    let id = slot(cmd).io;

    dispatch(cmd, true);
    loop {
        if let Some(result) = mid().ios[id - 1].result {
            return result;
        }
        block(id, FOREVER);
    }
}

/// Users send `n` commands in a row.
pub fn submit(n: usize) {
    let mut all = Vec::new();
    let shape = byte();

    for _ in 0..n {
        let Some(sdev) = unit::some() else { return };
        let kind = byte();
        let op = [
            READ,
            WRITE,
            READ,
            WRITE,
            TEST_UNIT_READY,
            RESERVE,
            SYNC_CACHE,
            WRITE,
        ][kind as usize & 7];
        // SAFETY: The host is there.
        let (most, protects) =
            unsafe { ((*shost()).sg_tablesize, (*shost()).prot_capabilities != 0) };
        // Programs ask for what the mid-layer asks for, too.
        let op = match (mid().asks && kind & 7 == 7, shape & 1) {
            (true, 0) => INQUIRY,
            (true, _) => REPORT_LUNS,
            _ => op,
        };
        let pieces = match op {
            READ | WRITE => (1 + below(4)).min(most.into()),
            INQUIRY | REPORT_LUNS => 1,
            _ => 0,
        };
        let mut owned = Vec::new();
        let mut data = Vec::new();
        let mut protection = Vec::new();
        if pieces > 0 {
            let at = zeroed(pieces * 4096) as usize;
            owned.push(at);
            let mut end = at;
            for _ in 0..pieces {
                let len = match op {
                    READ | WRITE => 512 << below(4),
                    _ => [2, 4, 36, 64, 252, 255, 1028, 2048][usize::from(kind >> 3 & 7)],
                };
                data.push((end, len));
                end += len;
            }
            if protects && kind & 8 != 0 && matches!(op, READ | WRITE) {
                let at = zeroed(64) as usize;
                owned.push(at);
                protection.push((at, 64));
            }
            // By which the device knows what is written.
            // SAFETY: It is as long.
            unsafe { (at as *mut u64).write(mid().ios.len() as u64 + 1) };
        }
        let id = (mid().ios.len() as u32 + 1).to_be_bytes();
        let cdb = match op {
            READ | WRITE => vec![op, 0, id[0], id[1], id[2], id[3], 0, 0, 8, 0],
            SYNC_CACHE => vec![op, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            INQUIRY => {
                let [high, low] = (data[0].1 as u16).to_be_bytes();
                let (vital, page) = [
                    (0, 0),
                    (1, IDENTIFICATION),
                    (0, IDENTIFICATION),
                    (1, IDENTIFICATION),
                ][usize::from(shape >> 1 & 3)];
                vec![op, vital, page, high, low, 0]
            }
            REPORT_LUNS => {
                let len = (data[0].1 as u32).to_be_bytes();
                vec![op, 0, 0, 0, 0, 0, len[0], len[1], len[2], len[3], 0, 0]
            }
            _ => vec![op, 0, 0, 0, 0, 0],
        };
        let mut flags = match op {
            READ | WRITE => u32::from(op == WRITE),
            _ => b::req_op_REQ_OP_DRV_IN,
        };
        flags |= u32::from(kind >> 6 == 3) << b::req_flag_bits___REQ_FAILFAST_TRANSPORT;
        // Programs read and write as well.
        if kind >> 4 & 3 == 3 && !matches!(op, INQUIRY | REPORT_LUNS) {
            flags = b::req_op_REQ_OP_DRV_OUT;
        }
        // Real time, the usual, idle.
        let priority = [0, 1 << 13 | 3, 2 << 13 | 4, 3 << 13 | 7][usize::from(shape >> 1 & 3)];
        let pieces_owned = owned.clone();
        let wish = Wish {
            sdev,
            cdb: &cdb,
            data: &data,
            protection: &protection,
            // A program may as well say so of a question.
            to_device: op == WRITE || kind >> 6 == 1 && matches!(op, INQUIRY | REPORT_LUNS),
            flags,
            priority: if mid().prefers { priority } else { 0 },
            waits: false,
            owned,
        };
        match prepare(usize::from(shape >> 4), wish) {
            Some(cmd) => all.push(cmd),
            None => pieces_owned
                .into_iter()
                .for_each(|at| kfree(at as *mut c_void)),
        }
    }
    let ends = shape & 4 == 0;
    let n = all.len();
    for (i, cmd) in all.into_iter().enumerate() {
        dispatch(cmd, ends && i + 1 == n);
    }
    if !ends && n > 0 {
        // SAFETY: The host is added: it has units.
        unsafe {
            let queues = (*shost()).nr_hw_queues as usize;
            w().rcu += 1;
            template().commit_rqs.unwrap()(shost(), (usize::from(shape >> 4) % queues) as u16);
            w().rcu -= 1;
        }
    }
}

/// Somebody polls for his command.
pub fn poll() {
    let n = mid().host.as_ref().map_or(0, |host| host.hctxs.len());

    if n > 0 {
        // SAFETY: The host is added.
        unsafe { template().mq_poll.unwrap()(shost(), below(n) as u32) };
    }
}
