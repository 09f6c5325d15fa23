// SPDX-License-Identifier: GPL-2.0

//! The steps of a bio with flush semantics, for bio mode; in request mode blk-mq does the same.
//!
//! A virtio-blk device has no FUA, so a FUA write is a write and a flush. Each step begins only
//! after the one before it succeeded: a write that failed is not reported as good because the
//! flush after it was.

/// A command to the device on behalf of a bio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Flushes what was written before.
    Preflush,
    /// Moves the bio's data.
    Data,
    /// Flushes the bio's data.
    Postflush,
}

/// What a bio asks for. The block layer takes `preflush` and `fua` away if the disk has no
/// volatile cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Plan {
    /// `REQ_PREFLUSH`.
    pub(crate) preflush: bool,
    /// The bio has data.
    pub(crate) data: bool,
    /// `REQ_FUA`.
    pub(crate) fua: bool,
}

impl Plan {
    /// The step after `done`, or the first one; `None` if there is nothing (more) to do.
    #[inline]
    pub(crate) const fn next(self, done: Option<Step>) -> Option<Step> {
        match done {
            None if self.preflush => Some(Step::Preflush),
            None | Some(Step::Preflush) if self.data => Some(Step::Data),
            Some(Step::Data) if self.fua => Some(Step::Postflush),
            _ => None,
        }
    }
}
