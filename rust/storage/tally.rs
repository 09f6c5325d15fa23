// SPDX-License-Identifier: GPL-2.0

//! Counts of what is worth a message, though not each time.

use crate::bindings;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// How often something happened.
pub struct Tally(Atomic<u32>);

impl Tally {
    /// Not once yet.
    pub const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts, and returns the count if it is to be told: at 1, 2, 4, 8 … times. Any context.
    pub fn count(&self) -> Option<u32> {
        let n = self.0.fetch_add(1, Relaxed).wrapping_add(1);

        n.is_power_of_two().then_some(n)
    }

    /// The count. Any context.
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Begins to count anew. Any context.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// So many messages at most in a while, of what a device can have said at any speed: ten in some
/// nine seconds.
pub struct Ration {
    span: Atomic<u32>,
    told: Atomic<u32>,
}

impl Ration {
    const MOST: u32 = 10;
    /// A span of time is 2^33 ns.
    const SPAN_SHIFT: u32 = 33;

    /// Nothing was told yet.
    pub const fn new() -> Self {
        Self {
            span: Atomic::new(0),
            told: Atomic::new(0),
        }
    }

    /// Whether there may be a message more; it counts then. Any context. Two callers at a time may
    /// get one more.
    pub fn allows(&self) -> bool {
        // SAFETY: The function has no requirements.
        let span = (unsafe { bindings::ktime_get() } >> Self::SPAN_SHIFT) as u32;

        if self.span.load(Relaxed) != span {
            self.span.store(span, Relaxed);
            self.told.store(0, Relaxed);
        }
        let told = self.told.load(Relaxed);
        if told >= Self::MOST {
            return false;
        }
        self.told.store(told + 1, Relaxed);
        true
    }
}

impl Default for Ration {
    fn default() -> Self {
        Self::new()
    }
}
