// SPDX-License-Identifier: GPL-2.0

//! Scatterlists that drivers fill again and again.
//!
//! Known by all layers: the block and SCSI layers list an I/O's data, a bus hands the list on.
//!
//! C header: [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use crate::{
    bindings,
    compat::ENOBUFS, //
};
use kernel::{
    alloc::KVVec,
    page::PAGE_SIZE,
    prelude::*, //
};

/// Flag of `scatterlist::page_link`: the last entry of a list.
const SG_END: usize = 0x2;

/// Flag of `scatterlist::page_link`: no entry, but the address where the list goes on.
const SG_CHAIN: usize = 0x1;

/// A stretch of memory that the device reads or writes, as a scatterlist entry holds it.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) page: *mut bindings::page,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Segment {
    /// # Safety
    ///
    /// `ptr` must lie in the kernel's linear mapping, as all memory of `kmalloc()` and of blk-mq
    /// requests does.
    pub(crate) unsafe fn new(ptr: *const u8, len: usize) -> Self {
        Self {
            // SAFETY: By this function's safety requirements.
            page: unsafe { bindings::storage_virt_to_page(ptr.cast()) },
            offset: (ptr as usize % PAGE_SIZE) as u32,
            len: len as u32,
        }
    }

    /// The page that begins where this ends; null if that is amid a page.
    #[inline]
    pub(crate) fn next_page(&self) -> *mut bindings::page {
        let end = self.offset as usize + self.len as usize;

        // Only there have pages that lie side by side descriptions that do, and vice versa.
        if cfg!(CONFIG_SPARSEMEM_VMEMMAP) && end % PAGE_SIZE == 0 {
            self.page.wrapping_add(end / PAGE_SIZE)
        } else {
            core::ptr::null_mut()
        }
    }
}

/// A scatterlist that is filled for one I/O after the other. A layer appends its data to it
/// (`blk_rq_map_sg()` and the like); what the list is for, only its owner knows.
pub struct SgTable {
    entries: KVVec<bindings::scatterlist>,
    used: usize,
    /// Some entry may have [`SG_CHAIN`], perhaps of an earlier list.
    chained: bool,
}

// SAFETY: The pointers in the entries are dead once the list's user is done with it.
unsafe impl Send for SgTable {}

impl SgTable {
    pub(crate) fn new(capacity: usize) -> Result<Self> {
        let mut entries = KVVec::with_capacity(capacity, GFP_KERNEL)?;
        for _ in 0..capacity {
            entries.push(bindings::scatterlist::default(), GFP_KERNEL)?;
        }
        Ok(Self {
            entries,
            used: 0,
            chained: false,
        })
    }

    pub(crate) const fn empty() -> Self {
        Self {
            entries: KVVec::new(),
            used: 0,
            chained: false,
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    /// Forgets all but the first `len` entries.
    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.used = self.used.min(len);
    }

    /// Appends an entry; fails with [`ENOBUFS`] if the table is full.
    #[inline]
    pub(crate) fn push(&mut self, seg: Segment) -> Result {
        let entry = self.entries.get_mut(self.used).ok_or(ENOBUFS)?;

        entry.page_link = seg.page as usize;
        entry.offset = seg.offset;
        entry.length = seg.len;
        self.used += 1;
        Ok(())
    }

    /// Makes the last entry longer by what lies right behind it.
    #[inline]
    pub(crate) fn lengthen(&mut self, len: u32) {
        if let Some(last) = self.entries[..self.used].last_mut() {
            last.length += len;
        }
    }

    /// Whether the entries from number `i` on, some of which are several pieces that lie side by
    /// side, may be so; `boundary` is the mask of the addresses that none must cross.
    pub(crate) fn may_be_merged(&self, i: usize, boundary: usize) -> bool {
        self.entries[i..self.used].iter().all(|entry| {
            let page = (entry.page_link & !(SG_CHAIN | SG_END)) as *const bindings::page;

            // SAFETY: The pages are those of an I/O that is in flight.
            unsafe { bindings::storage_may_merge(page, entry.offset, entry.length, boundary) }
        })
    }

    /// Appends a copy of an entry of another list.
    #[inline]
    pub(crate) fn push_entry(&mut self, sg: &bindings::scatterlist) -> Result {
        self.push(Segment {
            page: (sg.page_link & !(SG_CHAIN | SG_END)) as *mut bindings::page,
            offset: sg.offset,
            len: sg.length,
        })
    }

    /// Lets the list go on, after an entry at least, with another one, to whose end it then goes:
    /// what is appended next must begin another list.
    ///
    /// # Safety
    ///
    /// `list` must be a list with an end that stays valid until the table is added.
    #[inline]
    pub(crate) unsafe fn push_list(&mut self, list: *mut bindings::scatterlist) -> Result {
        let entry = self.entries.get_mut(self.used).ok_or(ENOBUFS)?;

        entry.page_link = list as usize | SG_CHAIN;
        entry.offset = 0;
        entry.length = 0;
        self.used += 1;
        self.chained = true;
        Ok(())
    }

    /// Ends the list at entry `i`, unless it goes on in another one, which has its own end.
    #[inline]
    pub(crate) fn end_at(&mut self, i: usize) {
        let link = &mut self.entries[i].page_link;

        if *link & SG_CHAIN == 0 {
            *link |= SG_END;
        }
    }

    /// The entries that are still free, to be filled by C code that ends the list itself.
    #[inline]
    pub(crate) fn spare(&mut self) -> &mut [bindings::scatterlist] {
        let spare = &mut self.entries[self.used..];

        // `sg_next()` would follow what an earlier list went on with. Only on a queue of SCSI
        // commands and requests can there be both.
        if self.chained {
            for entry in &mut *spare {
                entry.page_link = 0;
            }
        }
        spare
    }

    /// Accounts for `n` entries that were written into [`Self::spare`].
    #[inline]
    pub(crate) fn commit(&mut self, n: usize) {
        self.used = (self.used + n).min(self.entries.len());
        // The next entry continues the list.
        if let Some(last) = self.used.checked_sub(1) {
            self.entries[last].page_link &= !SG_END;
        }
    }

    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The entries from number `i` on; what comes before is ended there.
    #[inline]
    pub(crate) fn list_from(&mut self, i: usize) -> *mut bindings::scatterlist {
        self.entries.as_mut_ptr().wrapping_add(i)
    }
}
