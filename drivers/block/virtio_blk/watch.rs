// SPDX-License-Identifier: GPL-2.0

//! The watch over bios in flight: bio mode has no timeouts of requests that would look after them.
//!
//! The first bio on idle queues starts it; it looks every 30 s and ends when nothing is in flight.
//! So an idle disk costs nothing, and a busy one a flag under a lock that is held anyway.

use crate::{
    bio_path::{
        BioPath,
        BioQueue, //
    },
    WORKQUEUE,
};
use kernel::{
    impl_has_delayed_work,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::msecs_to_jiffies,
    workqueue::WorkItem, //
};
use storage::work;

/// How long a queue may make no progress before somebody looks at it: the timeout of a request.
const PERIOD_MS: u32 = 30_000;

/// What the watch knows of a queue.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The queue was idle: it is not watched.
    #[default]
    Idle,
    /// A bio came since.
    Busy,
    /// How much the device had done at the last look.
    Done(usize),
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for BioPath { self.watch }
}

impl BioPath {
    /// From here on bios are watched.
    pub(crate) fn begin_watch(&self) {
        self.watched.store(true, Relaxed);
    }

    /// Ends the watch, once no bios come any more. May sleep.
    pub(crate) fn end_watch(self: &Arc<Self>) {
        self.watched.store(false, Relaxed);
        work::cancel(self);
    }

    /// Whether bios are watched.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    /// Looks in a while. Any context.
    #[cold]
    pub(crate) fn watch_later(self: &Arc<Self>) {
        WORKQUEUE.enqueue_delayed(self.clone(), msecs_to_jiffies(PERIOD_MS));
    }

    /// Looks at one queue. Returns whether it is to be watched further.
    fn look(queue: &Arc<storage::virtio::queue::Queue<BioQueue>>) -> bool {
        let recovery = &queue.handler().recovery;
        let mut guard = queue.lock();
        let now = Seen::Done(guard.ring.completed());

        if guard.ring.in_flight() == 0 {
            guard.state().seen = Seen::Idle;
            return false;
        }
        let still = core::mem::replace(&mut guard.state().seen, now) == now;
        let broken = guard.ring.is_broken();
        drop(guard);

        if still {
            // Perhaps the device did it, and only nobody heard of it.
            if BioQueue::poll(queue) > 0 {
                recovery.unheard();
            } else {
                recovery.late(broken);
            }
        }
        true
    }
}

impl WorkItem for BioPath {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let busy = this.queues.iter().filter(|queue| Self::look(queue)).count();

        if busy > 0 {
            this.watch_later();
        }
    }
}
