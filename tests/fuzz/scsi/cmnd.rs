// SPDX-License-Identifier: GPL-2.0

//! Commands, as the mid-layer lends them to the driver, takes them back, and ends them.

use super::{
    host,
    ladder,
    target,
    unit, //
    *,
};
use crate::{
    mem::{
        kfree,
        zeroed, //
    },
    virtio::{
        device,
        exists,
        race, //
    },
    world::{
        self,
        chance,
        w,
        wake,
        JIFFY, //
    },
};
use kernel::bindings as b;
use std::ffi::c_void;

/// The timeout of a command.
pub(super) const TIMEOUT: u64 = 30_000_000_000;

const COMPLETE: u64 = 1 << v::SCMD_STATE_COMPLETE;
const SENSE: usize = v::SCSI_SENSE_BUFFERSIZE as usize;

/// Where a command is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Stage {
    Free,
    /// It is to be given to the driver, perhaps again.
    Waiting,
    /// The driver has it.
    Sent,
    /// Its time is over; it is about to be aborted.
    Late,
    /// Error handling has it.
    Failed,
}

/// A command of the host, and its use.
pub(super) struct Slot {
    pub(super) cmd: *mut v::scsi_cmnd,
    pub(super) stage: Stage,
    /// The number of the I/O.
    pub(super) io: usize,
    /// How often the driver got it and did not give it back: once at most.
    pub(super) lent: i32,
    /// How often it was sent.
    pub(super) sends: u64,
    /// It was aborted once.
    pub(super) aborted: bool,
}

/// A command to the device.
pub(super) struct Step {
    pub(super) asked: u8,
    /// Where the device writes how it went.
    pub(super) head: usize,
    /// Of error handling.
    pub(super) eh: bool,
    pub(super) done: bool,
    pub(super) used: bool,
    /// The answer was a success when it came back, or was made one since.
    pub(super) ok: bool,
}

/// What somebody wants done.
pub(super) struct Io {
    /// Whose commands are done by the mid-layer wait for the result.
    pub(super) waits: bool,
    pub(super) op: u8,
    pub(super) data: usize,
    pub(super) result: Option<i32>,
    /// The device wrote to its answer what it had no right to.
    pub(super) lied: bool,
    pub(super) steps: Vec<Step>,
    /// Memory that goes with it.
    pub(super) owned: Vec<usize>,
}

impl Io {
    pub(super) fn has_ended(&self) -> bool {
        self.result.is_some()
    }
}

/// Shows what is in use.
pub fn dump() {
    for slot in mid().slots.iter().filter(|slot| slot.stage != Stage::Free) {
        let (stage, io, lent) = (slot.stage, slot.io, slot.lent);

        eprintln!("I/O {io}: {stage:?}, lent {lent}");
    }
    let shost = shost();
    if !shost.is_null() {
        // SAFETY: The host is there.
        eprintln!("the host is in state {}", unsafe { (*shost).shost_state });
    }
}

/// Whether all commands have ended.
pub fn all_ended() -> bool {
    mid().ios.iter().all(Io::has_ended) && mid().scans == 0 && !mid().handling
}

/// How many commands there were.
pub fn count() -> usize {
    mid().ios.len()
}

/// The request of a command, which lies before it.
pub(super) fn request(cmd: *mut v::scsi_cmnd) -> *mut b::request {
    cmd.cast::<b::request>().wrapping_sub(1)
}

/// Makes a command of a queue.
pub(super) unsafe fn make(hctx: *mut b::blk_mq_hw_ctx, tag: i32) {
    let size = size_of::<b::request>() + size_of::<v::scsi_cmnd>();
    let rq = zeroed(size + template().cmd_size as usize).cast::<b::request>();
    let cmd = rq.add(1).cast::<v::scsi_cmnd>();

    (*rq).mq_hctx = hctx;
    (*rq).tag = tag;
    (*rq).timeout = (TIMEOUT / JIFFY) as u32;
    (*cmd).sense_buffer = zeroed(SENSE).cast();
    assert!(template().init_cmd_priv.unwrap()(shost(), cmd) == 0);
    mid().slots.push(Slot {
        cmd,
        stage: Stage::Free,
        io: 0,
        lent: 0,
        sends: 0,
        aborted: false,
    });
}

/// Frees all commands, which nobody uses.
pub(super) unsafe fn free_all() {
    for slot in core::mem::take(&mut mid().slots) {
        assert!(
            slot.stage == Stage::Free && slot.lent == 0,
            "a host goes with commands in flight"
        );
        template().exit_cmd_priv.unwrap()(shost(), slot.cmd);
        kfree((*slot.cmd).sense_buffer.cast());
        kfree(request(slot.cmd).cast());
    }
}

pub(super) fn slot(cmd: *mut v::scsi_cmnd) -> &'static mut Slot {
    mid()
        .slots
        .iter_mut()
        .find(|slot| slot.cmd == cmd)
        .expect("a command that there is")
}

/// Those that the block layer has started.
pub(super) fn in_flight() -> Vec<*mut v::scsi_cmnd> {
    let flies = |slot: &&Slot| !matches!(slot.stage, Stage::Free | Stage::Waiting);

    mid()
        .slots
        .iter()
        .filter(flies)
        .map(|slot| slot.cmd)
        .collect()
}

fn is_of(slot: &Slot, sdev: *mut v::scsi_device) -> bool {
    // SAFETY: Commands live as long as the host is added.
    slot.stage != Stage::Free && unsafe { (*slot.cmd).device } == sdev
}

/// Whether a unit has commands.
pub(super) fn has_any(sdev: *mut v::scsi_device) -> bool {
    mid().slots.iter().any(|slot| is_of(slot, sdev))
}

/// Ends what waits to be sent to a unit that goes.
pub(super) fn fail_waiting(sdev: *mut v::scsi_device) {
    let waits = |slot: &&Slot| is_of(slot, sdev) && slot.stage == Stage::Waiting;
    let all: Vec<_> = mid()
        .slots
        .iter()
        .filter(waits)
        .map(|slot| slot.cmd)
        .collect();

    for cmd in all {
        // SAFETY: It is ours.
        unsafe { (*cmd).result = DID_NO_CONNECT };
        finish(cmd);
    }
}

/// Gives a command to the driver, or ends it if its unit takes none.
pub(super) fn dispatch(cmd: *mut v::scsi_cmnd, is_last: bool) {
    let this = slot(cmd);

    assert!(this.stage == Stage::Waiting);
    // SAFETY: The command is ours, its unit there.
    unsafe {
        if !unit::takes((*cmd).device) {
            (*cmd).result = DID_NO_CONNECT;
            return finish(cmd);
        }
        if host::is_recovering() {
            if !mid().handling {
                try_later();
            }
            return;
        }
        (*cmd).submitter = v::scsi_cmnd_submitter_SUBMITTED_BY_BLOCK_LAYER;
        (*cmd).flags = if is_last { v::SCMD_LAST as i32 } else { 0 };
        (*cmd).state = 0;
        (*cmd).result = 0;
        (*cmd).resid_len = 0;
        (*cmd).eh_eflags = 0;
        core::ptr::write_bytes((*cmd).sense_buffer, 0, SENSE);
        this.stage = Stage::Sent;
        this.sends += 1;
        this.lent += 1;
        assert!(this.lent == 1, "a command is sent that the driver has");
        start_timer(cmd);
        w().rcu += 1;
        let ret = template().queuecommand.unwrap()(shost(), cmd);
        w().rcu -= 1;
        if ret != 0 {
            let this = slot(cmd);
            assert!(this.stage == Stage::Sent && this.lent == 1);
            this.lent = 0;
            this.stage = Stage::Waiting;
            world::forget(cmd as usize, ladder::timed_out);
            try_later();
            // Error handling may wait for this.
            wake(progress());
        } else {
            mid().tries = 0;
        }
    }
}

/// The command's time begins.
pub(super) unsafe fn start_timer(cmd: *mut v::scsi_cmnd) {
    (*request(cmd)).deadline = (world::jiffies + TIMEOUT / JIFFY) as usize;
    world::at(w().now + TIMEOUT, cmd as usize, ladder::timed_out);
}

/// The tag by which the device knows a command.
pub(super) fn tag(cmd: *mut v::scsi_cmnd) -> u64 {
    // SAFETY: Commands live as long as the host is added.
    unsafe {
        let rq = &*request(cmd);

        u64::from((*rq.mq_hctx).queue_num << 16 | rq.tag as u32)
    }
}

/// Has what waits tried again after a while, which becomes longer as long as nothing is taken.
fn try_later() {
    if !world::waits(1, go_on) {
        let longer = (mid().tries / 8).min(6);

        mid().tries += 1;
        world::at(w().now + (world::LONG_NAP << longer), 1, go_on);
    }
}

fn go_on(_: usize) {
    mid().goes_on = true;
}

/// Whether there is nothing to be tried again, or completed.
pub fn rests() -> bool {
    !mid().goes_on && mid().softirq.is_empty()
}

/// Tries again what waits.
pub fn rerun() {
    if !core::mem::take(&mut mid().goes_on) {
        return;
    }
    let waits = |slot: &&Slot| slot.stage == Stage::Waiting;
    let all: Vec<_> = mid()
        .slots
        .iter()
        .filter(waits)
        .map(|slot| slot.cmd)
        .collect();

    for cmd in all {
        if slot(cmd).stage == Stage::Waiting {
            dispatch(cmd, true);
        }
    }
}

/// The command is to be sent again.
pub(super) fn retry(cmd: *mut v::scsi_cmnd) {
    assert_taken_back(cmd);
    slot(cmd).stage = Stage::Waiting;
    go_on(0);
    wake(progress());
}

/// Neither the driver nor the device has the command.
pub(super) fn assert_taken_back(cmd: *mut v::scsi_cmnd) {
    assert!(slot(cmd).lent == 0, "the driver has what is taken back");
    if exists() {
        for ring in &device().rings {
            // SAFETY: The rings live.
            assert!(
                unsafe { !(**ring).has(cmd as usize) },
                "the device has what is taken back"
            );
        }
    }
}

#[no_mangle]
unsafe extern "C" fn scsi_done(cmd: *mut v::scsi_cmnd) {
    let this = slot(cmd);

    // Error handling's own, which the driver did not take, ends where it comes from.
    assert!(
        w().atomic == 0 && (w().rcu > 0 || mid().sends == Some(cmd)),
        "scsi_done() in the wrong context"
    );
    this.lent -= 1;
    assert!(
        this.lent >= 0,
        "a command comes back that the driver does not have"
    );
    if (*cmd).submitter == v::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_ERROR_HANDLER {
        if let Some(action) = (*shost()).eh_action.as_mut() {
            crate::sync::complete(action);
        }
        return;
    }
    if (*cmd).state as u64 & COMPLETE != 0 {
        return;
    }
    assert!(this.stage == Stage::Sent, "a command ends twice");
    target::look_at(cmd);
    if mid().forgets && chance(4) {
        return;
    }
    (*cmd).state |= COMPLETE as usize;
    world::forget(cmd as usize, ladder::timed_out);
    race();
    if mid().remote && chance(2) {
        mid().softirq.push(cmd);
    } else {
        complete(cmd);
    }
}

/// What the mid-layer makes of sense data: of that of a reset here.
#[no_mangle]
unsafe extern "C" fn scsi_check_sense(cmd: *mut v::scsi_cmnd) -> v::scsi_disposition {
    let sdev = &mut *(*cmd).device;

    assert!(slot(cmd).lent == 1, "not the driver's sense data");
    assert!((*cmd).result == 2);
    if sdev.expecting_cc_ua() == 0 {
        return v::scsi_disposition_SUCCESS;
    }
    sdev.set_expecting_cc_ua(0);
    v::scsi_disposition_NEEDS_RETRY
}

/// Completes what was to be completed on another CPU.
/// Returns whether there was something.
pub fn softirq() -> bool {
    let all = core::mem::take(&mut mid().softirq);

    all.iter().for_each(|cmd| complete(*cmd));
    !all.is_empty()
}

/// What becomes of a command that came back.
enum Fate {
    Ends,
    Again,
    /// The same, whatever the number of tries.
    AtOnce,
    Fails,
}

fn fate(cmd: &v::scsi_cmnd) -> Fate {
    match cmd.result & 0xff_0000 {
        0 => {}
        DID_IMM_RETRY => return Fate::AtOnce,
        DID_ERROR | DID_BUS_BUSY | DID_RESET | DID_TRANSPORT_DISRUPTED => return Fate::Again,
        _ => return Fate::Ends,
    }
    // SAFETY: The buffer has as many bytes.
    let sense = unsafe { core::slice::from_raw_parts(cmd.sense_buffer, SENSE) };
    match cmd.result & 0xff {
        // CHECK CONDITION: error handling asks why, if it is not said.
        2 if sense[0] & 0x70 != 0x70 => Fate::Fails,
        // NOT READY: in need of a START UNIT.
        2 if sense[2] & 15 == 2 => Fate::Fails,
        // UNIT ATTENTION.
        2 if sense[2] & 15 == 6 => Fate::Again,
        // BUSY, TASK SET FULL.
        8 | 0x28 => Fate::Again,
        _ => Fate::Ends,
    }
}

fn complete(cmd: *mut v::scsi_cmnd) {
    assert!(slot(cmd).stage == Stage::Sent);
    // SAFETY: The command is ours.
    let fate = unsafe {
        assert!(
            (*cmd).resid_len <= (*cmd).sdb.length,
            "a residual of more than all"
        );
        fate(&*cmd)
    };

    match fate {
        Fate::AtOnce => retry(cmd),
        Fate::Again if may_retry(cmd) => retry(cmd),
        Fate::Fails => ladder::add(cmd),
        _ => finish(cmd),
    }
}

/// Counts a try; whether there may be another.
pub(super) fn may_retry(cmd: *mut v::scsi_cmnd) -> bool {
    // SAFETY: The command is ours.
    unsafe {
        (*cmd).retries += 1;
        (*cmd).retries <= (*cmd).allowed
    }
}

/// The end of a command.
pub(super) fn finish(cmd: *mut v::scsi_cmnd) {
    assert_taken_back(cmd);
    let this = slot(cmd);
    let id = this.io;
    // SAFETY: The command is ours.
    let result = unsafe { (*cmd).result };

    this.stage = Stage::Free;
    this.io = 0;
    target::ends(id, result);
    let io = &mut mid().ios[id - 1];
    io.result = Some(result);
    for at in core::mem::take(&mut io.owned) {
        kfree(at as *mut c_void);
    }
    if io.waits {
        wake(id);
    }
    // There may be room now.
    go_on(0);
    wake(progress());
}
