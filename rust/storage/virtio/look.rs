// SPDX-License-Identifier: GPL-2.0

//! A look of the watch at a queue.

use super::{
    counts::{
        count,
        Locked, //
    },
    progress::Step,
    queue::{
        Handler,
        Queue, //
    },
    watch::{
        Help,
        Look,
        Looked,
        SUSPECT_SECONDS, //
    },
};
use kernel::{
    sync::ArcBorrow,
    time::{
        Instant,
        Monotonic, //
    },
};

impl<H: Handler> Queue<H> {
    /// The ring went on just after its device was notified. What waits for something to happen does
    /// so by itself, too.
    fn notified(counts: &Locked) -> Option<Help> {
        if H::STANDING {
            return None;
        }
        count(&counts.repaired);
        Some(Help::Notified)
    }
}

impl<H: Handler> Look for Queue<H> {
    unsafe fn look(&self, now: Instant<Monotonic>) -> Looked {
        // SAFETY: By this function's safety requirements.
        let this = unsafe { ArcBorrow::from_raw(self) };
        let guard = self.lock();
        let ring = &guard.ring;
        let in_flight = ring.lent();

        // What was kept has not all gone into the ring yet.
        let held = ring.is_attached() && ring.is_held();

        let mut looked = Looked::IDLE;

        if in_flight == 0 || !ring.is_attached() {
            if ring.progress.end(ring.completed()) && ring.is_attached() {
                looked.helped = Self::notified(&ring.counts);
            }
            drop(guard);
            if held {
                looked.again = true;
                H::silent(self, 0);
            }
            return looked;
        }
        let before = ring.completed();
        looked.again = true;
        if !H::STANDING {
            (looked.waiting, looked.seconds) = ring.generations.age(in_flight, now);
        }
        let used = || {
            let used = ring.has_used();

            if ring.is_polled() {
                ring.disable_cb();
            }
            used
        };
        let has_all = || ring.is_all_taken();
        match ring.progress.step(before, in_flight, now, used, has_all) {
            Step::Wait { soon } => {
                looked.soon = soon;
                // Who waits for something to happen is watched until the device surely knows it,
                // and as long as there is something to watch.
                if H::STANDING && ring.progress.is_slow() {
                    ring.progress.end(before);
                    looked.again = false;
                }
                drop(guard);
            }
            Step::Helped => {
                looked.helped = Self::notified(&ring.counts);
                drop(guard);
            }
            Step::Take => {
                let polled = ring.is_polled();
                drop(guard);
                H::used(this);
                self.glance.forget();
                let guard = self.lock();
                let n = guard.ring.completed().wrapping_sub(before);
                // Who polls looks when it likes.
                if n > 0 && !polled {
                    count(&guard.ring.counts.repaired);
                    looked.helped = Some(Help::Taken(n));
                }
            }
            Step::Notify { soon } => {
                looked.soon = soon;
                Queue::notify(guard);
                if !soon {
                    H::silent(self, looked.seconds);
                }
            }
        }
        if looked.seconds >= SUSPECT_SECONDS {
            H::late(self, looked.seconds);
        }
        if held {
            H::silent(self, looked.seconds);
        }
        looked
    }
}
