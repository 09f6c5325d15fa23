// SPDX-License-Identifier: GPL-2.0

//! This module provides owned wrappers for the C `struct scsi_cmnd`.
//!
//! C header: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h)

mod data;
mod late;
mod list;

pub(super) use late::{
    is_kept,
    is_of_error_handling,
    settle, //
};
pub use late::{
    Late,
    Siblings, //
};
pub use list::CommandList;

use super::{
    device::Device,
    operations::{
        Operations,
        Refused, //
    },
    HostByte,
    SenseKey, //
};
use crate::{
    bindings,
    compat::{
        FROM_DEVICE,
        TO_DEVICE, //
    },
    scatterlist::SgTable, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed,
            Release, //
        },
        rcu, //
    },
};

/// Bit of `scsi_cmnd::state`: the command was finished, or its time is over.
const STATE_COMPLETE: usize = 1 << bindings::SCMD_STATE_COMPLETE;

/// Flag of a request whose failure of the transport is to be told soon.
const FAIL_FAST: u32 = 1 << bindings::req_flag_bits___REQ_FAILFAST_TRANSPORT;

/// The size in bytes of a command's field for its command descriptor block.
pub const CDB_FIELD_SIZE: usize = 32;

/// The data of a command of the driver, allocated with the command.
///
/// # Safety
///
/// The type must be sound at any place in the kernel's linear mapping.
pub unsafe trait CommandData: Sized + Send + Sync {
    /// Makes the data in place; each command once. May sleep.
    ///
    /// # Safety
    ///
    /// The place must be in the linear mapping, as behind a command: neither a stack nor a `VBox`.
    unsafe fn init() -> impl PinInit<Self, Error>;
}

// SAFETY: No data goes to a device.
unsafe impl CommandData for () {
    unsafe fn init() -> impl PinInit<Self, Error> {
        Ok(())
    }
}

/// What error handling may look at while the driver has the command, and with it a mutable
/// reference to its data: never by a reference to all of [`Private`].
struct Shared {
    /// The driver has the command. Error handling takes nothing back before this is clear.
    lent: Atomic<bool>,
    /// How often the command's time was over since it was queued.
    timeouts: Atomic<u32>,
    /// How often the device said since the first of them that it has no such command.
    missing: Atomic<u32>,
    /// Its time was over when the driver had given it back, and nobody had finished it.
    orphan: Atomic<bool>,
    /// The device was reset since the command was queued.
    saw_reset: Atomic<bool>,
}

/// What lies behind each command: the library's bookkeeping, then the driver's data.
#[pin_data]
pub(super) struct Private<D: CommandData> {
    shared: Shared,
    next: *mut bindings::scsi_cmnd,
    #[pin]
    data: D,
}

impl<D: CommandData> Private<D> {
    /// # Safety
    ///
    /// See [`CommandData::init`].
    pub(super) unsafe fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            shared: Shared {
                lent: Atomic::new(false),
                timeouts: Atomic::new(0),
                missing: Atomic::new(0),
                orphan: Atomic::new(false),
                saw_reset: Atomic::new(false),
            },
            next: core::ptr::null_mut(),
            // SAFETY: By this function's safety requirements.
            data <- unsafe { D::init() },
        }? Error)
    }
}

/// Where a command's private data lies: right behind it (`scsi_cmd_priv()`).
#[inline]
pub(super) fn private<T: Operations>(
    cmd: *mut bindings::scsi_cmnd,
) -> *mut Private<T::CommandData> {
    cmd.wrapping_add(1).cast()
}

/// What everybody may look at.
///
/// # Safety
///
/// `cmd` must be a valid command of a host of `T` for the chosen lifetime, its private data
/// initialized or all zero.
#[inline]
unsafe fn shared<'a, T: Operations>(cmd: *mut bindings::scsi_cmnd) -> &'a Shared {
    // SAFETY: By this function's safety requirements. Only atomics are in there, and only they are
    // borrowed.
    unsafe { &(*private::<T>(cmd)).shared }
}

/// The request of a command, which lies right before it (`scsi_cmd_to_rq()`).
#[inline]
fn request(cmd: *mut bindings::scsi_cmnd) -> *mut bindings::request {
    cmd.cast::<bindings::request>().wrapping_sub(1)
}

/// Which way a command's data moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// There is none.
    None,
    /// From memory to the device.
    ToDevice,
    /// From the device to memory.
    FromDevice,
}

/// A command that the driver works on. One that is dropped ends with an error.
///
/// # Invariants
///
/// A valid command of a host of `T` that was lent to the driver (`Shared::lent` is set), and that
/// nobody else will finish.
#[repr(transparent)]
pub struct Command<T: Operations>(NonNull<bindings::scsi_cmnd>, PhantomData<T>);

// SAFETY: A command may be finished in any context; its data is `Send`.
unsafe impl<T: Operations> Send for Command<T> {}

impl<T: Operations> Command<T> {
    /// Takes a command from the mid-layer; `None` if the driver has it already. Error handling uses
    /// one again that was late.
    ///
    /// # Safety
    ///
    /// `cmd` must be a valid command of a host of `T`, its private data initialized, that the
    /// mid-layer leaves to the driver.
    #[inline]
    pub(super) unsafe fn lend(cmd: *mut bindings::scsi_cmnd, is_again: bool) -> Option<Self> {
        // SAFETY: By this function's safety requirements.
        let shared = unsafe { shared::<T>(cmd) };

        if shared.lent.load(Relaxed) {
            return None;
        }
        shared.lent.store(true, Relaxed);
        if !is_again {
            shared.timeouts.store(0, Relaxed);
        }
        shared.orphan.store(false, Relaxed);
        shared.saw_reset.store(false, Relaxed);
        // SAFETY: As above.
        Some(Self(unsafe { NonNull::new_unchecked(cmd) }, PhantomData))
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::scsi_cmnd {
        self.0.as_ptr()
    }

    #[inline]
    fn raw(&self) -> &bindings::scsi_cmnd {
        // SAFETY: The command is valid by the type invariant.
        unsafe { &*self.as_raw() }
    }

    /// Takes a command back that [`Self::release`] gave up.
    ///
    /// # Safety
    ///
    /// See the type's invariants.
    #[inline]
    pub(crate) unsafe fn from_raw(cmd: NonNull<bindings::scsi_cmnd>) -> Self {
        Self(cmd, PhantomData)
    }

    /// Room for sense data, of `SENSE_BUFFER_SIZE` bytes.
    #[inline]
    pub(crate) fn sense_buffer(&mut self) -> *mut u8 {
        self.raw().sense_buffer
    }

    /// Ends the driver's ownership.
    #[inline]
    pub(crate) fn release(self) -> *mut bindings::scsi_cmnd {
        ManuallyDrop::new(self).as_raw()
    }

    /// The device that the command is for.
    #[inline]
    pub fn device(&self) -> &Device {
        // SAFETY: The device lives as long as it has commands.
        unsafe { Device::from_raw(self.raw().device) }
    }

    /// Forgets how often its time was over, when it goes to the device anew.
    #[inline]
    pub fn forget_timeouts(&self) {
        // SAFETY: The command is valid, and its data initialized.
        unsafe { shared::<T>(self.as_raw()) }
            .timeouts
            .store(0, Relaxed);
    }

    /// Notes that the device is reset, and started again, while the driver has the command.
    #[inline]
    pub fn note_reset(&self) {
        // SAFETY: The command is valid, and its data initialized.
        unsafe { shared::<T>(self.as_raw()) }
            .saw_reset
            .store(true, Relaxed);
    }

    /// Whether the command, with its result and sense data set, was not done only since the target
    /// wanted to tell of the reset that was [noted](Self::note_reset): it may be sent again. The
    /// mid-layer expects to be told ([`HostRef::report_reset`](super::HostRef::report_reset)), and
    /// is. Always `false` for what the block layer made, which the mid-layer sends again itself.
    ///
    /// C counterpart: `scsi_check_sense()`, whose advice the mid-layer does not take for others.
    #[cold]
    pub fn only_tells_of_reset(&mut self) -> bool {
        const UNIT_ATTENTION: u8 = 6;
        const RESET: u8 = 0x29;
        const CHECK_CONDITION: i32 = 2;
        const NEEDS_RETRY: bindings::scsi_disposition = bindings::scsi_disposition_NEEDS_RETRY;
        const ADD_TO_MLQUEUE: bindings::scsi_disposition =
            bindings::scsi_disposition_ADD_TO_MLQUEUE;
        let cmd = self.as_raw();

        // SAFETY: The command is valid, its device is there, and its sense buffer has
        // `SENSE_BUFFER_SIZE` bytes; the result is that of the driver, which has the command.
        unsafe {
            let sense = |at: usize| *(*cmd).sense_buffer.add(at);
            let what = match sense(0) & 0x7f {
                0x70 => (sense(2) & 0xf, sense(12)),
                0x72 => (sense(1) & 0xf, sense(2)),
                _ => return false,
            };

            what == (UNIT_ATTENTION, RESET)
                && (*cmd).result == CHECK_CONDITION
                && shared::<T>(cmd).saw_reset.load(Relaxed)
                && self.is_passthrough()
                && !self.is_late()
                && (*(*cmd).device).expecting_cc_ua() != 0
                && matches!(
                    bindings::scsi_check_sense(cmd),
                    NEEDS_RETRY | ADD_TO_MLQUEUE
                )
        }
    }

    /// Whether somebody else than the block layer made the command: a program, or a driver of the
    /// kernel. C counterpart: `blk_rq_is_passthrough()`.
    #[inline]
    pub fn is_passthrough(&self) -> bool {
        // SAFETY: The command is valid, and was queued.
        unsafe { is_passthrough(self.as_raw()) }
    }

    /// Whether error handling decides what becomes of the command: its time was over, and it was
    /// not waited for any longer.
    #[inline]
    pub fn is_late(&self) -> bool {
        // SAFETY: The command is valid; the state is changed by others, hence volatile.
        unsafe { (&raw const (*self.as_raw()).state).read_volatile() & STATE_COMPLETE != 0 }
    }

    /// Whether who sent the command has another path for it, and wants to know soon that this one
    /// does not work: device-mapper's multipath, not a file system on the disk.
    #[inline]
    pub fn has_other_path(&self) -> bool {
        // The block layer says so of all that is read ahead.
        const READ_AHEAD: u32 = 1 << bindings::req_flag_bits___REQ_RAHEAD;
        // SAFETY: The command is valid, and was queued, so it has a request.
        let flags = unsafe { (*request(self.as_raw())).cmd_flags };

        flags & (FAIL_FAST | READ_AHEAD) == FAIL_FAST
    }

    /// Whether error handling sent the command, by one that failed, and waits for it.
    #[inline]
    pub fn is_of_error_handling(&self) -> bool {
        // SAFETY: The command is valid, and was queued.
        unsafe { is_of_error_handling(self.as_raw()) }
    }

    /// The command descriptor block.
    #[inline]
    pub fn cdb(&self) -> &[u8] {
        cdb(self.raw())
    }

    /// The field that the command descriptor block lies in; the mid-layer fills it up with zeroes.
    #[inline]
    pub fn cdb_field(&self) -> &[u8; CDB_FIELD_SIZE] {
        &self.raw().cmnd
    }

    /// Which way the data moves; `None` also for both ways at once, which the mid-layer gave up.
    #[inline]
    pub fn direction(&self) -> Direction {
        match self.raw().sc_data_direction {
            TO_DEVICE => Direction::ToDevice,
            FROM_DEVICE => Direction::FromDevice,
            _ => Direction::None,
        }
    }

    /// The length of the data in bytes.
    #[inline]
    pub fn len(&self) -> u32 {
        self.raw().sdb.length
    }

    /// Whether the command has no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length in bytes of the protection information that goes with the data.
    #[inline]
    pub fn protection_len(&self) -> u32 {
        let mut len = 0u32;

        self.for_each_protection(|sg| {
            len = len.saturating_add(sg.length);
            Ok(())
        })
        .map_or(0, |()| len)
    }

    /// The hardware queue that the command came by. C counterpart: `blk_mq_unique_tag_to_hwq()`.
    #[inline]
    pub fn queue(&self) -> usize {
        // SAFETY: A command that was queued has a request with a live hardware queue.
        unsafe { (*(*request(self.as_raw())).mq_hctx).queue_num as usize }
    }

    /// A number that no other command in flight has. C counterpart: `blk_mq_unique_tag()`.
    #[inline]
    pub fn tag(&self) -> u32 {
        // SAFETY: As in `queue()`.
        unsafe { unique_tag(self.as_raw()) }
    }

    /// The I/O priority. C counterpart: `req_get_ioprio()`.
    #[inline]
    pub fn ioprio(&self) -> u16 {
        // SAFETY: The request, and its first bio if it has one, are valid.
        unsafe {
            (*request(self.as_raw()))
                .bio
                .as_ref()
                .map_or(0, |bio| bio.bi_ioprio)
        }
    }

    /// The driver's data of this command.
    #[inline]
    pub fn data(&mut self) -> Pin<&mut T::CommandData> {
        // SAFETY: The data is initialized and pinned, and owned with the command.
        unsafe { Pin::new_unchecked(&mut (*private::<T>(self.as_raw())).data) }
    }

    /// The same, to be looked at.
    #[inline]
    pub(crate) fn shared_data(&self) -> &T::CommandData {
        // SAFETY: The data is initialized, and owned with the command.
        unsafe { &(*private::<T>(self.as_raw())).data }
    }

    /// Sets the result: what the host says, and the target's status byte.
    #[inline]
    pub fn set_result(&mut self, host: HostByte, status: u8) {
        // SAFETY: The command is valid, and this field the driver's.
        unsafe { (*self.as_raw()).result = host.with_status(status) };
    }

    /// Sets how much of the data was not moved, in bytes: all of it at most.
    #[inline]
    pub fn set_residual(&mut self, bytes: u32) {
        let bytes = bytes.min(self.len());

        // SAFETY: The command is valid, and this field the driver's.
        unsafe { (*self.as_raw()).resid_len = bytes };
    }

    /// Sets the result to an error that the target has sense data for: a key, and the additional
    /// sense code with its qualifier. C counterpart: `scsi_build_sense()`.
    #[inline]
    pub fn set_sense(&mut self, key: SenseKey, code: u8, qualifier: u8) {
        // SAFETY: The command is valid, its result and its sense buffer are the driver's.
        unsafe { bindings::scsi_build_sense(self.as_raw(), 0, key as u8, code, qualifier) };
    }

    /// Copies `from` to the data, as far as both reach, for hosts that move the data themselves.
    /// Returns how many bytes that were: none if the data goes the other way. Any context.
    ///
    /// C counterpart: `scsi_sg_copy_from_buffer()`.
    pub fn copy_from(&mut self, from: &[u8]) -> usize {
        if self.direction() != Direction::FromDevice {
            return 0;
        }
        let data = &self.raw().sdb;
        let len = from.len().min(data.length as usize);

        // SAFETY: The list has `nents` entries and belongs to the driver; `from` is only read.
        unsafe {
            bindings::sg_copy_from_buffer(
                data.table.sgl,
                data.table.nents,
                from.as_ptr().cast(),
                len,
            )
        }
    }

    /// Copies the data to `to`, as far as both reach; who sent the command may change its data
    /// meanwhile. Returns as [`Self::copy_from`].
    ///
    /// C counterpart: `scsi_sg_copy_to_buffer()`.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        if self.direction() != Direction::ToDevice {
            return 0;
        }
        let data = &self.raw().sdb;
        let len = to.len().min(data.length as usize);

        // SAFETY: The list has `nents` entries and belongs to the driver; `to` is valid for `len`
        // bytes.
        unsafe {
            bindings::sg_copy_to_buffer(
                data.table.sgl,
                data.table.nents,
                to.as_mut_ptr().cast(),
                len,
            )
        }
    }

    /// Finishes the command with the result that was set. Any context.
    ///
    /// C counterpart: `scsi_done()`. Does nothing but to give the command back if its time was
    /// over before: then error handling decides what becomes of it.
    pub fn done(self) {
        let _rcu = rcu::read_lock();

        // SAFETY: The command is ours; we are in an RCU read section.
        unsafe { finish::<T>(self.release()) };
    }

    /// Gives the command back unserved from [`Operations::queue_command`]; it comes again soon.
    #[inline]
    pub fn refuse(self) -> Refused<T> {
        Refused {
            cmd: self,
            only_waits: false,
        }
    }

    /// As [`Self::refuse`], while the device is not there, say: until the command comes again, no
    /// time goes on for all of its tries together, after which the mid-layer would fail it
    /// (`scsi_cmd_runtime_exceeced()`).
    #[inline]
    pub fn refuse_until_back(self) -> Refused<T> {
        Refused {
            cmd: self,
            only_waits: true,
        }
    }

    /// Gives the command back to the mid-layer, which will not hear of it again.
    #[inline]
    pub(super) fn give_back(self) {
        let cmd = self.release();

        // SAFETY: The command is ours, and its data initialized.
        unsafe { shared::<T>(cmd) }.lent.store(false, Release);
    }

    /// Whether the command moves protection information: by its operation, not by whether there is
    /// some. Error handling leaves that of a command that failed where it is when it sends one of
    /// its own by it (`scsi_eh_prep_cmnd()`): a device would write sense data's protection into
    /// that of a write.
    #[inline]
    fn is_protected(&self) -> bool {
        const NORMAL: u8 = bindings::scsi_prot_operations_SCSI_PROT_NORMAL as u8;

        self.raw().prot_op != NORMAL
    }

    /// Calls `f` for each entry of the list of protection information.
    fn for_each_protection(&self, mut f: impl FnMut(&bindings::scatterlist) -> Result) -> Result {
        if !self.is_protected() {
            return Ok(());
        }
        // SAFETY: The buffer is null or valid, with `nents` entries in a chained list.
        unsafe {
            let Some(buffer) = self.raw().prot_sdb.as_ref() else {
                return Ok(());
            };
            let mut sg = buffer.table.sgl;
            for _ in 0..buffer.table.nents {
                let Some(entry) = sg.as_ref() else { break };
                f(entry)?;
                sg = bindings::sg_next(sg);
            }
        }
        Ok(())
    }

    /// Lists the protection information, then the data.
    #[inline]
    pub(crate) fn map_data(&self, table: &mut SgTable) -> Result {
        let data = &self.raw().sdb.table;

        self.for_each_protection(|sg| table.push_entry(sg))?;
        if data.nents == 0 {
            return Ok(());
        }
        // SAFETY: The mid-layer's list is valid until the command is finished, and ended.
        unsafe { table.push_list(data.sgl) }
    }
}

/// # Safety
///
/// `cmd` must be valid and have been queued.
#[inline]
unsafe fn unique_tag(cmd: *mut bindings::scsi_cmnd) -> u32 {
    // SAFETY: By this function's safety requirements.
    unsafe {
        let rq = &*request(cmd);
        ((*rq.mq_hctx).queue_num << bindings::BLK_MQ_UNIQUE_TAG_BITS) | (rq.tag as u32 & 0xffff)
    }
}

/// See [`Command::cdb`].
#[inline]
fn cdb(cmd: &bindings::scsi_cmnd) -> &[u8] {
    &cmd.cmnd[..usize::from(cmd.cmd_len).min(cmd.cmnd.len())]
}

/// The operation of the command's request. C counterpart: `req_op()`, inline there.
///
/// # Safety
///
/// `cmd` must be valid and have been queued.
#[inline]
unsafe fn request_op(cmd: *mut bindings::scsi_cmnd) -> u32 {
    const OP: u32 = (1 << bindings::REQ_OP_BITS) - 1;

    // SAFETY: By this function's safety requirements it has a request.
    unsafe { (*request(cmd)).cmd_flags & OP }
}

/// See [`Command::is_passthrough`].
///
/// # Safety
///
/// `cmd` must be valid and have been queued.
#[inline]
unsafe fn is_passthrough(cmd: *mut bindings::scsi_cmnd) -> bool {
    // SAFETY: By this function's safety requirements.
    let op = unsafe { request_op(cmd) };
    op == bindings::req_op_REQ_OP_DRV_IN || op == bindings::req_op_REQ_OP_DRV_OUT
}

/// Whether the command reads or writes for the block layer.
///
/// # Safety
///
/// `cmd` must be valid and have been queued.
#[inline]
unsafe fn is_of_block_layer(cmd: *mut bindings::scsi_cmnd) -> bool {
    // SAFETY: By this function's safety requirements.
    let op = unsafe { request_op(cmd) };
    op == bindings::req_op_REQ_OP_READ || op == bindings::req_op_REQ_OP_WRITE
}

/// Gives a command back, finished.
///
/// # Safety
///
/// `cmd` must be ours, as in [`Command`], and the caller be in an RCU read section: error handling
/// that saw that `lent` is clear waits for a grace period, so that it takes no command which
/// `scsi_done()` is still to be called for.
#[inline]
unsafe fn finish<T: Operations>(cmd: *mut bindings::scsi_cmnd) {
    // SAFETY: By this function's safety requirements.
    unsafe {
        shared::<T>(cmd).lent.store(false, Release);
        bindings::scsi_done(cmd);
    }
}

impl<T: Operations> Drop for Command<T> {
    fn drop(&mut self) {
        self.set_result(HostByte::ERROR, 0);
        let _rcu = rcu::read_lock();
        // SAFETY: The command is ours, and its ownership goes away.
        unsafe { finish::<T>(self.as_raw()) };
    }
}
