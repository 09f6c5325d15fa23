// SPDX-License-Identifier: GPL-2.0

//! Virtqueues: token in, token out.
//!
//! What a driver adds to a [`Queue`] is a *token*: an owned request, bio or command. The queue
//! keeps it while the device works on its buffers and gives it back exactly once: by
//! [`Ring::get_buf`], or by [`Handler::cancelled`] when the queue is torn down. A token that could
//! not be added comes back at once. So safe code cannot complete one twice, and has to use
//! `mem::forget` to lose one.
//!
//! A queue outlives its virtqueue. It is made first, attached when the device's queues are found
//! ([`super::Device::find_vqs`]) and detached at teardown; work on a detached queue fails with
//! [`ENODEV`]. The handler and its state are pinned and owned before an interrupt can come.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

pub use super::ring::{
    Ring,
    Token, //
};

use super::{
    chain::Chain,
    context::Context,
    counts::{
        count,
        Counts,
        Locked, //
    },
    glance::Glance, //
};
use crate::{
    bindings,
    compat::{
        new_spinlock_irq,
        SpinLockIrq,
        SpinLockIrqGuard, //
    },
    trace,
    work::ModuleWorkqueue, //
};
use core::ops::Deref;
use kernel::{
    impl_has_work, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc,
        ArcBorrow,
        CondVar, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// What a driver does with a queue. An object of the type is shared by the queue's users.
pub trait Handler: Sized + Send + Sync + 'static {
    /// What the driver adds.
    type Token: Token;

    /// The driver's own data under the queue's lock.
    type State: Send + Unpin;

    /// The tokens wait in the device for something to happen, an event, say: that none comes back
    /// is no fault, and nothing that is to be watched.
    const STANDING: bool = false;

    /// What is in flight when the device is reset, to be started again, is kept and sent again, and
    /// so is what is added meanwhile. Else it is [cancelled](Self::cancelled).
    const REPLAYS: bool = false;

    /// The device used buffers. Hard interrupt context or, if the interrupt got lost or the queue
    /// is polled and nobody did, process context; the lock not held.
    ///
    /// Take them, but add none and do not kick, unless
    /// [`Device::adds_in_interrupts`](super::Device::adds_in_interrupts): some transports (vDPA)
    /// call this with a lock held that a notification takes. That is for [`Handler::deferred`].
    fn used(queue: ArcBorrow<'_, Queue<Self>>);

    /// The queue has something in flight and does not move, for more than a second: an interrupt or
    /// a notification that got lost is not why. Or it keeps something that is to be sent again, see
    /// [`Device::replay_rest`](super::Device::replay_rest). The oldest token waits for so many
    /// seconds at least. Called about once a second; process context, the lock not held.
    fn silent(queue: &Queue<Self>, seconds: u64) {
        let _ = (queue, seconds);
    }

    /// What [`Queue::defer`] asked for. Process context, may sleep.
    fn deferred(queue: &Queue<Self>) {
        let _ = queue;
    }

    /// The oldest token is in flight for so many seconds; told about once a second from 2 s on.
    /// Process context, the lock not held.
    fn late(queue: &Queue<Self>, seconds: u64) {
        let _ = (queue, seconds);
    }

    /// Makes a token ready to be sent once more: what the device may have written of an answer is
    /// to be forgotten. `false` if it must not be sent twice: then it is
    /// [cancelled](Self::cancelled). Process context, the lock not held. For queues that
    /// [replay](Self::REPLAYS).
    fn again(&self, token: &mut Self::Token) -> bool {
        let _ = token;
        true
    }

    /// Whether a token that is kept may still be sent, when others, who have the device, bring it
    /// back, or when the ring has room ([`Device::sift_queues`](super::Device::sift_queues)), or
    /// after another reset; else it is [cancelled](Self::cancelled). The queue's lock is held. For
    /// queues that [replay](Self::REPLAYS).
    fn may_wait(&self, token: &Self::Token) -> bool {
        let _ = token;
        true
    }

    /// A token that the device never used, given back once the device was reset: it touches the
    /// buffers no more. They come in the order of submission if the device is to be started again,
    /// unless memory is short. Process context, the lock not held.
    fn cancelled(queue: &Queue<Self>, token: Self::Token);
}

/// How often an interrupt looks for what came while it ended what it had found.
const ROUNDS: usize = 8;

/// A virtqueue with the driver's handler and its state.
#[pin_data]
pub struct Queue<H: Handler> {
    #[pin]
    inner: SpinLockIrq<Inner<H>>,
    #[pin]
    work: Work<Self>,
    interrupts: Atomic<usize>,
    deferred: Atomic<usize>,
    /// It is in a set of queues.
    pub(super) claimed: Atomic<bool>,
    pub(super) glance: Glance,
    #[pin]
    handler: H,
}

impl_has_work! {
    impl{H: Handler} HasWork<Self> for Queue<H> { self.work }
}

impl<H: Handler> WorkItem for Queue<H> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        H::deferred(&this);
    }
}

/// What the lock of a [`Queue`] protects.
struct Inner<H: Handler> {
    shown: Shown<H::Token>,
    state: H::State,
}

/// What a locked queue shows: see [`QueueGuard`].
pub struct Shown<T: Token> {
    /// The ring.
    pub ring: Ring<T>,
}

/// A locked [`Queue`], interrupts disabled.
///
/// Its [ring](Ring) can be used, but not be had: two rings that changed places would outlive their
/// virtqueues.
pub struct QueueGuard<'a, H: Handler>(SpinLockIrqGuard<'a, Inner<H>>);

impl<H: Handler> QueueGuard<'_, H> {
    /// The driver's own data.
    #[inline]
    pub fn state(&mut self) -> &mut H::State {
        &mut self.0.state
    }

    /// Whether it is `queue` that is locked.
    #[inline]
    pub(super) fn is_of(&self, queue: &Queue<H>) -> bool {
        core::ptr::eq(self.0.lock_ref(), &queue.inner)
    }

    /// Unlocks the queue, waits for a notification of `condvar`, and locks it again. May sleep.
    pub fn wait(&mut self, condvar: &CondVar) {
        condvar.wait(&mut self.0);
    }
}

impl<H: Handler> Deref for QueueGuard<'_, H> {
    type Target = Shown<H::Token>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0.shown
    }
}

impl<H: Handler> Queue<H> {
    /// Makes a queue that is not attached yet.
    pub fn new(handler: impl PinInit<H, Error>, state: H::State) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- new_spinlock_irq!(Inner {
                shown: Shown {
                    ring: Ring::new(),
                },
                state,
            }),
            work <- new_work!("storage::virtio::Queue"),
            interrupts: Atomic::new(0),
            deferred: Atomic::new(0),
            claimed: Atomic::new(false),
            glance: Glance::new(),
            handler <- handler,
        }? Error)
    }

    /// The driver's handler.
    #[inline]
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Has [`Handler::deferred`] run soon on `workqueue`. Any context.
    pub fn defer(this: ArcBorrow<'_, Self>, workqueue: &ModuleWorkqueue) {
        this.deferred.fetch_add(1, Relaxed);
        workqueue.enqueue::<Self, 0>(this.into());
    }

    /// What the queue has done. Any context.
    pub fn counts(&self) -> Counts {
        let guard = self.lock();
        let counts = &guard.ring.counts;

        Counts {
            added: counts.added.get(),
            kicks: counts.kicks.get(),
            kicks_saved: counts.kicks_saved.get(),
            interrupts: self.interrupts.load(Relaxed),
            completed: guard.ring.completed().wrapping_sub(counts.completed_before),
            full: counts.full.get(),
            deferred: self.deferred.load(Relaxed),
            repaired: counts.repaired.get(),
        }
    }

    /// Begins to count anew. Any context.
    pub fn forget_counts(&self) {
        let mut guard = self.inner.lock();

        guard.shown.ring.counts = Locked {
            completed_before: guard.shown.ring.completed(),
            ..Locked::default()
        };
        self.interrupts.store(0, Relaxed);
        self.deferred.store(0, Relaxed);
    }

    /// Locks the queue and disables interrupts.
    #[inline]
    pub fn lock(&self) -> QueueGuard<'_, H> {
        QueueGuard(self.inner.lock())
    }

    /// Takes what the device used, for an interrupt: `take` puts it into a batch, the lock held,
    /// and says how much it was; `end` unlocks the queue and ends the batch.
    ///
    /// What the device uses while a batch ends is taken as well, before it is asked to interrupt
    /// again: so it need not. That is done a few times only, lest who adds on another CPU keeps
    /// this one for ever. Returns whether the ring is [broken](Ring::is_broken).
    #[inline(always)]
    pub fn take_used<B: Default>(
        &self,
        mut take: impl FnMut(&mut QueueGuard<'_, H>, &mut B) -> usize,
        mut end: impl FnMut(QueueGuard<'_, H>, B),
    ) -> bool {
        let mut batch = B::default();
        let mut guard = self.lock();
        let mut rounds = 0;

        loop {
            guard.ring.disable_cb();
            let found = take(&mut guard, &mut batch);

            if found > 0 && rounds < ROUNDS && guard.ring.lent() > 0 {
                rounds += 1;
                end(guard, core::mem::take(&mut batch));
                guard = self.lock();
            } else if guard.ring.enable_cb() {
                break;
            }
        }
        let broken = guard.ring.is_broken();

        end(guard, batch);
        broken
    }

    /// Unlocks the queue and notifies the device if something was added and it wants to know.
    ///
    /// The notification, an exit to the host, runs outside the lock. Returns `false` if the
    /// device is gone. C counterparts: `virtqueue_kick_prepare()`, `virtqueue_notify()`.
    #[inline(always)]
    pub fn kick(guard: QueueGuard<'_, H>) -> bool {
        let vq = guard.ring.as_raw();

        // Neither a barrier nor, without an event index, an exit for nothing.
        if !guard.ring.take_added() {
            return true;
        }
        // SAFETY: With the lock held, a non-null `vq` is valid.
        if vq.is_null() || !unsafe { bindings::virtqueue_kick_prepare(vq) } {
            count(&guard.ring.counts.kicks_saved);
            return true;
        }
        count(&guard.ring.counts.kicks);

        Self::notify(guard)
    }

    /// Unlocks the queue and notifies the device, whether it wants to know or not. Returns `false`
    /// if it is gone.
    #[inline(always)]
    pub(super) fn notify(guard: QueueGuard<'_, H>) -> bool {
        let vq = guard.ring.as_raw();

        if vq.is_null() {
            return true;
        }
        // `detach()` clears `vq` under the lock, and a grace period passes before it is freed: `vq`
        // is valid to the end of this critical section.
        let _rcu = rcu::read_lock();
        drop(guard);

        // SAFETY: See above.
        unsafe {
            trace::notify(vq);
            bindings::virtqueue_notify(vq)
        }
    }

    /// Makes the ring work on `vq`. May sleep. Fails with [`EBUSY`] if it works on one already.
    ///
    /// # Safety
    ///
    /// `vq` must be valid until [`Self::detach`] returned and a grace period passed, and hold no
    /// buffers.
    pub(super) unsafe fn attach(&self, vq: *mut bindings::virtqueue) -> Result {
        // SAFETY: `vq` is valid.
        let size = unsafe { bindings::virtqueue_get_vring_size(vq) };
        // No chain may be longer than the ring.
        let chain = Chain::new(size as usize)?;
        let mut guard = self.inner.lock();
        let ring = &mut guard.shown.ring;

        if ring.is_attached() {
            return Err(EBUSY);
        }
        // SAFETY: By this function's safety requirements.
        let old = unsafe { ring.attach(vq, size as usize, chain) };
        drop(guard);
        drop(old);
        Ok(())
    }

    /// Takes all buffers out of the ring, and hands them to `each`. From here on the ring is
    /// detached.
    ///
    /// # Safety
    ///
    /// The device that the ring is attached to must have been reset.
    pub(super) unsafe fn detach(&self, mut each: impl FnMut(H::Token)) {
        let mut guard = self.inner.lock();
        let vq = guard.shown.ring.detach();
        self.glance.forget();
        drop(guard);

        if vq.is_null() {
            return;
        }
        // SAFETY: `vq` is valid until it is deleted, after this.
        unsafe { trace::reset(vq, || self.lock().ring.in_flight() as u32) };
        while self.lock().ring.lent() > 0 {
            let size = self.lock().ring.last_size() as u32;
            // SAFETY: `vq` is valid and, since the ring is detached, used by nobody else. Behind
            // the last buffer C has a `BUG_ON()`, since all descriptors are free there. A device
            // that wrote into them made virtio_ring lose count, or even a buffer.
            let ptr = unsafe {
                (*vq).num_free = size;
                bindings::virtqueue_detach_unused_buf(vq)
            };
            let guard = self.lock();
            let Some(ptr) = guard.ring.came_back(ptr) else {
                break;
            };
            // On its way to `each` it counts as one that waits: who wants that nothing is in flight
            // shall not believe that it is nowhere. But what `each` puts aside, to have it
            // cancelled in order, no queue counts any more.
            let waiting = &guard.ring.waiting;
            waiting.set(waiting.get() + 1);
            drop(guard);

            // SAFETY: All that the ring holds came from `into_raw()` in `push()`.
            each(unsafe { H::Token::from_raw(ptr) });
            let guard = self.lock();
            let waiting = &guard.ring.waiting;
            waiting.set(waiting.get() - 1);
        }
        let guard = self.lock();

        guard.ring.forget_lost();
        guard.ring.progress.end(guard.ring.completed());
    }

    /// The `callback` of the virtqueue.
    ///
    /// # Safety
    ///
    /// `vq` must be a virtqueue that `find_vqs()` found for a `Queue<H>`.
    pub(super) unsafe extern "C" fn callback(vq: *mut bindings::virtqueue) {
        // SAFETY: `Context::table` is an array with an element for each virtqueue: a pointer to its
        // queue, valid until `del_vqs()` has ended all callbacks.
        let queue = unsafe {
            let context = (*(*vq).vdev).priv_.cast::<Context>();
            ArcBorrow::from_raw((*(*context).table.add((*vq).index as usize)).cast::<Self>())
        };

        queue.interrupts.fetch_add(1, Relaxed);
        // SAFETY: `vq` is valid while its callback runs.
        unsafe { trace::interrupt(vq) };
        H::used(queue);
    }
}
