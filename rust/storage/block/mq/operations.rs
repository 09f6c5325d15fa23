// SPDX-License-Identifier: GPL-2.0

//! This module provides an interface for blk-mq drivers to implement.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    batch::IoCompletionBatch,
    request::{
        IdleRequest,
        Request,
        RequestData,
        RequestList, //
    },
    tag_set::TagSet, //
};
use crate::{
    bindings,
    block::Status,
    compat::raw_try_init,
    cpu_map::CpuMap, //
};
use core::{
    ffi::c_void,
    marker::PhantomData, //
};
use kernel::{
    error::from_result,
    prelude::*,
    types::ForeignOwnable, //
};

type Borrowed<'a, T> = <T as ForeignOwnable>::Borrowed<'a>;

/// Indices of the maps of a tag set.
const DEFAULT: usize = bindings::hctx_type_HCTX_TYPE_DEFAULT as usize;
const READ: usize = bindings::hctx_type_HCTX_TYPE_READ as usize;
const POLL: usize = bindings::hctx_type_HCTX_TYPE_POLL as usize;

/// How many there are.
const MAPS: usize = bindings::hctx_type_HCTX_MAX_TYPES as usize;

/// A request that the driver could not take, on its way back to the block layer.
#[must_use]
pub struct Refused<T: Operations>(pub(super) Request<T>, pub(super) Status);

/// Implement this trait to interface blk-mq as block devices.
///
/// C counterpart: `struct blk_mq_ops`.
#[vtable]
pub trait Operations: Sized + 'static {
    /// Data of each request, allocated with it.
    type RequestData: RequestData;

    /// Data of each hardware queue.
    type HwData: ForeignOwnable + Send + Sync;

    /// Data of the tag set.
    type TagSetData: ForeignOwnable + Send + Sync;

    /// Makes the data of hardware queue `index`. May sleep.
    fn init_hctx(tag_set: Borrowed<'_, Self::TagSetData>, index: u32) -> Result<Self::HwData>;

    /// Spreads the CPUs over the hardware queues that interrupt; the others are spread evenly. May
    /// sleep.
    fn map_queues(tag_set: Borrowed<'_, Self::TagSetData>, map: QueueMap<'_>);

    /// Takes a request; unless `is_last`, more follow, or a [`Operations::commit_rqs`].
    ///
    /// Atomic context. Refused requests come back: [`Status::DEV_RESOURCE`],
    /// [`Status::RESOURCE`]; others end with an error.
    fn queue_rq(
        hw: Borrowed<'_, Self::HwData>,
        rq: IdleRequest<Self>,
        is_last: bool,
    ) -> Result<(), Refused<Self>>;

    /// Takes the requests of a plugged task, in a batch. What is left on the list goes through
    /// [`Operations::queue_rq`]. Atomic context.
    fn queue_rqs(rqs: &mut RequestList<'_, Self>) {
        let _ = rqs;
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Ends what the device has done on a queue that does not interrupt, as far as possible through
    /// `batch`, which is ended by who polls. Returns how many requests it found. Process context.
    fn poll(hw: Borrowed<'_, Self::HwData>, batch: &mut IoCompletionBatch<Self>) -> usize {
        let _ = (hw, batch);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// No more requests follow for now: kick the device. Atomic context.
    fn commit_rqs(hw: Borrowed<'_, Self::HwData>);

    /// A request of the queue is in flight for longer than the queue's timeout (30 s, unless root
    /// changed it), and goes on being so: a chance to look what is wrong. Process context.
    fn timed_out(hw: Borrowed<'_, Self::HwData>);

    /// A request was completed by [`Request::complete`] on another CPU: end it. Softirq context.
    fn complete(rq: Request<Self>);
}

/// The hardware queues of a disk.
#[derive(Clone, Copy)]
pub struct QueueCounts {
    /// Queues that interrupt, with the lower numbers; one at least.
    pub default: u32,
    /// Queues that the submitters poll.
    pub poll: u32,
}

/// The map of CPUs to the hardware queues of a type.
pub struct QueueMap<'a>(&'a mut bindings::blk_mq_queue_map);

impl QueueCounts {
    /// All queues.
    pub fn all(self) -> u32 {
        self.default.saturating_add(self.poll)
    }

    /// Refuses counts that no tag set can have. (`nr_hw_queues` goes through a `c_int` in places.)
    pub(super) fn check(self) -> Result {
        let all = self.default.checked_add(self.poll).ok_or(EINVAL)?;

        if self.default == 0 || all > c_int::MAX as u32 {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// How many maps a tag set has: that of the queues that interrupt, or all.
    pub(super) fn maps(self) -> u32 {
        if self.poll > 0 {
            MAPS as u32
        } else {
            1
        }
    }
}

impl QueueMap<'_> {
    /// Gives each CPU the queue that `map`, of as many queues, gives it.
    pub fn copy_from(self, map: &CpuMap) {
        // SAFETY: blk-mq's map has an entry for each CPU.
        unsafe { map.copy_to(self.0) };
    }
}

/// The vtable of `T`.
pub(super) struct OperationsVTable<T: Operations>(PhantomData<T>);

impl<T: Operations> OperationsVTable<T> {
    /// # Safety
    ///
    /// `hctx` must be live: between `init_hctx_callback()` and `exit_hctx_callback()`.
    #[inline]
    pub(super) unsafe fn hw_data<'a>(
        hctx: *mut bindings::blk_mq_hw_ctx,
    ) -> Borrowed<'a, T::HwData> {
        // SAFETY: `init_hctx_callback()` set `driver_data`.
        unsafe { T::HwData::borrow((*hctx).driver_data.cast()) }
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn queue_rq_callback(
        hctx: *mut bindings::blk_mq_hw_ctx,
        bd: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: blk-mq passes a live `hctx`, and an idle request, which it leaves to the driver.
        let (hw, rq, last) = unsafe {
            (
                Self::hw_data(hctx),
                IdleRequest::from_raw((*bd).rq),
                (*bd).last,
            )
        };

        match T::queue_rq(hw, rq, last) {
            Ok(()) => Status::OK,
            // SAFETY: As above.
            Err(refused) => unsafe { Self::take_back(hctx, (*bd).rq, refused) },
        }
        .as_raw()
    }

    /// What to say about `lent`, which was lent to the driver, after the driver refused a request.
    ///
    /// # Safety
    ///
    /// `hctx` must be live.
    #[cold]
    unsafe fn take_back(
        hctx: *mut bindings::blk_mq_hw_ctx,
        lent: *mut bindings::request,
        refused: Refused<T>,
    ) -> Status {
        let Refused(rq, status) = refused;
        // Its memory may be that of the one that was lent, which ended, and yet be a request of
        // another disk with the same tag set by now.
        // SAFETY: The request and `hctx` are valid.
        let is_ours = unsafe { (*rq.as_raw()).q == (*hctx).queue };

        // Only the request that was lent can go back this way, and not as one that was taken. For
        // another one, which the driver had kept, blk-mq waits elsewhere: it ends here, and the
        // one that was lent is the driver's.
        if rq.as_raw() != lent || !is_ours || status == Status::OK {
            rq.end(match status {
                Status::OK => status,
                _ => Status::IOERR,
            });
            return Status::OK;
        }
        let _ = rq.release();
        status
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn queue_rqs_callback(list: *mut bindings::rq_list) {
        // SAFETY: blk-mq passes a list of idle requests and leaves it to the driver.
        T::queue_rqs(&mut RequestList::new(unsafe { &mut *list }));
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn commit_rqs_callback(hctx: *mut bindings::blk_mq_hw_ctx) {
        // SAFETY: blk-mq passes a live `hctx`.
        T::commit_rqs(unsafe { Self::hw_data(hctx) });
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn complete_callback(rq: *mut bindings::request) {
        // SAFETY: `Request::complete()` gave the request to blk-mq, which gives it back here.
        T::complete(unsafe { Request::from_raw(rq) });
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn timeout_callback(
        rq: *mut bindings::request,
    ) -> bindings::blk_eh_timer_return {
        // SAFETY: blk-mq passes a request in flight, whose hardware queue is live. The request
        // itself may be completed at any time and is not touched.
        T::timed_out(unsafe { Self::hw_data((*rq).mq_hctx) });
        bindings::blk_eh_timer_return_BLK_EH_RESET_TIMER
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn init_hctx_callback(
        hctx: *mut bindings::blk_mq_hw_ctx,
        tag_set_data: *mut c_void,
        index: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `tag_set_data` is the `driver_data` that `TagSet::new()` set.
            let data = T::init_hctx(unsafe { T::TagSetData::borrow(tag_set_data.cast()) }, index)?;

            // SAFETY: blk-mq passes a valid `hctx`.
            unsafe { (*hctx).driver_data = data.into_foreign().cast() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn exit_hctx_callback(hctx: *mut bindings::blk_mq_hw_ctx, _index: c_uint) {
        // SAFETY: The counterpart of `init_hctx_callback()`, no callback is running.
        drop(unsafe { T::HwData::from_foreign((*hctx).driver_data.cast()) });
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn init_request_callback(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx_idx: c_uint,
        _numa_node: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: blk-mq allocated `cmd_size` bytes after the request, in pages of the linear
            // mapping, and does not move them.
            unsafe { raw_try_init(Request::<T>::data_ptr(rq), T::RequestData::init()) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn exit_request_callback(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx_idx: c_uint,
    ) {
        // SAFETY: The counterpart of `init_request_callback()`.
        unsafe { core::ptr::drop_in_place(Request::<T>::data_ptr(rq)) };
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn map_queues_callback(set: *mut bindings::blk_mq_tag_set) {
        // SAFETY: blk-mq passes the tag set of a `TagSet<T>`, which set the counts and the
        // `driver_data` before. Its maps have an array for the CPUs.
        unsafe {
            let counts = TagSet::<T>::counts(set);
            let data = (*set).driver_data.cast();
            let nr_hw_queues = (*set).nr_hw_queues;
            let maps = &mut (*set).map;

            if counts.poll > 0 {
                // With all maps, `nr_hw_queues` is what the counts add up to.
                maps[DEFAULT].nr_queues = counts.default;
                maps[READ].nr_queues = 0;
                maps[POLL].nr_queues = counts.poll;
                maps[POLL].queue_offset = counts.default;
                bindings::blk_mq_map_queues(&mut maps[POLL]);
            } else {
                // blk-mq may have made fewer than were asked for.
                maps[DEFAULT].nr_queues = nr_hw_queues;
            }
            T::map_queues(T::TagSetData::borrow(data), QueueMap(&mut maps[DEFAULT]));
        }
    }

    /// # Safety
    ///
    /// May only be called by blk-mq, on a tag set of `T`.
    unsafe extern "C" fn poll_callback(
        hctx: *mut bindings::blk_mq_hw_ctx,
        batch: *mut bindings::io_comp_batch,
    ) -> c_int {
        // SAFETY: blk-mq passes a live `hctx`.
        let hw = unsafe { Self::hw_data(hctx) };

        // Not everybody who polls has a batch.
        if batch.is_null() {
            return T::poll(hw, &mut IoCompletionBatch::default()) as c_int;
        }
        // SAFETY: The batch is that of who polls, who ends it after the call.
        T::poll(hw, unsafe { IoCompletionBatch::from_raw(batch) }) as c_int
    }

    const VTABLE: bindings::blk_mq_ops = {
        // SAFETY: All bytes zero is valid: absent functions.
        let mut ops: bindings::blk_mq_ops = unsafe { core::mem::zeroed() };

        ops.queue_rq = Some(Self::queue_rq_callback);
        if T::HAS_QUEUE_RQS {
            ops.queue_rqs = Some(Self::queue_rqs_callback);
        }
        ops.commit_rqs = Some(Self::commit_rqs_callback);
        ops.timeout = Some(Self::timeout_callback);
        ops.complete = Some(Self::complete_callback);
        ops.init_hctx = Some(Self::init_hctx_callback);
        ops.exit_hctx = Some(Self::exit_hctx_callback);
        ops.init_request = Some(Self::init_request_callback);
        ops.exit_request = Some(Self::exit_request_callback);
        ops.map_queues = Some(Self::map_queues_callback);
        if T::HAS_POLL {
            ops.poll = Some(Self::poll_callback);
        }
        ops
    };

    pub(super) const fn build() -> &'static bindings::blk_mq_ops {
        &Self::VTABLE
    }
}
