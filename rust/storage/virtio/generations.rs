// SPDX-License-Identifier: GPL-2.0

//! How long the oldest token is in a ring, for next to no cost.
//!
//! Each token carries a bit, the second of its pointer: the generation that it was added in. When
//! none of the old generation is left, all that are there become the old one. So as long as one is
//! left, it is there since that moment at least.

use core::{
    cell::Cell,
    ffi::c_void,
    ptr::NonNull, //
};
use kernel::time::{
    Instant,
    Monotonic, //
};

/// The bit. The lowest is left to tokens of two types.
const BIT: usize = 2;

/// The two generations of the tokens in a ring.
pub(super) struct Generations {
    /// The bit of what is added now.
    young: Cell<usize>,
    /// How many of the others there are.
    old: Cell<usize>,
    /// When they became old.
    since: Cell<Option<Instant<Monotonic>>>,
}

impl Generations {
    pub(super) const fn new() -> Self {
        Self {
            young: Cell::new(0),
            old: Cell::new(0),
            since: Cell::new(None),
        }
    }

    /// Marks the pointer of a token that is added.
    #[inline]
    pub(super) fn mark(&self, ptr: NonNull<c_void>) -> *mut c_void {
        ptr.as_ptr().wrapping_byte_add(self.young.get())
    }

    /// Takes the mark off a token that came back; `None` if none did.
    #[inline]
    pub(super) fn unmark(&self, ptr: *mut c_void) -> Option<NonNull<c_void>> {
        let bit = ptr as usize & BIT;
        let ptr = NonNull::new(ptr.wrapping_byte_sub(bit))?;

        if bit != self.young.get() {
            self.old.set(self.old.get() - 1);
        }
        Some(ptr)
    }

    /// There are no tokens any more.
    pub(super) fn forget(&self) {
        self.old.set(0);
    }

    /// How many of the `all` tokens in the ring are there for so many seconds at least.
    pub(super) fn age(&self, all: usize, now: Instant<Monotonic>) -> (usize, u64) {
        match (self.old.get(), self.since.get()) {
            (old @ 1.., Some(since)) => (old, ((now - since).as_nanos() / 1_000_000_000) as u64),
            _ => {
                self.young.set(self.young.get() ^ BIT);
                self.old.set(all);
                self.since.set(Some(now));
                (all, 0)
            }
        }
    }
}
