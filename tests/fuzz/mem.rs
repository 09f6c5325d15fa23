// SPDX-License-Identifier: GPL-2.0

//! Memory: what is allocated is known, so that a device is given nothing else, and nothing is lost.
//!
//! Each run takes it from one large piece, and nothing of that is used twice: neither the gaps
//! between allocations nor, until the end of the run, what was freed. Who reads or writes there is
//! found at once if he is of the library or a driver (see `shadow.rs`). There is a pattern as well,
//! for all others.

use crate::{
    shadow,
    world::{
        chance,
        w, //
    },
};
use std::{
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    ptr::null_mut, //
};

extern "C" {
    fn mmap(addr: *mut c_void, len: usize, prot: i32, flags: i32, fd: i32, at: i64) -> *mut c_void;
}

/// The size of the piece, which is taken as it is used.
pub const PIECE: usize = 1 << 30;

/// The gap behind an allocation.
const GAP: usize = 32;

/// What is in a gap, and in memory that was freed: no pointer, nor a length that fits.
const GAP_BYTE: u8 = 0xbd;
const FREED_BYTE: u8 = 0x9b;

/// So much of what was freed is filled, and looked at.
const FILLED: usize = 512;

/// What is compared with them, by words rather than bytes.
static FREED: [u8; FILLED] = [FREED_BYTE; FILLED];
static GAP_FILLED: [u8; GAP] = [GAP_BYTE; GAP];

/// Where the descriptions of pages lie, side by side as the pages do: nobody follows them.
const PAGES: usize = 0xffff_ea00_0000_0000;

struct Block {
    start: usize,
    size: usize,
    live: bool,
}

pub struct Memory {
    /// The end of the piece.
    end: usize,
    /// By address.
    blocks: Vec<Block>,
    top: usize,
    /// The modules' own, which outlive a run.
    kept: usize,
    kept_top: usize,
    /// The allocation that fails, counted down; 0 for none.
    pub fail_at: u32,
    /// Those that must not wait fail, now and then.
    pub scarce: bool,
}

static mut MEMORY: Option<Memory> = None;

pub fn memory() -> &'static mut Memory {
    // SAFETY: One thread; borrowed for a moment only.
    unsafe { (*(&raw mut MEMORY)).get_or_insert_with(Memory::new) }
}

impl Memory {
    fn new() -> Self {
        // SAFETY: New memory, readable, writable, private, anonymous, not reserved.
        let piece = unsafe { mmap(null_mut(), 2 * PIECE, 3, 0x4022, -1, 0) as usize };
        // So that it lies on one side of each border that a segment must not cross.
        let piece = piece.next_multiple_of(PIECE);

        shadow::begin(piece);
        Self {
            end: piece + PIECE,
            blocks: Vec::new(),
            top: piece,
            kept: 0,
            kept_top: piece,
            fail_at: 0,
            scarce: false,
        }
    }

    /// The last one that begins there or before.
    fn find(&self, at: usize) -> Option<usize> {
        // What is young is asked for most.
        let young = self.blocks.len().saturating_sub(8);
        for i in (young..self.blocks.len()).rev() {
            if self.blocks[i].start <= at {
                return Some(i);
            }
        }
        self.blocks
            .partition_point(|block| block.start <= at)
            .checked_sub(1)
    }

    /// Whether all of it lies in one allocation.
    pub fn holds(&self, at: usize, len: usize) -> bool {
        self.find(at).is_some_and(|i| {
            let block = &self.blocks[i];
            let offset = at - block.start;

            block.live && offset <= block.size && block.size - offset >= len
        })
    }

    /// What is at a place, in words.
    pub fn describe(&self, at: usize) -> String {
        let Some(block) = self.find(at).map(|i| &self.blocks[i]) else {
            return "before all allocations".to_string();
        };
        let (offset, size) = (at - block.start, block.size);

        match block.live {
            true => format!("at {offset} of an allocation of {size}"),
            false => format!("at {offset} of {size} that were freed"),
        }
    }

    /// What there is now stays for all runs.
    pub fn keep(&mut self) {
        self.kept = self.blocks.len();
        self.kept_top = self.top;
    }

    /// The run is over, and all its memory is free.
    pub fn end(&mut self) {
        for block in &self.blocks[self.kept..] {
            assert!(!block.live, "memory is lost");
            block.check_gap();
            let filled = block.filled();
            assert!(
                filled == &FREED[..filled.len()],
                "memory is written that was freed"
            );
        }
        for block in &self.blocks[..self.kept] {
            block.check_gap();
        }
        self.blocks.truncate(self.kept);
        self.top = self.kept_top;
        self.scarce = false;
    }

    pub fn fails(&mut self) -> bool {
        self.fail_at = self.fail_at.saturating_sub(1);
        self.fail_at == 1
    }
}

impl Block {
    fn filled(&self) -> &'static mut [u8] {
        // SAFETY: It lies in the piece, and nobody else uses it now.
        unsafe { core::slice::from_raw_parts_mut(self.start as *mut u8, self.size.min(FILLED)) }
    }

    fn gap(&self) -> &'static mut [u8] {
        // SAFETY: As above.
        unsafe { core::slice::from_raw_parts_mut((self.start + self.size) as *mut u8, GAP) }
    }

    fn check_gap(&self) {
        assert!(
            self.gap() == &GAP_FILLED[..],
            "somebody writes behind an allocation"
        );
    }
}

/// Memory that does not fail, all zero.
pub fn zeroed(size: usize) -> *mut c_void {
    let ptr = alloc(size, 64);

    // SAFETY: It is as long.
    unsafe { core::ptr::write_bytes(ptr.cast::<u8>(), 0, size) };
    ptr
}

/// The same in pages of its own.
pub fn zeroed_pages(size: usize) -> *mut c_void {
    let ptr = alloc(size, 4096);

    // SAFETY: It is as long.
    unsafe { core::ptr::write_bytes(ptr.cast::<u8>(), 0, size) };
    ptr
}

/// One that is zero.
pub fn new<T>() -> *mut T {
    zeroed(size_of::<T>()).cast()
}

fn alloc(size: usize, align: usize) -> *mut c_void {
    let memory = memory();
    let start = memory.top.next_multiple_of(align.max(16));
    let block = Block {
        start,
        size,
        live: true,
    };
    memory.top = start + size + GAP;
    assert!(memory.top <= memory.end, "too much memory");
    block.gap().fill(GAP_BYTE);
    memory.blocks.push(block);
    shadow::open(start, size);
    start as *mut c_void
}

#[no_mangle]
pub extern "C" fn kfree(ptr: *mut c_void) {
    if ptr.is_null() {
        return;
    }
    let memory = memory();
    let block = memory.find(ptr as usize).map(|i| &mut memory.blocks[i]);
    let block = block.filter(|block| block.start == ptr as usize && block.live);
    let block = block.expect("memory is freed twice");

    block.check_gap();
    block.filled().fill(FREED_BYTE);
    block.live = false;
    shadow::close(block.start, block.size);
}

unsafe fn resize(ptr: *mut c_void, size: usize, align: usize, flags: u32) -> *mut c_void {
    const DIRECT_RECLAIM: u32 = kernel::bindings::___GFP_DIRECT_RECLAIM_BIT;
    const ZERO: u32 = kernel::bindings::___GFP_ZERO_BIT;

    if flags & 1 << DIRECT_RECLAIM != 0 {
        crate::world::might_sleep_if_in_task();
    }
    if size == 0 {
        kfree(ptr);
        return null_mut();
    }
    if memory().fails() || memory().scarce && flags & 1 << DIRECT_RECLAIM == 0 && chance(4) {
        return null_mut();
    }
    let new = alloc(size, align);
    if flags & 1 << ZERO != 0 {
        core::ptr::write_bytes(new.cast::<u8>(), 0, size);
    } else {
        // What nobody wrote is not zero.
        core::ptr::write_bytes(new.cast::<u8>(), 0xa5, size);
    }
    if !ptr.is_null() {
        let memory = memory();
        let old = memory.find(ptr as usize).expect("memory to be resized");
        let old = memory.blocks[old].size;
        core::ptr::copy_nonoverlapping(ptr.cast::<u8>(), new.cast(), old.min(size));
        kfree(ptr);
    }
    new
}

/// The kernel's allocators, which differ in nothing here.
macro_rules! reallocs {
    ($($name:ident)*) => {$(
        #[no_mangle]
        unsafe extern "C" fn $name(
            ptr: *mut c_void,
            size: usize,
            align: c_ulong,
            flags: u32,
            _node: c_int,
        ) -> *mut c_void {
            resize(ptr, size, align as usize, flags)
        }
    )*};
}
reallocs!(rust_helper_krealloc_node_align rust_helper_kvrealloc_node_align);

/// The description of the page of an address.
pub fn page_of(at: usize) -> usize {
    PAGES + (at >> 12) * size_of::<kernel::bindings::page>()
}

/// The address of the page that a description is of.
pub fn address_of(page: usize) -> usize {
    (page - PAGES) / size_of::<kernel::bindings::page>() << 12
}

#[no_mangle]
extern "C" fn rust_helper_storage_virt_to_page(ptr: *const c_void) -> *mut c_void {
    page_of(ptr as usize) as *mut c_void
}

#[no_mangle]
extern "C" fn rust_helper_storage_may_merge(
    first: usize,
    offset: u32,
    len: u32,
    boundary: usize,
) -> bool {
    let begin = address_of(first) + offset as usize;

    // Some are memory of a device, say, and must not.
    (begin | boundary) == ((begin + len as usize - 1) | boundary) && len % 3 != 0
}

#[no_mangle]
extern "C" fn rust_helper_storage_smp_processor_id() -> u32 {
    (w().now / 1000 % 2) as u32
}

#[no_mangle]
extern "C" fn rust_helper_storage_nr_cpu_ids() -> u32 {
    2
}

#[no_mangle]
extern "C" fn rust_helper_storage_cpu_to_node(cpu: u32) -> c_int {
    assert!(cpu < 2);
    0
}

#[no_mangle]
extern "C" fn rust_helper_storage_memalloc_noio_save() -> u32 {
    *crate::world::no_io() += 1;
    *crate::world::no_io() - 1
}

#[no_mangle]
extern "C" fn rust_helper_storage_memalloc_noio_restore(before: u32) {
    assert!(*crate::world::no_io() == before + 1);
    *crate::world::no_io() = before;
}

#[no_mangle]
extern "C" fn rust_helper_kmap_local_page(page: usize) -> *mut c_void {
    address_of(page) as *mut c_void
}

#[no_mangle]
extern "C" fn rust_helper_kunmap_local() {}

/// The lists here are not chained.
#[no_mangle]
unsafe extern "C" fn rust_helper_sg_next(
    sg: *mut kernel::bindings::scatterlist,
) -> *mut kernel::bindings::scatterlist {
    if (*sg).page_link & 2 != 0 {
        return null_mut();
    }
    sg.add(1)
}
