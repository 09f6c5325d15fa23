// SPDX-License-Identifier: GPL-2.0

//! A glance at the ring of a polled queue, without its lock.
//!
//! Who polls mostly finds nothing, and the lock is that of those who submit.

use super::queue::{
    Handler,
    Queue,
    QueueGuard, //
};
use crate::bindings;
use kernel::sync::{
    atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    rcu,
};

/// Where the used ring goes on.
///
/// # Invariants
///
/// `vq` is null, or valid to the end of the RCU read-side critical section in which it was loaded.
pub(super) struct Glance {
    vq: Atomic<*mut bindings::virtqueue>,
    /// What `virtqueue_poll()` wants to know; of this virtqueue if there is one.
    next: Atomic<u32>,
}

impl Glance {
    pub(super) fn new() -> Self {
        Self {
            vq: Atomic::new(core::ptr::null_mut()),
            next: Atomic::new(0),
        }
    }

    /// Others took used buffers, so that nobody knows where the ring goes on; or the virtqueue is
    /// about to go: then with the queue's lock held, and a grace period passes before it is freed.
    pub(super) fn forget(&self) {
        self.vq.store(core::ptr::null_mut(), Relaxed);
    }
}

impl<H: Handler> Queue<H> {
    /// Whether there may be used buffers, or something is wrong: then it is worth the lock. Any
    /// context; for queues that are polled, see [`Self::took_all`].
    #[inline]
    pub fn may_have_used(&self) -> bool {
        let _rcu = rcu::read_lock();
        let vq = self.glance.vq.load(Acquire);

        if vq.is_null() {
            return true;
        }
        // SAFETY: By the type invariant of `Glance`; neither function needs the lock.
        unsafe {
            bindings::virtqueue_is_broken(vq)
                || bindings::virtqueue_poll(vq, self.glance.next.load(Relaxed))
        }
    }

    /// Notes that the used buffers of a polled queue were taken, all of them:
    /// [`Self::may_have_used`] tells from here on whether there are more. `guard` must be that of
    /// this queue.
    #[inline]
    pub fn took_all(&self, guard: &QueueGuard<'_, H>) {
        if !guard.is_of(self) || !guard.ring.is_polled() {
            return;
        }
        let vq = guard.ring.as_raw();

        // SAFETY: `vq` is valid, since it is polled, and the lock is held. Nobody is interrupted:
        // the virtqueue has no callback.
        let next = unsafe {
            let next = bindings::virtqueue_enable_cb_prepare(vq);

            bindings::virtqueue_disable_cb(vq);
            next
        };
        self.glance.next.store(next, Relaxed);
        // INVARIANT: `detach()` forgets it before the grace period.
        self.glance.vq.store(vq, Release);
    }
}
