// SPDX-License-Identifier: GPL-2.0

//! Whether a ring moves, and what helps one that does not.
//!
//! A queue that stands still is helped in steps. If something lies in its used ring, it gets a
//! while more, since the interrupt may be under way; then that is taken as the interrupt would have
//! done it. If not, the device is notified, whatever it last said of wanting that: what it said may
//! be stale, after a snapshot, a migration, or a restart of a back end. That this helped is
//! believed only of a device that did not say that it has all, and had the same before it for a
//! moment.
//!
//! The while is so many looks, not a time: where the host is overloaded, the CPU that is to be
//! interrupted, or all of them, may rest for longer than any time that would be bearable here.

use core::cell::Cell;
use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

/// How long a queue has to stand still for the device to be notified.
const STILL: Delta = Delta::from_millis(500);

/// How many looks have to find something in the used ring, and nothing taken meanwhile, until it is
/// taken: they come soon one after the other.
const LOOKS: u8 = 5;

/// How far the help is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The queue moves, as far as we know.
    Calm,
    /// Something lies in the used ring, so many looks found.
    Used(u8),
    /// It stands still, and the device is about to be notified.
    Still,
    /// The device was notified.
    Notified,
    /// And did not go on at once, or has all that there is to it: it is slow.
    Slow,
}

/// What the last look saw.
#[derive(Clone, Copy)]
struct Seen {
    completed: usize,
    /// How many tokens had been added by then.
    added: usize,
    since: Instant<Monotonic>,
    stage: Stage,
}

/// What to do about a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It moves, or gets a moment more if `soon`.
    Wait { soon: bool },
    /// It moves since the device was notified, and by nothing else.
    Helped,
    /// Take what is in the used ring.
    Take,
    /// Notify the device.
    Notify { soon: bool },
}

/// What the watch knows of a ring; under the lock of its queue.
pub(super) struct Progress(Cell<Option<Seen>>);

impl Progress {
    /// Of a ring that is not watched.
    pub(super) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Whether the ring is watched.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.0.get().is_some()
    }

    /// Watches a ring that has given `completed` tokens back so far.
    pub(super) fn begin(&self, completed: usize) {
        self.set(completed, completed, Instant::now(), Stage::Calm);
    }

    /// Ends that, when `completed` tokens have come back and none is left. Returns whether it was
    /// the notification that helped.
    pub(super) fn end(&self, completed: usize) -> bool {
        self.0
            .take()
            .is_some_and(|seen| seen.stage == Stage::Notified && seen.added == completed)
    }

    /// Whether the device had its chance, and did not go on: it has all that there is to it.
    pub(super) fn is_slow(&self) -> bool {
        self.0.get().is_some_and(|seen| seen.stage == Stage::Slow)
    }

    fn set(&self, completed: usize, added: usize, since: Instant<Monotonic>, stage: Stage) {
        self.0.set(Some(Seen {
            completed,
            added,
            since,
            stage,
        }));
    }

    /// Decides what to do now; `used` tells whether something lies in the used ring, of which
    /// `completed` tokens have come back while `lent` are in it, `has_all` whether the device says
    /// that it has taken all of them.
    pub(super) fn step(
        &self,
        completed: usize,
        lent: usize,
        now: Instant<Monotonic>,
        used: impl FnOnce() -> bool,
        has_all: impl FnOnce() -> bool,
    ) -> Step {
        let added = completed.wrapping_add(lent);
        let Some(seen) = self.0.get() else {
            self.set(completed, added, now, Stage::Calm);
            return Step::Wait { soon: false };
        };

        if seen.completed != completed {
            self.set(completed, added, now, Stage::Calm);
            // What was added since had a notification of its own, and may be what came back while
            // the rest is slow.
            return match seen.stage {
                Stage::Notified if seen.added == added => Step::Helped,
                _ => Step::Wait { soon: false },
            };
        }
        let found = match seen.stage {
            Stage::Used(found) => found,
            _ => 0,
        };
        let (stage, step) = match (seen.stage, used()) {
            (_, true) if found + 1 >= LOOKS => (Stage::Calm, Step::Take),
            (_, true) => (Stage::Used(found + 1), Step::Wait { soon: true }),
            (_, false) if now - seen.since < STILL => (Stage::Calm, Step::Wait { soon: false }),
            (Stage::Notified, false) => (Stage::Slow, Step::Wait { soon: false }),
            (Stage::Slow, false) => (Stage::Slow, Step::Notify { soon: false }),
            (_, false) if has_all() => (Stage::Slow, Step::Wait { soon: false }),
            (Stage::Still, false) if seen.added == added => {
                (Stage::Notified, Step::Notify { soon: true })
            }
            (Stage::Still, false) => (Stage::Slow, Step::Notify { soon: false }),
            (_, false) => (Stage::Still, Step::Wait { soon: true }),
        };
        self.set(completed, added, seen.since, stage);
        step
    }
}
