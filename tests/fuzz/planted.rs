// SPDX-License-Identifier: GPL-2.0

//! Bugs, compiled as the drivers are: see `shadow::prove()`.

use core::hint::black_box;

/// Does something wrong, or nothing, with memory of 24 bytes, which may have been freed.
///
/// # Safety
///
/// What is around the memory must be there, and nobody else's.
#[inline(never)]
pub unsafe fn bug(which: u32, at: *mut u8) {
    match which {
        0 => at.add(16).cast::<u64>().write_volatile(0),
        // A byte behind the end, and a word that goes beyond it.
        1 => _ = at.add(24).read_volatile(),
        2 => _ = black_box(at.add(17).cast::<u64>().read_unaligned()),
        // The byte before.
        3 => _ = at.sub(1).read_volatile(),
        // All, and one more.
        4 => core::ptr::copy(at, black_box(&mut [0u8; 32]).as_mut_ptr(), black_box(25)),
        // What was freed.
        5 => _ = at.cast::<u64>().read_volatile(),
        _ => at.cast::<u32>().write_volatile(0x9b9b_9b9b),
    }
}
