// SPDX-License-Identifier: GPL-2.0

//! Requests that end together.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    operations::Operations,
    request::Request,
    rq_list, //
};
use crate::{
    bindings,
    block::Status, //
};
use core::marker::PhantomData;

/// Requests that ended well, to be freed together: a driver's own batch, or that of who polls.
///
/// C counterpart: `struct io_comp_batch`.
///
/// # Invariants
///
/// The list holds valid, started requests, which belong to it; if there are any, `complete` is set
/// and ends them.
#[repr(transparent)]
pub struct IoCompletionBatch<T: Operations>(bindings::io_comp_batch, PhantomData<T>);

impl<T: Operations> Default for IoCompletionBatch<T> {
    #[inline]
    fn default() -> Self {
        Self(bindings::io_comp_batch::default(), PhantomData)
    }
}

/// What ends a batch. A constant, so that one function has one address.
const COMPLETE: unsafe extern "C" fn(*mut bindings::io_comp_batch) =
    bindings::blk_mq_end_request_batch;

impl<T: Operations> IoCompletionBatch<T> {
    /// # Safety
    ///
    /// `batch` must be valid for `'a`, see the type's invariants, and used by nobody else.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(batch: *mut bindings::io_comp_batch) -> &'a mut Self {
        // SAFETY: `Self` is a transparent wrapper; by this function's safety requirements.
        unsafe { &mut *batch.cast() }
    }

    /// Takes a request that ended with `status`; or ends it now, if it cannot be batched.
    ///
    /// C counterpart: `blk_mq_add_to_batch()`, inline there; as of Linux 7.3. Unlike that, this
    /// batches no request with an `end_io`, not even a passthrough one.
    #[inline]
    pub fn add(&mut self, rq: Request<T>, status: Status) {
        const SCHED_TAGS: u32 = 1 << bindings::rqf_flags___RQF_SCHED_TAGS;
        // `blk_mq_need_time_stamp()`.
        const NEED_TS: u32 = (1 << bindings::rqf_flags___RQF_IO_STAT)
            | (1 << bindings::rqf_flags___RQF_STATS)
            | (1 << bindings::rqf_flags___RQF_USE_SCHED);

        let batch = &mut self.0;
        // SAFETY: The request is valid.
        let (flags, end_io) = unsafe { ((*rq.as_raw()).rq_flags, (*rq.as_raw()).end_io) };
        // Who polls several devices may have a batch of another driver's requests.
        let foreign = batch
            .complete
            .is_some_and(|complete| !core::ptr::fn_addr_eq(complete, COMPLETE));

        if status != Status::OK || end_io.is_some() || flags & SCHED_TAGS != 0 || foreign {
            rq.end(status);
            return;
        }
        batch.complete = Some(COMPLETE);
        batch.need_ts |= flags & NEED_TS != 0;
        // SAFETY: The request is valid and on no list, and so are those of the batch.
        unsafe { rq_list::add_tail(&mut batch.req_list, rq.release()) };
    }

    /// Ends the requests. Hold no lock.
    #[inline]
    pub fn end(mut self) {
        self.flush();
    }

    #[inline]
    fn flush(&mut self) {
        if self.0.req_list.head.is_null() {
            return;
        }
        if let Some(complete) = self.0.complete {
            // SAFETY: By the type invariants; the ownership of the requests goes away.
            unsafe { complete(&mut self.0) };
        }
    }
}

impl<T: Operations> Drop for IoCompletionBatch<T> {
    #[inline]
    fn drop(&mut self) {
        self.flush();
    }
}
