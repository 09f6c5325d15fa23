// SPDX-License-Identifier: GPL-2.0

//! What a queue has done, for who wants to know: counts under a lock that is held anyway.

use core::{
    cell::Cell,
    fmt, //
};

/// What a queue has done since it was made, or since
/// [`Queue::forget_counts`](super::queue::Queue::forget_counts).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Tokens that were added.
    pub added: usize,
    /// Notifications of the device: exits to the host.
    pub kicks: usize,
    /// Kicks after an add that the device did not want to hear of.
    pub kicks_saved: usize,
    /// Interrupts.
    pub interrupts: usize,
    /// Tokens that the device used.
    pub completed: usize,
    /// Adds that found the ring full.
    pub full: usize,
    /// How often something was left to [`Handler::deferred`](super::queue::Handler::deferred).
    pub deferred: usize,
    /// How often the watch found it standing still, and made it go on: an interrupt or a kick got
    /// lost.
    pub repaired: usize,
}

impl Counts {
    /// The names of what is printed.
    pub const HEAD: &'static str = concat!(
        "       added        kicks  kicks-saved   interrupts    completed",
        "    ring-full     deferred repaired"
    );
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>8}",
            self.added,
            self.kicks,
            self.kicks_saved,
            self.interrupts,
            self.completed,
            self.full,
            self.deferred,
            self.repaired
        )
    }
}

/// Counts by the holder of the queue's lock.
#[derive(Default)]
pub(super) struct Locked {
    pub(super) added: Cell<usize>,
    pub(super) kicks: Cell<usize>,
    pub(super) kicks_saved: Cell<usize>,
    /// What the ring had completed when the counts began.
    pub(super) completed_before: usize,
    pub(super) full: Cell<usize>,
    pub(super) repaired: Cell<usize>,
}

/// Counts one more.
#[inline]
pub(super) fn count(which: &Cell<usize>) {
    which.set(which.get().wrapping_add(1));
}
