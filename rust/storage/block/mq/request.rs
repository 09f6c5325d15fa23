// SPDX-License-Identifier: GPL-2.0

//! This module provides owned wrappers for the C `struct request`.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    operations::{
        Operations,
        OperationsVTable,
        Refused, //
    },
    rq_list, //
};
use crate::{
    bindings,
    block::{
        gen_disk::{
            self,
            Disk,
            Requests, //
        },
        zoned::in_same_zone,
        Op,
        Status,
        DRIVER_FLAG,
        SECTOR_SHIFT, //
    },
    compat::{
        bvec_done,
        ENOBUFS, //
    },
    scatterlist::{
        Segment,
        SgTable, //
    },
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::ManuallyDrop,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    types::ForeignOwnable, //
};

/// The data of a request of the driver, allocated with the request.
///
/// # Safety
///
/// The type must be sound at any place in the kernel's linear mapping.
pub unsafe trait RequestData: Sized + Send + Sync {
    /// Makes the data in place; each request once. May sleep.
    ///
    /// # Safety
    ///
    /// The place must be in the linear mapping, as behind a request: neither a stack nor a `VBox`.
    unsafe fn init() -> impl PinInit<Self, Error>;
}

// SAFETY: No data goes to a device.
unsafe impl RequestData for () {
    unsafe fn init() -> impl PinInit<Self, Error> {
        Ok(())
    }
}

/// A request that the block layer lends to the driver. One that is dropped ends with an I/O error.
///
/// # Invariants
///
/// A valid request of `T` that was not started, and that nobody else will start or end.
#[repr(transparent)]
pub struct IdleRequest<T: Operations>(Request<T>);

impl<T: Operations> IdleRequest<T> {
    /// # Safety
    ///
    /// See the type's invariants.
    #[inline]
    pub(super) unsafe fn from_raw(rq: *mut bindings::request) -> Self {
        // SAFETY: By this function's safety requirements.
        Self(unsafe { Request::from_raw(rq) })
    }

    /// Starts the request: its time runs from here. C counterpart: `blk_mq_start_request()`.
    #[inline]
    pub fn start(self) -> Request<T> {
        let rq = self.into_inner();

        // SAFETY: The request is valid and was not started.
        unsafe { bindings::blk_mq_start_request(rq.as_raw()) };
        rq
    }

    /// Gives the request back to the block layer.
    #[inline]
    pub fn refuse(self, status: Status) -> Refused<T> {
        Refused(self.into_inner(), status)
    }

    /// Ends the request unstarted.
    pub fn end(self, status: Status) {
        self.into_inner().end(status);
    }

    /// The operation.
    #[inline]
    pub fn op(&self) -> Op {
        self.0.op()
    }

    /// The driver's data of this request.
    #[inline]
    pub fn data(&mut self) -> Pin<&mut T::RequestData> {
        self.0.data()
    }

    /// The first sector.
    #[inline]
    pub fn sector(&self) -> u64 {
        self.0.sector()
    }

    /// See [`Request::driver_flag`].
    #[inline]
    pub fn driver_flag(&self) -> bool {
        self.0.driver_flag()
    }

    /// See [`Request::is_nounmap`].
    #[inline]
    pub fn is_nounmap(&self) -> bool {
        self.0.is_nounmap()
    }

    /// The request, to be looked at.
    #[inline]
    pub(crate) fn request(&self) -> &Request<T> {
        &self.0
    }

    #[inline]
    fn into_inner(self) -> Request<T> {
        self.0
    }

    /// The queue's data.
    #[inline]
    pub fn hw_data(&self) -> <T::HwData as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: A request that was lent to the driver has a live hardware queue.
        unsafe { OperationsVTable::<T>::hw_data((*self.0.as_raw()).mq_hctx) }
    }
}

/// A request that the driver works on. One that is dropped ends with an I/O error.
///
/// # Invariants
///
/// A valid request of `T` that was started (inside an [`IdleRequest`]: that was not), and that
/// nobody else will end.
#[repr(transparent)]
pub struct Request<T: Operations>(NonNull<bindings::request>, PhantomData<T>);

// SAFETY: A request may be ended from any context; its data is `Send`.
unsafe impl<T: Operations> Send for Request<T> {}

impl<T: Operations> Request<T> {
    /// # Safety
    ///
    /// See the type's invariants.
    #[inline]
    pub(crate) unsafe fn from_raw(rq: *mut bindings::request) -> Self {
        // SAFETY: By this function's safety requirements.
        Self(unsafe { NonNull::new_unchecked(rq) }, PhantomData)
    }

    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::request {
        self.0.as_ptr()
    }

    #[inline]
    pub(crate) fn release(self) -> *mut bindings::request {
        ManuallyDrop::new(self).as_raw()
    }

    /// Where a request's data lies: right behind it (`blk_mq_rq_to_pdu()`).
    #[inline]
    pub(crate) fn data_ptr(rq: *mut bindings::request) -> *mut T::RequestData {
        const {
            // Requests of flushes are of `kzalloc()`, without regard to what follows them.
            assert!(
                align_of::<T::RequestData>() <= align_of::<bindings::request>(),
                "the data of a request lies right behind it"
            );
            // More, and `blk_mq_alloc_rqs()` asks for pages until there are none.
            assert!(
                size_of::<T::RequestData>() <= 8 * PAGE_SIZE,
                "the data of a request is small"
            );
        };
        rq.wrapping_add(1).cast()
    }

    /// The driver's data of this request.
    #[inline]
    pub fn data(&mut self) -> Pin<&mut T::RequestData> {
        // SAFETY: The data is initialized and pinned, and owned with the request.
        unsafe { Pin::new_unchecked(&mut *Self::data_ptr(self.as_raw())) }
    }

    /// The operation.
    #[inline]
    pub fn op(&self) -> Op {
        // SAFETY: The request is valid by the type invariant.
        Op::from_flags(unsafe { (*self.as_raw()).cmd_flags })
    }

    /// The first sector.
    #[inline]
    pub fn sector(&self) -> u64 {
        // SAFETY: The request is valid by the type invariant.
        unsafe { (*self.as_raw()).__sector }
    }

    /// The size of the data in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: The request is valid by the type invariant.
        unsafe { (*self.as_raw()).__data_len as usize }
    }

    /// Whether the request has no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `REQ_NOUNMAP`: zeroes are to be written, not deallocated.
    #[inline]
    pub fn is_nounmap(&self) -> bool {
        // SAFETY: The request is valid by the type invariant.
        unsafe { (*self.as_raw()).cmd_flags & (1 << bindings::req_flag_bits___REQ_NOUNMAP) != 0 }
    }

    /// The ranges of a discard, as first sector and count of sectors: one for each bio if the disk
    /// takes several in one command, else the whole.
    pub(crate) fn ranges(&self) -> Ranges<'_> {
        // SAFETY: The request, its queue and its bios are valid by the type invariant.
        let (bio, multi) = unsafe {
            let rq = &*self.as_raw();
            (rq.bio.as_ref(), (*rq.q).limits.max_discard_segments > 1)
        };

        if multi && self.op() == Op::DISCARD {
            Ranges { whole: None, bio }
        } else {
            Ranges {
                whole: Some((self.sector(), self.len() as u64 >> SECTOR_SHIFT)),
                bio: None,
            }
        }
    }

    /// Whether the administrator wants the end of this request not to be noticed
    /// (`/sys/block/…/io-timeout-fail`). C counterpart: `blk_should_fake_timeout()`.
    #[inline]
    pub fn is_to_time_out(&self) -> bool {
        if !cfg!(CONFIG_FAIL_IO_TIMEOUT) {
            return false;
        }
        // SAFETY: The request and its queue are valid by the type invariant.
        unsafe {
            let q = (*self.as_raw()).q;
            (*q).queue_flags & (1 << bindings::QUEUE_FLAG_FAIL_IO) != 0
                && bindings::__blk_should_fake_timeout(q)
        }
    }

    /// Tells two kinds of [`Op::DRV_IN`] apart, see [`execute_in`].
    #[inline]
    pub fn driver_flag(&self) -> bool {
        // SAFETY: The request is valid by the type invariant.
        unsafe { (*self.as_raw()).cmd_flags & DRIVER_FLAG != 0 }
    }

    /// Says where the data of a zone append was written, in sectors. [`EINVAL`] if that is not in
    /// the request's zone, or if the request is something else.
    pub fn set_sector(&mut self, sector: u64) -> Result {
        // SAFETY: The request is valid by the type invariant, and so is its queue.
        let disk = unsafe { (*(*self.as_raw()).q).disk.as_ref() }.ok_or(EINVAL)?;

        if self.op() != Op::ZONE_APPEND || !in_same_zone(disk, self.sector(), sector) {
            return Err(EINVAL);
        }
        // SAFETY: The request is valid by the type invariant.
        unsafe { (*self.as_raw()).__sector = sector };
        Ok(())
    }

    /// The I/O priority. C counterpart: `req_get_ioprio()`.
    #[inline]
    pub fn ioprio(&self) -> u16 {
        // SAFETY: The request, and its first bio if it has one, are valid.
        unsafe { (*self.as_raw()).bio.as_ref().map_or(0, |bio| bio.bi_ioprio) }
    }

    /// Gives the request back to the block layer from [`Operations::queue_rq`]: the very one that
    /// this was called for. Another one ends with an I/O error.
    #[inline]
    pub fn refuse(self, status: Status) -> Refused<T> {
        Refused(self, status)
    }

    /// Gives the request back to the block layer from anywhere; it comes again soon.
    ///
    /// C counterpart: `blk_mq_requeue_request()`.
    pub fn requeue(self) {
        // SAFETY: The request is valid, started, and its ownership goes away.
        unsafe { bindings::blk_mq_requeue_request(self.release(), true) };
    }

    /// Has the block layer send no more requests to this request's hardware queue until
    /// [`Self::start_stopped_queues`]. C counterpart: `blk_mq_stop_hw_queue()`.
    pub fn stop_queue(&self) {
        // SAFETY: A started request has a live hardware queue.
        unsafe { bindings::blk_mq_stop_hw_queue((*self.as_raw()).mq_hctx) };
    }

    /// Restarts the hardware queues of this request's disk that were stopped.
    ///
    /// Any context. C counterpart: `blk_mq_start_stopped_hw_queues()`.
    pub fn start_stopped_queues(&self) {
        // SAFETY: The queue lives as long as it has requests.
        unsafe { bindings::blk_mq_start_stopped_hw_queues((*self.as_raw()).q, true) };
    }

    /// Completes the request on the CPU that submitted it, if that is another one: then `None`,
    /// and [`Operations::complete`] gets it there. Else the request is to be ended here.
    ///
    /// C counterpart: `blk_mq_complete_request_remote()`.
    #[inline]
    pub fn complete(self) -> Option<Self> {
        let rq = self.release();

        // SAFETY: The request is valid and started.
        if unsafe { bindings::blk_mq_complete_request_remote(rq) } {
            return None;
        }
        // SAFETY: The function did not take the ownership of the request.
        Some(unsafe { Self::from_raw(rq) })
    }

    /// Ends the request. Any context.
    #[inline]
    pub fn end(self, status: Status) {
        // SAFETY: The request is valid, and its ownership goes away.
        unsafe { bindings::blk_mq_end_request(self.release(), status.as_raw()) };
    }

    /// Lists the request's data, if it [has some](Op::has_data).
    #[inline]
    pub(crate) fn map_data(&self, table: &mut SgTable) -> Result {
        // SAFETY: The request is valid by the type invariant.
        let rq = unsafe { &*self.as_raw() };
        let segments = usize::from(rq.nr_phys_segments);

        // A discard counts segments, but has no vectors.
        if segments == 0 || !self.op().has_data() {
            return Ok(());
        }
        if segments == 1 && self.map_single(rq, table) {
            return Ok(());
        }

        let spare = table.spare();
        // One entry is for the footer.
        if segments >= spare.len() {
            return Err(ENOBUFS);
        }
        let mut last = core::ptr::null_mut();
        // SAFETY: There is room for all segments of the request.
        let n = unsafe { bindings::__blk_rq_map_sg(self.as_raw(), spare.as_mut_ptr(), &mut last) };
        table.commit(n.max(0) as usize);
        Ok(())
    }

    /// The usual case, without a call: one bio, whose data lies in one vector.
    #[inline]
    fn map_single(&self, rq: &bindings::request, table: &mut SgTable) -> bool {
        const SPECIAL: u32 = 1 << bindings::rqf_flags___RQF_SPECIAL_PAYLOAD;

        if rq.bio.is_null() || rq.bio != rq.biotail || rq.rq_flags & SPECIAL != 0 {
            return false;
        }
        // SAFETY: The bio is valid, and with data left, its index points to a vector.
        let (iter, vec) = unsafe {
            let bio = &*rq.bio;
            (
                bio.bi_iter,
                &*bio.bi_io_vec.add(bio.bi_iter.bi_idx as usize),
            )
        };
        let (size, offset) = (iter.bi_size, bvec_done(&iter));
        if size == 0 || vec.bv_len - offset < size {
            return false;
        }

        table
            .push(Segment {
                page: vec.bv_page,
                offset: vec.bv_offset + offset,
                len: size,
            })
            .is_ok()
    }
}

impl<T: Operations> Drop for Request<T> {
    fn drop(&mut self) {
        // SAFETY: The request is valid and started, and its ownership goes away.
        unsafe { bindings::blk_mq_end_request(self.as_raw(), bindings::BLK_STS_IOERR) };
    }
}

/// The ranges of a discard, see [`Request::ranges`].
pub(crate) struct Ranges<'a> {
    whole: Option<(u64, u64)>,
    bio: Option<&'a bindings::bio>,
}

impl Iterator for Ranges<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        if let Some(bio) = self.bio {
            // SAFETY: The bios of a request are linked to its end.
            self.bio = unsafe { bio.bi_next.as_ref() };
            let iter = &bio.bi_iter;
            return Some((iter.bi_sector, u64::from(iter.bi_size) >> SECTOR_SHIFT));
        }
        self.whole.take()
    }
}

/// The requests of a plugged task, for [`Operations::queue_rqs`].
pub struct RequestList<'a, T: Operations> {
    list: &'a mut bindings::rq_list,
    _p: PhantomData<T>,
}

impl<'a, T: Operations> RequestList<'a, T> {
    /// The list holds idle requests of `T`.
    #[inline]
    pub(super) fn new(list: &'a mut bindings::rq_list) -> Self {
        Self {
            list,
            _p: PhantomData,
        }
    }

    /// Takes the first request if it goes to the hardware queue whose data is at `hw`, if given.
    #[inline]
    pub fn pop_if(
        &mut self,
        matches: impl FnOnce(<T::HwData as ForeignOwnable>::Borrowed<'_>) -> bool,
    ) -> Option<IdleRequest<T>> {
        let rq = NonNull::new(self.list.head)?.as_ptr();

        // SAFETY: The requests on the list are valid and idle and have live hardware queues. One
        // that is taken off it is ours.
        unsafe {
            if !matches(OperationsVTable::<T>::hw_data((*rq).mq_hctx)) {
                return None;
            }
            rq_list::pop(self.list);
            Some(IdleRequest::from_raw(rq))
        }
    }

    /// Takes the first request.
    #[inline]
    pub fn pop(&mut self) -> Option<IdleRequest<T>> {
        self.pop_if(|_| true)
    }

    /// Puts a request back before all others.
    #[inline]
    pub fn push_front(&mut self, rq: IdleRequest<T>) {
        let rq = rq.into_inner().release();

        // SAFETY: The request is valid and on no list.
        unsafe { rq_list::add_head(self.list, rq) };
    }
}

/// Fills `data` by a request of the driver itself: [`Op::DRV_IN`] at `sector`, told apart by `flag`
/// ([`Request::driver_flag`]) if a driver has two of them. Waits until it ended.
///
/// Process context, sleeps. C counterparts: `blk_mq_alloc_request()`, `blk_execute_rq()`.
pub fn execute_in<M: Operations, D: gen_disk::Operations<Kind = Requests<M>>>(
    disk: &Disk<D>,
    flag: bool,
    sector: u64,
    data: &mut KVec<u8>,
) -> Result {
    let flags = if flag { DRIVER_FLAG } else { 0 };

    // SAFETY: The queue lives as long as the disk, and is of requests by the disk's type.
    let rq = from_err_ptr(unsafe {
        bindings::blk_mq_alloc_request(disk.queue(), Op::DRV_IN.as_raw() | flags, 0)
    })?;

    // SAFETY: The request is valid and ours until it is freed; `data`, heap memory, outlives its
    // execution.
    unsafe {
        let ret = to_result(bindings::blk_rq_map_kern(
            rq,
            data.as_mut_ptr().cast(),
            data.len() as c_uint,
            bindings::GFP_KERNEL,
        ))
        .and_then(|()| {
            (*rq).__sector = sector;
            Status(bindings::blk_execute_rq(rq, false)).to_result()
        });
        bindings::blk_mq_free_request(rq);
        ret
    }
}

/// What [`begin_in`] began.
///
/// # Invariants
///
/// The request writes to `data` until `done` is set, and nobody else looks at it before.
pub struct Reading {
    data: UnsafeCell<KVec<u8>>,
    began: Instant<Monotonic>,
    took: Atomic<i64>,
    status: Atomic<u32>,
    done: Atomic<bool>,
}

// SAFETY: The data is changed by the request only, before `done` is set.
unsafe impl Sync for Reading {}

impl Reading {
    /// How it ended, and how long it took; `None` if it has not. Any context.
    pub fn ended(&self) -> Option<Result<Delta>> {
        if !self.done.load(Acquire) {
            return None;
        }
        let status = Status(self.status.load(Relaxed) as u8);
        let took = Delta::from_nanos(self.took.load(Relaxed));
        Some(status.to_result().map(|()| took))
    }

    /// What was read, once it [ended](Self::ended) well.
    pub fn data(&self) -> Option<&[u8]> {
        self.ended()?.ok()?;
        // SAFETY: By the type invariant.
        Some(unsafe { &*self.data.get() })
    }
}

/// Begins to read `len` bytes by a request like that of [`execute_in`], and does not wait until it
/// ended, which the disk does before it goes. Fails with [`EAGAIN`] if no tag is free.
///
/// Process context, sleeps. C counterpart: `blk_execute_rq_nowait()`.
pub fn begin_in<M: Operations, D: gen_disk::Operations<Kind = Requests<M>>>(
    disk: &Disk<D>,
    sector: u64,
    len: usize,
) -> Result<Arc<Reading>> {
    let reading = Arc::new(
        Reading {
            data: UnsafeCell::new(KVec::from_elem(0, len, GFP_KERNEL)?),
            began: Instant::now(),
            took: Atomic::new(0),
            status: Atomic::new(0),
            done: Atomic::new(false),
        },
        GFP_KERNEL,
    )?;

    // SAFETY: The queue lives as long as the disk, and is of requests by the disk's type.
    let rq = from_err_ptr(unsafe {
        bindings::blk_mq_alloc_request(
            disk.queue(),
            Op::DRV_IN.as_raw(),
            bindings::BLK_MQ_REQ_NOWAIT,
        )
    })?;

    // SAFETY: The request is valid and ours until it is executed; the data, heap memory, lives
    // until it ended, by the reference that it holds.
    unsafe {
        let data = (*reading.data.get()).as_mut_ptr();
        let mapped =
            bindings::blk_rq_map_kern(rq, data.cast(), len as c_uint, bindings::GFP_KERNEL);
        if let Err(e) = to_result(mapped) {
            bindings::blk_mq_free_request(rq);
            return Err(e);
        }
        (*rq).__sector = sector;
        (*rq).end_io = Some(reading_ended_callback);
        (*rq).end_io_data = Arc::into_raw(reading.clone()).cast_mut().cast();
        bindings::blk_execute_rq_nowait(rq, false);
    }
    Ok(reading)
}

/// # Safety
///
/// May only be called by the block layer, as the end of a request of [`begin_in`].
unsafe extern "C" fn reading_ended_callback(
    rq: *mut bindings::request,
    status: bindings::blk_status_t,
    _batch: *const bindings::io_comp_batch,
) -> bindings::rq_end_io_ret {
    // SAFETY: This is the reference that `begin_in()` gave the request.
    let reading = unsafe { Arc::from_raw((*rq).end_io_data.cast::<Reading>().cast_const()) };

    reading
        .took
        .store(reading.began.elapsed().as_nanos(), Relaxed);
    reading.status.store(status.into(), Relaxed);
    // The block layer has written all data.
    reading.done.store(true, Release);
    bindings::rq_end_io_ret_RQ_END_IO_FREE
}
