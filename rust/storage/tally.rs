// SPDX-License-Identifier: GPL-2.0

//! Counts of what is worth a message, though not each time.

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
