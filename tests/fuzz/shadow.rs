// SPDX-License-Identifier: GPL-2.0

//! What of the memory may be read and written: a bit for each byte of the piece that [`crate::mem`]
//! gives out.
//!
//! The compiler has the library and the drivers call one of the functions below before each access, as it does
//! for the runtime of its AddressSanitizer (`build` says how), of which these are all that is needed. Stacks and
//! statics are not in the piece: what is there may be used.

use crate::mem::{
    memory,
    PIECE, //
};
use std::ffi::c_void;

/// A set bit is a byte of an allocation that was not freed. The piece, and a word behind it.
static mut OPEN: [u8; PIECE / 8 + 4] = [0; PIECE / 8 + 4];

/// Where the piece begins.
static mut START: usize = usize::MAX;

/// What a planted bug does is counted, and nothing else.
static mut PLANTED: Option<u32> = None;

/// From here on the piece at `start` is looked after.
pub fn begin(start: usize) {
    // SAFETY: One thread.
    unsafe { START = start };
}

/// An allocation in the piece, of `size` bytes. It begins at a multiple of 8.
pub fn open(at: usize, size: usize) {
    // SAFETY: One thread; the allocation lies in the piece.
    unsafe {
        let first = (&raw mut OPEN).cast::<u8>().add((at - START) / 8);
        first.write_bytes(0xff, size / 8);
        if size % 8 != 0 {
            *first.add(size / 8) = (1 << (size % 8)) - 1;
        }
    }
}

/// It is freed.
pub fn close(at: usize, size: usize) {
    // SAFETY: As above.
    unsafe {
        let first = (&raw mut OPEN).cast::<u8>().add((at - START) / 8);
        first.write_bytes(0, size.div_ceil(8));
    }
}

/// Whether the `n` bytes at `at`, up to 16, may be used.
#[inline(always)]
fn may(at: usize, n: usize) -> bool {
    // SAFETY: One thread; a word at a place that is there.
    unsafe {
        let at = at.wrapping_sub(START);
        if at >= PIECE {
            return true;
        }
        let word = (&raw const OPEN)
            .cast::<u8>()
            .add(at / 8)
            .cast::<u32>()
            .read_unaligned();
        let wanted = (1u32 << n) - 1;
        word >> (at % 8) & wanted == wanted
    }
}

/// The `n` bytes at `at` are about to be used.
#[inline(always)]
fn check<const N: usize>(how: &str, at: usize) {
    if !may(at, N) {
        report(how, at, N);
    }
}

/// As above, for any number.
pub fn check_all(how: &str, at: usize, n: usize) {
    let mut done = 0;

    while done < n {
        let some = (n - done).min(16);
        if !may(at + done, some) {
            return report(how, at + done, some);
        }
        done += some;
    }
}

#[cold]
#[inline(never)]
fn report(how: &str, at: usize, n: usize) {
    // SAFETY: One thread.
    if let Some(count) = unsafe { (*(&raw mut PLANTED)).as_mut() } {
        *count += 1;
        return;
    }
    panic!("{how} {n} bytes {}", memory().describe(at));
}

macro_rules! callbacks {
    ($($n:literal $load:ident $store:ident;)*) => {$(
        #[no_mangle]
        extern "C" fn $load(at: usize) {
            check::<$n>("reads", at);
        }

        #[no_mangle]
        extern "C" fn $store(at: usize) {
            check::<$n>("writes", at);
        }
    )*};
}
callbacks! {
    1 __asan_load1 __asan_store1;
    2 __asan_load2 __asan_store2;
    4 __asan_load4 __asan_store4;
    8 __asan_load8 __asan_store8;
    16 __asan_load16 __asan_store16;
}

#[no_mangle]
extern "C" fn __asan_loadN(at: usize, n: usize) {
    check_all("reads", at, n);
}

#[no_mangle]
extern "C" fn __asan_storeN(at: usize, n: usize) {
    check_all("writes", at, n);
}

#[no_mangle]
unsafe extern "C" fn __asan_memcpy(to: *mut c_void, from: *const c_void, n: usize) -> *mut c_void {
    __asan_memmove(to, from, n)
}

#[no_mangle]
unsafe extern "C" fn __asan_memmove(to: *mut c_void, from: *const c_void, n: usize) -> *mut c_void {
    check_all("copies", from as usize, n);
    check_all("copies to", to as usize, n);
    core::ptr::copy(from.cast::<u8>(), to.cast(), n);
    to
}

#[no_mangle]
unsafe extern "C" fn __asan_memset(to: *mut c_void, value: i32, n: usize) -> *mut c_void {
    check_all("sets", to as usize, n);
    core::ptr::write_bytes(to.cast::<u8>(), value as u8, n);
    to
}

/// Stacks are not looked after.
#[no_mangle]
extern "C" fn __asan_handle_no_return() {}

/// What the model uses of the modules on their behalf, as a lock.
#[inline]
pub fn uses<T>(what: *const T) {
    let (at, n) = (what as usize, size_of::<T>());

    if n > 16 || !may(at, n) {
        check_all("uses", at, n);
    }
}

/// The compiler asks for what is above: each of the bugs that are planted is noticed.
pub fn prove() {
    for bug in 0..7 {
        let at = crate::mem::zeroed(24);

        if bug >= 5 {
            crate::mem::kfree(at);
        }
        // SAFETY: One thread; what is planted reads within the piece, and writes what was there.
        unsafe {
            PLANTED = Some(0);
            planted::bug(bug, at.cast());
            let count = (*(&raw mut PLANTED)).take();
            assert!(count == Some(bug.min(1)), "planted bug {bug}: {count:?}");
        }
        if bug < 5 {
            crate::mem::kfree(at);
        }
    }
}
