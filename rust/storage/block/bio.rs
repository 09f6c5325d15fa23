// SPDX-License-Identifier: GPL-2.0

//! Bios: block I/O without requests.
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)

use super::{
    bio_disk::Operations,
    gen_disk::Disk,
    Op,
    Status,
    DRIVER_FLAG,
    SECTOR_SHIFT, //
};
use crate::{
    bindings,
    compat::bvec_done,
    scatterlist::{
        Segment,
        SgTable, //
    },
};
use core::{
    mem::ManuallyDrop,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Completion, //
};

const PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;
const FUA: u32 = 1 << bindings::req_flag_bits___REQ_FUA;
const NOWAIT: u32 = 1 << bindings::req_flag_bits___REQ_NOWAIT;
const NOUNMAP: u32 = 1 << bindings::req_flag_bits___REQ_NOUNMAP;
const POLLED: u32 = 1 << bindings::req_flag_bits___REQ_POLLED;

/// A bio that the driver owns and must end. One that is dropped ends with an I/O error.
///
/// # Invariants
///
/// A valid bio on no list, which nobody else will end.
#[repr(transparent)]
pub struct Bio(NonNull<bindings::bio>);

// SAFETY: A bio may be ended from any context.
unsafe impl Send for Bio {}

impl Bio {
    /// # Safety
    ///
    /// `bio` must be valid, and the caller must give its ownership away.
    #[inline]
    pub(crate) unsafe fn from_raw(bio: *mut bindings::bio) -> Self {
        // SAFETY: By this function's safety requirements.
        Self(unsafe { NonNull::new_unchecked(bio) })
    }

    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<bindings::bio> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    fn as_raw(&self) -> *mut bindings::bio {
        self.0.as_ptr()
    }

    #[inline]
    fn opf(&self) -> u32 {
        // SAFETY: The bio is valid by the type invariant.
        unsafe { (*self.as_raw()).bi_opf }
    }

    /// The operation.
    #[inline]
    pub fn op(&self) -> Op {
        Op::from_flags(self.opf())
    }

    /// The volatile cache is to be written back before the data.
    #[inline]
    pub fn is_preflush(&self) -> bool {
        self.opf() & PREFLUSH != 0
    }

    /// The data is to be on stable storage when the bio ends.
    #[inline]
    pub fn is_fua(&self) -> bool {
        self.opf() & FUA != 0
    }

    /// The submitter must not wait.
    #[inline]
    pub fn is_nowait(&self) -> bool {
        self.opf() & NOWAIT != 0
    }

    /// `REQ_NOUNMAP`: zeroes are to be written, not deallocated.
    #[inline]
    pub fn is_nounmap(&self) -> bool {
        self.opf() & NOUNMAP != 0
    }

    /// Tells two kinds of [`Op::DRV_IN`] apart, see [`execute_in`].
    #[inline]
    pub fn driver_flag(&self) -> bool {
        self.opf() & DRIVER_FLAG != 0
    }

    /// The submitter polls for the bio's end.
    #[inline]
    pub fn is_polled(&self) -> bool {
        self.opf() & POLLED != 0
    }

    /// Says on which queue the bio's end is to be polled, see
    /// [`Operations::poll_bio`].
    #[inline]
    pub fn set_cookie(&mut self, cookie: u32) {
        // SAFETY: The bio is valid by the type invariant; pollers read it at any time.
        unsafe { (&raw mut (*self.as_raw()).__bindgen_anon_1.bi_cookie).write_volatile(cookie) };
    }

    /// What [`Self::set_cookie`] set.
    #[inline]
    pub fn cookie(&self) -> u32 {
        // SAFETY: The bio is valid by the type invariant.
        unsafe { (*self.as_raw()).__bindgen_anon_1.bi_cookie }
    }

    /// The first sector.
    #[inline]
    pub fn sector(&self) -> u64 {
        // SAFETY: The bio is valid by the type invariant.
        unsafe { (*self.as_raw()).bi_iter.bi_sector }
    }

    /// The size of the data in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: The bio is valid by the type invariant.
        unsafe { (*self.as_raw()).bi_iter.bi_size as usize }
    }

    /// Whether the bio has no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The I/O priority.
    #[inline]
    pub fn ioprio(&self) -> u16 {
        // SAFETY: The bio is valid by the type invariant.
        unsafe { (*self.as_raw()).bi_ioprio }
    }

    /// Cuts off, and submits again, what is beyond the limits of the disk. `None` if the bio was
    /// ended: it cannot be split, or does not lie on the borders of logical blocks.
    ///
    /// Process context, may sleep. C counterparts: `bio_split_to_limits()`, `bio_unaligned()`.
    #[inline]
    pub fn split_to_limits(self) -> Option<Self> {
        // SAFETY: The bio is valid by the type invariant, and has a block device with a queue.
        let block = unsafe {
            (*(*(*self.as_raw()).bi_bdev).bd_queue)
                .limits
                .logical_block_size
        };

        if (self.len() as u64 | self.sector() << SECTOR_SHIFT) & u64::from(block - 1) != 0 {
            self.end(Status::IOERR);
            return None;
        }
        // SAFETY: The bio is valid; its ownership goes to the function and comes back with the
        // result.
        NonNull::new(unsafe { bindings::bio_split_to_limits(self.into_raw().as_ptr()) }).map(Self)
    }

    /// Counts the start of the bio in the disk's statistics, unless they are off (`queue/iostats`);
    /// to be paired with [`Self::end_accounting`]. Returns the start in jiffies.
    #[inline]
    pub fn start_accounting(&self) -> Option<usize> {
        // SAFETY: The bio is valid by the type invariant, and has a block device with a queue.
        unsafe {
            let features = (*(*(*self.as_raw()).bi_bdev).bd_queue).limits.features;
            (features & bindings::BLK_FEAT_IO_STAT != 0)
                .then(|| bindings::bio_start_io_acct(self.as_raw()))
        }
    }

    /// Counts the end of the bio, with its size, in the disk's statistics. `start` is what
    /// [`Self::start_accounting`] returned.
    #[inline]
    pub fn end_accounting(&self, start: Option<usize>) {
        let Some(start) = start else { return };

        // SAFETY: The bio is valid, and so is its block device until it ends.
        unsafe {
            bindings::bio_end_io_acct_remapped(self.as_raw(), start, (*self.as_raw()).bi_bdev)
        };
    }

    /// Counts a flush that took `nanoseconds` in the disk's statistics.
    pub fn account_flush(&self, nanoseconds: u64) {
        // SAFETY: The bio is valid by the type invariant.
        unsafe { bindings::storage_account_flush(self.as_raw(), nanoseconds) };
    }

    /// Sets how the bio ends, for [`BioList::end_all`]. A success changes nothing: part of the bio
    /// may have been split off, and have failed already (`__bio_chain_endio()`).
    #[inline]
    pub fn set_status(&mut self, status: Status) {
        if status != Status::OK {
            // SAFETY: The bio is valid by the type invariant.
            unsafe { (*self.as_raw()).bi_status = status.as_raw() };
        }
    }

    /// Ends the bio. Any context; the submitter's `bi_end_io` runs in it, so hold no lock.
    #[inline]
    pub fn end(mut self, status: Status) {
        self.set_status(status);
        // SAFETY: The bio is valid, and its ownership goes away.
        unsafe { bindings::bio_endio(self.into_raw().as_ptr()) };
    }

    /// Copies the data of a [write](Op::is_write) to `to`, as far as that reaches: not at all if it
    /// [has none](Op::has_data), and nothing of what a read is to fill. For disks whose driver
    /// moves the data itself; who submitted a bio may change its data meanwhile. Any context.
    pub fn copy_to(&self, to: &mut [u8]) {
        if !self.op().is_write() {
            return;
        }
        let mut to = to;

        self.for_each_page(|at, len| {
            let (head, tail) = core::mem::take(&mut to).split_at_mut_checked(len)?;
            // SAFETY: `at` is valid for `len` bytes, and `head` is as long.
            unsafe { core::ptr::copy_nonoverlapping(at, head.as_mut_ptr(), len) };
            to = tail;
            Some(())
        });
    }

    /// Copies `from` to the memory of a read, as far as it reaches; not to that of a
    /// [write](Op::is_write), which may be the page of zeroes, or of a file that may only be read.
    /// Any context.
    pub fn copy_from(&self, from: &[u8]) {
        if self.op().is_write() {
            return;
        }
        let mut from = from;

        self.for_each_page(|at, len| {
            let (head, tail) = from.split_at_checked(len)?;
            // SAFETY: `at` is valid for `len` bytes, and `head` is as long.
            unsafe { core::ptr::copy_nonoverlapping(head.as_ptr(), at, len) };
            from = tail;
            Some(())
        });
    }

    /// Calls `f` for the part of each page that is data, mapped, until it returns `None`.
    fn for_each_page(&self, mut f: impl FnMut(*mut u8, usize) -> Option<()>) {
        // SAFETY: The bio is valid by the type invariant.
        let bio = unsafe { &*self.as_raw() };
        // A discard has a size, but no vectors.
        let mut left = if self.op().has_data() {
            bio.bi_iter.bi_size as usize
        } else {
            0
        };
        let mut done = bvec_done(&bio.bi_iter) as usize;
        let mut index = bio.bi_iter.bi_idx as usize;

        while left > 0 {
            // SAFETY: As long as data is left, `index` is that of a vector of the bio.
            let vec = unsafe { &*bio.bi_io_vec.add(index) };
            let offset = vec.bv_offset as usize + done;
            let len = (vec.bv_len as usize - done)
                .min(left)
                .min(PAGE_SIZE - offset % PAGE_SIZE);

            // SAFETY: The pages of a vector follow each other, and so do their `struct page`.
            let ret = unsafe {
                let map = bindings::kmap_local_page(vec.bv_page.add(offset / PAGE_SIZE));
                let ret = f(map.cast::<u8>().add(offset % PAGE_SIZE), len);
                bindings::kunmap_local(map);
                ret
            };
            if ret.is_none() {
                return;
            }
            left -= len;
            done += len;
            if done == vec.bv_len as usize {
                index += 1;
                done = 0;
            }
        }
    }

    /// Lists the bio's data, if it [has some](Op::has_data), in as few pieces as the disk's limits
    /// allow.
    ///
    /// C counterpart: `blk_rq_map_sg()`.
    #[inline]
    pub(crate) fn map_data(&self, table: &mut SgTable) -> Result {
        // SAFETY: The bio is valid by the type invariant.
        let bio = unsafe { &*self.as_raw() };
        if bio.bi_iter.bi_size == 0 || !self.op().has_data() {
            return Ok(());
        }
        // SAFETY: The bio has data, and so a vector. One that is submitted has a block device with
        // a queue, whose limits do not change meanwhile.
        let (bv, limits) = unsafe {
            let bvec = bio.bi_io_vec.wrapping_add(bio.bi_iter.bi_idx as usize);
            (&*bvec, &(*(*bio.bi_bdev).bd_queue).limits)
        };
        let done = bvec_done(&bio.bi_iter);
        let len = bio.bi_iter.bi_size;

        // Most have one piece.
        if len <= bv.bv_len - done && len <= limits.max_segment_size {
            return table.push(Segment {
                page: bv.bv_page,
                offset: bv.bv_offset + done,
                len,
            });
        }
        let before = table.len();
        let merged = self.map_pieces(table, limits.max_segment_size, true)?;
        if merged && !table.may_be_merged(before, limits.seg_boundary_mask) {
            table.truncate(before);
            self.map_pieces(table, limits.max_segment_size, false)?;
        }
        Ok(())
    }

    /// Lists the data in pieces of `max` bytes at most. If `merge`, pages that lie side by side
    /// are one; returns whether there were such.
    fn map_pieces(&self, table: &mut SgTable, max: u32, merge: bool) -> Result<bool> {
        // SAFETY: The bio is valid by the type invariant.
        let bio = unsafe { &*self.as_raw() };
        let bvec_iter = bio.bi_iter;
        let mut left = bvec_iter.bi_size;
        let mut done = bvec_done(&bvec_iter);
        let mut bvec = bio
            .bi_io_vec
            .cast_const()
            .wrapping_add(bvec_iter.bi_idx as usize);
        // Of the last piece: what may follow it, and its length.
        let mut next_page = core::ptr::null_mut();
        let mut long = 0;
        let mut merged = false;

        while left > 0 {
            // SAFETY: As long as data is left, `bvec` points to a vector of the bio.
            let bv = unsafe { &*bvec };
            let mut piece = Segment {
                page: bv.bv_page,
                offset: bv.bv_offset + done,
                len: (bv.bv_len - done).min(left),
            };
            left -= piece.len;
            bvec = bvec.wrapping_add(1);
            done = 0;

            if merge && piece.page == next_page && piece.offset == 0 && piece.len <= max - long {
                table.lengthen(piece.len);
                long += piece.len;
                merged = true;
            } else {
                while piece.len > max {
                    table.push(Segment { len: max, ..piece })?;
                    piece.offset += max;
                    piece.len -= max;
                }
                table.push(piece)?;
                long = piece.len;
            }
            next_page = piece.next_page();
        }
        Ok(merged)
    }
}

impl Drop for Bio {
    fn drop(&mut self) {
        // SAFETY: The bio is valid, and its ownership goes away.
        unsafe {
            (*self.as_raw()).bi_status = bindings::BLK_STS_IOERR;
            bindings::bio_endio(self.as_raw());
        }
    }
}

/// A list of bios, first in, first out, linked through the bios themselves. Bios that are left
/// when it is dropped end with an I/O error.
///
/// # Invariants
///
/// The bios from `head` to `tail` are owned by the list.
pub struct BioList {
    head: *mut bindings::bio,
    tail: *mut bindings::bio,
    len: usize,
}

// SAFETY: The list owns its bios, which are `Send`.
unsafe impl Send for BioList {}

impl Default for BioList {
    fn default() -> Self {
        Self::new()
    }
}

impl BioList {
    /// An empty list.
    #[inline]
    pub const fn new() -> Self {
        Self {
            head: core::ptr::null_mut(),
            tail: core::ptr::null_mut(),
            len: 0,
        }
    }

    /// How many bios there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Appends a bio.
    #[inline]
    pub fn push(&mut self, bio: Bio) {
        let bio = bio.into_raw().as_ptr();

        // SAFETY: The bios are owned and valid.
        unsafe {
            (*bio).bi_next = core::ptr::null_mut();
            if self.tail.is_null() {
                self.head = bio;
            } else {
                (*self.tail).bi_next = bio;
            }
        }
        self.tail = bio;
        self.len += 1;
    }

    /// Puts a bio before all others.
    #[inline]
    pub fn push_front(&mut self, bio: Bio) {
        let bio = bio.into_raw().as_ptr();

        // SAFETY: The bio is owned and valid.
        unsafe { (*bio).bi_next = self.head };
        if self.tail.is_null() {
            self.tail = bio;
        }
        self.head = bio;
        self.len += 1;
    }

    /// Takes the first bio.
    #[inline]
    pub fn pop(&mut self) -> Option<Bio> {
        let bio = NonNull::new(self.head)?;

        // SAFETY: The bio is owned and valid.
        unsafe {
            self.head = (*bio.as_ptr()).bi_next;
            (*bio.as_ptr()).bi_next = core::ptr::null_mut();
        }
        if self.head.is_null() {
            self.tail = core::ptr::null_mut();
        }
        self.len -= 1;
        Some(Bio(bio))
    }

    /// Takes the first bio if it `matches`.
    #[inline]
    pub fn pop_if(&mut self, matches: impl FnOnce(&Bio) -> bool) -> Option<Bio> {
        let first = ManuallyDrop::new(Bio(NonNull::new(self.head)?));

        if matches(&first) {
            self.pop()
        } else {
            None
        }
    }

    /// Takes all bios.
    #[inline]
    pub fn take(&mut self) -> Self {
        core::mem::take(self)
    }

    /// Ends all bios, each with the status that was set. Hold no lock.
    #[inline]
    pub fn end_all(mut self) {
        while let Some(bio) = self.pop() {
            // SAFETY: The bio is valid, and its ownership goes away.
            unsafe { bindings::bio_endio(bio.into_raw().as_ptr()) };
        }
    }
}

impl Drop for BioList {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// A bio of the driver itself, with what it needs.
struct OwnBio {
    bio: bindings::bio,
    vec: bindings::bio_vec,
    done: Pin<KBox<Completion>>,
}

/// Fills `data` by a bio of the driver itself: [`Op::DRV_IN`] at `sector`, told apart by `flag`
/// ([`Bio::driver_flag`]) if a driver has two of them. `submit` gets it. Waits until the bio ends.
///
/// Process context, sleeps. Fails with [`EINVAL`] if `data` is empty.
pub fn execute_in<T: Operations>(
    disk: &Disk<T>,
    flag: bool,
    sector: u64,
    data: &mut KVec<u8>,
    submit: impl FnOnce(Bio),
) -> Result {
    let flags = if flag { DRIVER_FLAG } else { 0 };

    if data.is_empty() {
        return Err(EINVAL);
    }
    // SAFETY: `data` is heap memory.
    let segment = unsafe { Segment::new(data.as_ptr(), data.len()) };
    let mut own = KBox::new(
        OwnBio {
            bio: bindings::bio::default(),
            vec: bindings::bio_vec {
                bv_page: segment.page,
                bv_len: segment.len,
                bv_offset: segment.offset,
            },
            done: KBox::pin_init(Completion::new(), GFP_KERNEL)?,
        },
        GFP_KERNEL,
    )?;

    let own: *mut OwnBio = &mut *own;
    // SAFETY: `own` and `data` are valid until the end of this function, which waits for the bio's
    // end; the disk's first block device lives as long as the disk. Nobody else uses the parts
    // until the bio was submitted, nor after it ended.
    let status = unsafe {
        let bio = &raw mut (*own).bio;
        let bdev = (*disk.as_raw()).part0;
        let opf = Op::DRV_IN.as_raw() | flags;
        bindings::bio_init(bio, bdev, &raw mut (*own).vec, 1, opf);
        (*bio).bi_vcnt = 1;
        (*bio).bi_iter.bi_size = segment.len;
        (*bio).bi_iter.bi_sector = sector;
        let done: *const Completion = &*(*own).done;
        (*bio).bi_private = done.cast_mut().cast();
        (*bio).bi_end_io = Some(own_end_io);

        submit(Bio::from_raw(bio));
        (*own).done.wait_for_completion();
        let status = (*bio).bi_status;
        bindings::bio_uninit(bio);
        status
    };

    Status(status).to_result()
}

/// # Safety
///
/// May only be called by the block layer, on a bio of `execute_in()`.
unsafe extern "C" fn own_end_io(bio: *mut bindings::bio) {
    // SAFETY: `execute_in()` set `bi_private` to a completion that lives until it was waited for.
    unsafe { (*(*bio).bi_private.cast::<Completion>()).complete_all() };
}
