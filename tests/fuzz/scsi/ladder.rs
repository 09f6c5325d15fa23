// SPDX-License-Identifier: GPL-2.0

//! What the mid-layer does about commands that are late, or failed.

use super::{
    cmnd::{
        assert_taken_back,
        finish,
        in_flight,
        may_retry,
        request,
        retry,
        slot,
        Stage, //
    },
    host,
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
    virtio::device,
    world::{
        self,
        block,

        sleep,
        spawn,
        w,
        wake,
        FOREVER,
        JIFFY, //
    },
};
use kernel::bindings as b;
use std::ffi::{
    c_int,
    c_void, //
};

type Handler = Option<unsafe extern "C" fn(*mut v::scsi_cmnd) -> c_int>;

const SUCCESS: c_int = v::scsi_disposition_SUCCESS as c_int;
const COMPLETE: u32 = v::SCMD_STATE_COMPLETE;

/// The time of error handling's own commands, and how long it waits for a driver that is busy.
const EH_TIMEOUT: u64 = 10_000_000_000;
const STALL: u64 = 100_000_000;
const ABORT_DELAY: u64 = 10_000_000;

/// A command's time is over.
pub(super) fn timed_out(cmd: usize) {
    let cmd = cmd as *mut v::scsi_cmnd;
    let sends = slot(cmd).sends;

    spawn("a timeout", move || {
        let still = |slot: &&cmnd::Slot| slot.cmd == cmd;
        let Some(this) = mid().slots.iter().find(still) else {
            return;
        };
        // SAFETY: The command is there, and in flight.
        unsafe {
            if this.stage != Stage::Sent || this.sends != sends || (*cmd).state >> COMPLETE & 1 == 1
            {
                return;
            }
            // Just now.
            if device().prompt && world::chance(2) {
                for ring in device().rings.iter().skip(2) {
                    (**ring).answer();
                }
            }
            w().rcu += 1;
            let action = template().eh_timed_out.unwrap()(cmd);
            w().rcu -= 1;
            let is_complete = (*cmd).state >> COMPLETE & 1 == 1;
            match action {
                v::scsi_timeout_action_SCSI_EH_DONE => {
                    assert!(is_complete, "nobody looks at this command again");
                    return;
                }
                v::scsi_timeout_action_SCSI_EH_RESET_TIMER => {
                    if !is_complete {
                        cmnd::start_timer(cmd);
                    }
                    return;
                }
                _ => {}
            }
            if is_complete {
                return;
            }
            (*cmd).state |= 1 << COMPLETE;
            let this = slot(cmd);
            this.stage = Stage::Late;
            if !core::mem::replace(&mut this.aborted, true) {
                show();
                world::at(w().now + ABORT_DELAY, cmd as usize, abort_is_due);
            } else {
                (*cmd).result = DID_TIME_OUT;
                add(cmd);
            }
        }
    });
}

fn abort_is_due(cmd: usize) {
    let cmd = cmd as *mut v::scsi_cmnd;

    spawn("an abort", move || {
        assert!(slot(cmd).stage == Stage::Late);
        // SAFETY: The command is ours.
        unsafe {
            if template().eh_abort_handler.unwrap()(cmd) != SUCCESS {
                return add(cmd);
            }
            assert_taken_back(cmd);
            (*cmd).result = (*cmd).result & !0xff_0000 | DID_TIME_OUT;
            again_or_finish(cmd);
            show();
        }
    });
}

unsafe fn again_or_finish(cmd: *mut v::scsi_cmnd) {
    if may_retry(cmd) && unit::takes((*cmd).device) && template().eh_should_retry_cmd.unwrap()(cmd)
    {
        retry(cmd);
    } else {
        if (*cmd).result == 0 {
            (*cmd).result = DID_TIME_OUT;
        }
        finish(cmd);
    }
}

/// Shows what error handling has.
fn show() {
    let has = |stage| mid().slots.iter().any(|slot| slot.stage == stage);

    host::show_lists(has(Stage::Late), has(Stage::Failed));
}

/// Error handling gets a command.
pub(super) fn add(cmd: *mut v::scsi_cmnd) {
    slot(cmd).stage = Stage::Failed;
    // SAFETY: The host is added.
    unsafe {
        (*shost()).host_failed += 1;
        let state = &mut (*shost()).shost_state;
        *state = match *state {
            v::scsi_host_state_SHOST_RUNNING => v::scsi_host_state_SHOST_RECOVERY,
            v::scsi_host_state_SHOST_CANCEL => v::scsi_host_state_SHOST_CANCEL_RECOVERY,
            same => same,
        };
    }
    show();
    wake(progress());
    if !core::mem::replace(&mut mid().handling, true) {
        spawn("error handling", || {
            handle();
            mid().handling = false;
            wake(progress());
        });
    }
}

fn failed() -> Vec<*mut v::scsi_cmnd> {
    let fails = |slot: &&cmnd::Slot| slot.stage == Stage::Failed;

    mid()
        .slots
        .iter()
        .filter(fails)
        .map(|slot| slot.cmd)
        .collect()
}

fn handle() {
    loop {
        let all = failed();
        if all.is_empty() {
            break;
        }
        if all.len() < in_flight().len() {
            block(progress(), FOREVER);
            continue;
        }
        // SAFETY: All commands are error handling's.
        unsafe { unjam(all) };
        // SAFETY: The host is added.
        unsafe {
            (*shost()).host_failed = 0;
            let state = &mut (*shost()).shost_state;
            *state = match *state {
                v::scsi_host_state_SHOST_RECOVERY => v::scsi_host_state_SHOST_RUNNING,
                v::scsi_host_state_SHOST_CANCEL_RECOVERY => v::scsi_host_state_SHOST_CANCEL,
                same => same,
            };
        }
        show();
        mid().goes_on = true;
    }
}

/// Moves what `is_one` says from `from` to `to`: it is taken back.
fn take(
    from: &mut Vec<*mut v::scsi_cmnd>,
    to: &mut Vec<*mut v::scsi_cmnd>,
    is_one: impl Fn(*mut v::scsi_cmnd) -> bool,
) {
    from.retain(|cmd| {
        if is_one(*cmd) {
            assert_taken_back(*cmd);
            to.push(*cmd);
        }
        !is_one(*cmd)
    });
}

unsafe fn unjam(mut work: Vec<*mut v::scsi_cmnd>) {
    let mut done = Vec::new();

    // Who was not told why it failed, asks.
    for cmd in work.clone() {
        let is_told = *(*cmd).sense_buffer & 0x70 == 0x70;
        if !slot(cmd).aborted && !is_told && (*cmd).result & 0xff == 2 && ask_sense(cmd) {
            (*cmd).retries = (*cmd).allowed;
            take(&mut work, &mut done, |other| other == cmd);
        }
    }
    // What is not ready is started.
    for cmd in work.clone() {
        let sdev = (*cmd).device;
        if work.contains(&cmd)
            && *(*cmd).sense_buffer.add(2) & 15 == 2
            && send(cmd, &[START_STOP, 0, 0, 0, 1, 0])
            && is_ready(cmd)
        {
            take(&mut work, &mut done, |other| (*other).device == sdev);
        }
    }
    let same_unit =
        |cmd: *mut v::scsi_cmnd, other: *mut v::scsi_cmnd| (*cmd).device == (*other).device;
    let same_target = |cmd: *mut v::scsi_cmnd, other: *mut v::scsi_cmnd| {
        (*(*cmd).device).id == (*(*other).device).id
    };
    type Same<'a> = &'a dyn Fn(*mut v::scsi_cmnd, *mut v::scsi_cmnd) -> bool;
    let steps: [(Handler, Same<'_>); 3] = [
        (template().eh_device_reset_handler, &same_unit),
        (template().eh_target_reset_handler, &same_target),
        (template().eh_host_reset_handler, &|_, _| true),
    ];
    for (handler, same) in steps {
        for cmd in work.clone() {
            if !work.contains(&cmd) || handler.unwrap()(cmd) != SUCCESS {
                continue;
            }
            work.iter()
                .filter(|other| same(cmd, **other))
                .for_each(|other| assert_taken_back(*other));
            let is_ready = !unit::takes((*cmd).device) || is_ready(cmd);
            if is_ready {
                take(&mut work, &mut done, |other| same(cmd, other));
            }
        }
    }
    // The units of the rest are given up.
    for cmd in work.clone() {
        let state = &mut (*(*cmd).device).sdev_state;

        if *state == v::scsi_device_state_SDEV_RUNNING {
            *state = v::scsi_device_state_SDEV_OFFLINE;
        }
    }
    take(&mut work, &mut done, |_| true);
    for cmd in done {
        again_or_finish(cmd);
    }
}

unsafe fn is_ready(cmd: *mut v::scsi_cmnd) -> bool {
    const ASK: [u8; 6] = [TEST_UNIT_READY, 0, 0, 0, 0, 0];

    // The first time it may tell of the reset.
    send(cmd, &ASK) || mid().tells && send(cmd, &ASK)
}

/// Asks for sense data, which goes to the command's buffer.
unsafe fn ask_sense(cmd: *mut v::scsi_cmnd) -> bool {
    send(cmd, &[REQUEST_SENSE, 0, 0, 0, 96, 0])
}

/// `scsi_send_eh_cmnd()`: sends another command by one that failed.
unsafe fn send(cmd: *mut v::scsi_cmnd, cdb: &[u8]) -> bool {
    let saved = core::ptr::read(cmd);
    let list = new::<b::scatterlist>();
    let done = new::<b::completion>();
    let mut left = EH_TIMEOUT;

    (*cmd).cmnd = [0; 32];
    (&mut (*cmd).cmnd)[..cdb.len()].copy_from_slice(cdb);
    (*cmd).cmd_len = cdb.len() as u16;
    // The list of protection information stays.
    (*cmd).prot_op = v::scsi_prot_operations_SCSI_PROT_NORMAL as u8;
    (*cmd).sdb = core::mem::zeroed();
    (*cmd).sc_data_direction = NO_DATA;
    if cdb[0] == REQUEST_SENSE {
        let at = (*cmd).sense_buffer as usize;
        (*list).page_link = (page_of(at) | 2) as _;
        (*list).offset = at as u32 & 4095;
        (*list).length = 96;
        (*cmd).sdb.table.sgl = list;
        (*cmd).sdb.table.nents = 1;
        (*cmd).sdb.length = 96;
        (*cmd).sc_data_direction = b::dma_data_direction::DMA_FROM_DEVICE;
    }
    (*cmd).result = 0;
    (*cmd).resid_len = 0;
    (*cmd).submitter = v::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_ERROR_HANDLER;
    (*cmd).flags |= v::SCMD_LAST as i32;
    (*shost()).eh_action = done;
    let is_ok = loop {
        slot(cmd).lent += 1;
        mid().sends = Some(cmd);
        let ret = template().queuecommand.unwrap()(shost(), cmd);
        mid().sends = None;
        if ret == 0 {
            assert!(slot(cmd).lent <= 1, "the driver has a command twice");
            let left = crate::sync::wait_for_completion_timeout(done, EH_TIMEOUT / JIFFY);
            (*shost()).eh_action = null_mut();
            if left > 0 {
                assert!(
                    slot(cmd).lent == 0 || cdb[0] == START_STOP,
                    "error handling takes a command for done that is not"
                );
                break (*cmd).result == 0 && slot(cmd).lent == 0;
            }
            end_by_force(cmd);
            break false;
        }
        slot(cmd).lent -= 1;
        if left <= STALL {
            break false;
        }
        left -= STALL;
        sleep(STALL);
    };
    (*shost()).eh_action = null_mut();
    // What the driver keeps behind the command is not the mid-layer's.
    let result = saved.result;
    (*cmd).cmnd = saved.cmnd;
    (*cmd).cmd_len = saved.cmd_len;
    (*cmd).prot_op = saved.prot_op;
    (*cmd).sdb = core::ptr::read(&saved.sdb);
    (*cmd).sc_data_direction = saved.sc_data_direction;
    (*cmd).result = result;
    (*cmd).resid_len = saved.resid_len;
    core::mem::forget(saved);
    kfree(list.cast());
    kfree(done.cast());
    is_ok
}

/// `scsi_abort_eh_cmnd()`.
unsafe fn end_by_force(cmd: *mut v::scsi_cmnd) {
    let template = template();

    for handler in [
        template.eh_abort_handler,
        template.eh_device_reset_handler,
        template.eh_target_reset_handler,
    ] {
        if handler.unwrap()(cmd) == SUCCESS {
            return assert_taken_back(cmd);
        }
    }
    template.eh_host_reset_handler.unwrap()(cmd);
    assert_taken_back(cmd);
}

/// Somebody resets a unit, its target, or the host.
pub fn ioctl() {
    let Some(sdev) = unit::some().filter(|sdev| unit::get(*sdev)) else {
        return;
    };
    let which = world::byte() % 3;

    spawn("who resets by an ioctl", move || {
        // SAFETY: The reference keeps the unit and its host; a command of nobody.
        unsafe {
            let size = size_of::<b::request>() + size_of::<v::scsi_cmnd>();
            let rq = zeroed(size + template().cmd_size as usize).cast::<b::request>();
            let cmd = rq.add(1).cast::<v::scsi_cmnd>();
            let template = template();

            (*cmd).device = sdev;
            (*cmd).submitter = v::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_RESET_IOCTL;
            assert!(request(cmd) == rq);
            let handler = [
                template.eh_device_reset_handler,
                template.eh_target_reset_handler,
                template.eh_host_reset_handler,
            ][usize::from(which)];
            handler.unwrap()(cmd);
            kfree(rq.cast::<c_void>());
            unit::scsi_device_put(sdev);
        }
    });
}
