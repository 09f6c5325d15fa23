// SPDX-License-Identifier: GPL-2.0

//! Memory: what is allocated is known, so that a device is given nothing else, and nothing is lost.

use crate::world::w;
use std::{
    collections::BTreeMap,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    ptr::null_mut, //
};

extern "C" {
    fn memalign(align: usize, size: usize) -> *mut c_void;
    fn free(ptr: *mut c_void);
}

#[derive(Default)]
pub struct Memory {
    live: BTreeMap<usize, usize>,
    /// The allocation that fails, counted down; 0 for none.
    pub fail_at: u32,
}

static mut MEMORY: Option<Memory> = None;

pub fn memory() -> &'static mut Memory {
    // SAFETY: One thread; borrowed for a moment only.
    unsafe { (*(&raw mut MEMORY)).get_or_insert_with(Memory::default) }
}

impl Memory {
    /// Whether all of it lies in one allocation.
    pub fn holds(&self, at: usize, len: usize) -> bool {
        self.live
            .range(..=at)
            .next_back()
            .is_some_and(|(start, size)| at - start <= *size && *size - (at - start) >= len)
    }

    pub fn count(&self) -> usize {
        self.live.len()
    }

    fn fails(&mut self) -> bool {
        self.fail_at = self.fail_at.saturating_sub(1);
        self.fail_at == 1
    }
}

/// Memory that does not fail, all zero.
pub fn zeroed(size: usize) -> *mut c_void {
    let ptr = alloc(size, 64);

    // SAFETY: It is as long.
    unsafe { core::ptr::write_bytes(ptr.cast::<u8>(), 0, size) };
    ptr
}

/// One that is zero.
pub fn new<T>() -> *mut T {
    zeroed(size_of::<T>()).cast()
}

fn alloc(size: usize, align: usize) -> *mut c_void {
    // SAFETY: Always safe to call.
    let ptr = unsafe { memalign(align.max(16), size.max(1)) };

    assert!(!ptr.is_null());
    memory().live.insert(ptr as usize, size);
    ptr
}

#[no_mangle]
pub extern "C" fn kfree(ptr: *mut c_void) {
    if !ptr.is_null() {
        assert!(
            memory().live.remove(&(ptr as usize)).is_some(),
            "memory is freed twice"
        );
        // SAFETY: It was allocated, and is freed once.
        unsafe { free(ptr) };
    }
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
    if memory().fails() {
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
        let old = memory().live[&(ptr as usize)];
        core::ptr::copy_nonoverlapping(ptr.cast::<u8>(), new.cast(), old.min(size));
        kfree(ptr);
    }
    new
}

#[no_mangle]
unsafe extern "C" fn rust_helper_krealloc_node_align(
    ptr: *mut c_void,
    size: usize,
    align: c_ulong,
    flags: u32,
    _node: c_int,
) -> *mut c_void {
    resize(ptr, size, align as usize, flags)
}

#[no_mangle]
unsafe extern "C" fn rust_helper_kvrealloc_node_align(
    ptr: *mut c_void,
    size: usize,
    align: c_ulong,
    flags: u32,
    _node: c_int,
) -> *mut c_void {
    resize(ptr, size, align as usize, flags)
}

/// A page is known by its address.
#[no_mangle]
extern "C" fn rust_helper_storage_virt_to_page(ptr: *const c_void) -> *mut c_void {
    (ptr as usize & !4095) as *mut c_void
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
extern "C" fn rust_helper_kmap_local_page(page: *mut c_void) -> *mut c_void {
    page
}

#[no_mangle]
extern "C" fn rust_helper_kunmap_local() {}
