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

use super::{
    chain::Chain,
    context::Context,
    counts::{
        count,
        Counts,
        Locked, //
    },
    generations::Generations,
    glance::Glance,
    progress::Progress,
    replay::Kept, //
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
use core::{
    cell::{
        Cell,
        UnsafeCell, //
    },
    ffi::c_void,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
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

/// An owned object whose buffers a device may be given.
///
/// # Safety
///
/// - The memory of every segment that [`Token::map`] puts into the chain must stay valid, and be
///   used by nobody else than the device, until [`Token::from_raw`] made the token again.
/// - [`Token::into_raw`] and [`Token::from_raw`] must be inverse. Bit 1 of the pointer is clear, as
///   in that of memory which is aligned to four bytes; so is bit 0 if [`Token::IS_EVEN`].
/// - [`Token::map`] must not use a queue.
pub unsafe trait Token: Sized + Send {
    /// The lowest bit of each pointer of [`Token::into_raw`] is 0: others may use it.
    const IS_EVEN: bool = true;

    /// Lists the token's buffers: first those that the device reads, then, after
    /// [`Chain::end_readable`], those that it writes.
    ///
    /// Called with the queue's lock held.
    fn map(&mut self, chain: &mut Chain) -> Result;

    /// Gives the token up for a pointer.
    fn into_raw(self) -> NonNull<c_void>;

    /// What the token is, for tracepoints: the block layer's operation, or the first byte of a CDB.
    ///
    /// # Safety
    ///
    /// `ptr` must come from [`Token::into_raw`], and not have been used by [`Token::from_raw`].
    unsafe fn operation(ptr: NonNull<c_void>) -> u32 {
        let _ = ptr;
        0
    }

    /// Takes the token back.
    ///
    /// # Safety
    ///
    /// `ptr` must come from [`Token::into_raw`] and be used once.
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self;

    /// Notes the place of the token in the order of submission.
    #[inline]
    fn set_order(&mut self, order: usize) {
        let _ = order;
    }

    /// What [`Self::set_order`] noted; 0 for tokens whose order does not matter.
    #[inline]
    fn order(&self) -> usize {
        0
    }
}

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
    /// Take them, but add none and do not kick: some transports (vDPA) call this with a lock held
    /// that a notification takes. That is for [`Handler::deferred`].
    fn used(queue: ArcBorrow<'_, Queue<Self>>);

    /// The queue has something in flight and does not move, for more than a second: an interrupt or
    /// a notification that got lost is not why. The oldest token waits for so many seconds at
    /// least. Called about once a second; process context, the lock not held.
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

    /// A token that the device never used, given back once the device was reset: it touches the
    /// buffers no more. They come in the order of submission if the device is to be started again.
    /// Process context, the lock not held.
    fn cancelled(queue: &Queue<Self>, token: Self::Token);
}

/// A virtqueue with the driver's handler and its state.
#[pin_data]
pub struct Queue<H: Handler> {
    #[pin]
    inner: SpinLockIrq<Inner<H>>,
    #[pin]
    work: Work<Self>,
    interrupts: Atomic<usize>,
    deferred: Atomic<usize>,
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
                    ring: Ring {
                        vq: core::ptr::null_mut(),
                        closed: Cell::new(true),
                        size: 0,
                        order: Cell::new(0),
                        kept: Cell::new(None),
                        waiting: Cell::new(0),
                        in_flight: Cell::new(0),
                        completed: Cell::new(0),
                        added: Cell::new(false),
                        generations: Generations::new(),
                        progress: Progress::new(),
                        counts: Locked::default(),
                        chain: UnsafeCell::new(Chain::empty()),
                        _tokens: PhantomData,
                    },
                },
                state,
            }),
            work <- new_work!("storage::virtio::Queue"),
            interrupts: Atomic::new(0),
            deferred: Atomic::new(0),
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

    /// Unlocks the queue and notifies the device if something was added and it wants to know.
    ///
    /// The notification, an exit to the host, runs outside the lock. Returns `false` if the
    /// device is gone. C counterparts: `virtqueue_kick_prepare()`, `virtqueue_notify()`.
    #[inline(always)]
    pub fn kick(guard: QueueGuard<'_, H>) -> bool {
        let vq = guard.ring.vq;

        // Neither a barrier nor, without an event index, an exit for nothing.
        if !guard.ring.added.replace(false) {
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
        let vq = guard.ring.vq;

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
        let old = core::mem::replace(&mut ring.chain, UnsafeCell::new(chain));
        ring.vq = vq;
        ring.size = size as usize;
        // What was kept goes first, see `replay()`.
        ring.closed.set(ring.is_held());
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
        let ring = &mut guard.shown.ring;
        let vq = core::mem::replace(&mut ring.vq, core::ptr::null_mut());
        ring.closed.set(true);
        self.glance.forget();
        drop(guard);

        if vq.is_null() {
            return;
        }
        // SAFETY: `vq` is valid until it is deleted, after this.
        unsafe { trace::reset(vq, || self.lock().ring.in_flight() as u32) };
        // No more often than that: C has a `BUG_ON()` behind the last one, which a device that
        // wrote into the descriptors can reach.
        while self.lock().ring.lent() > 0 {
            // SAFETY: `vq` is valid and, since the ring is detached, used by nobody else.
            let ptr = unsafe { bindings::virtqueue_detach_unused_buf(vq) };
            let Some(ptr) = self.lock().ring.came_back(ptr) else {
                break;
            };

            // SAFETY: All that the ring holds came from `into_raw()` in `push()`.
            each(unsafe { H::Token::from_raw(ptr) });
        }
        self.lock().ring.progress.end();
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

/// The ring of a [`Queue`].
///
/// # Invariants
///
/// - `vq` is null (detached) or valid while the queue's lock is held.
/// - Every buffer in `vq` comes from [`Token::into_raw`] of `T`; there are `in_flight` of them.
pub struct Ring<T: Token> {
    vq: *mut bindings::virtqueue,
    /// Nothing can be added: the ring is detached, or what is kept goes first.
    closed: Cell<bool>,
    size: usize,
    /// How much was added so far.
    order: Cell<usize>,
    /// What waits for the device's restart, see `replay.rs`, and how much that is.
    pub(super) kept: Cell<Option<Kept<T>>>,
    pub(super) waiting: Cell<usize>,
    in_flight: Cell<usize>,
    completed: Cell<usize>,
    /// Something was added since the last kick.
    added: Cell<bool>,
    /// How old the tokens are, and what the watch saw.
    pub(super) generations: Generations,
    pub(super) progress: Progress,
    pub(super) counts: Locked,
    chain: UnsafeCell<Chain>,
    _tokens: PhantomData<fn(T) -> T>,
}

// SAFETY: The virtqueue may be used from any thread that holds the queue's lock.
unsafe impl<T: Token> Send for Ring<T> {}

impl<T: Token> Ring<T> {
    /// Adds `token`'s buffers. The device may not see them until
    /// [`Queue::kick`].
    ///
    /// Fails, and gives the token back, with [`ENOSPC`] if the ring is full, [`ENOMEM`] if memory
    /// (of a bounce buffer, say) is short for the moment, [`ENODEV`] if the ring is detached, and
    /// [`EIO`] if the device broke it. While a device is being restarted whose queue
    /// [replays](Handler::REPLAYS), the token is kept. C counterpart: `virtqueue_add_sgs()`.
    #[inline]
    pub fn add(&self, mut token: T) -> Result<(), (T, Error)> {
        let order = self.order.get().wrapping_add(1);

        token.set_order(order);
        if self.closed.get() {
            self.keep(token)?;
        } else {
            self.push(token)?;
        }
        self.order.set(order);
        Ok(())
    }

    /// Tells who traces that something waits in the driver's own line, `waiting` of them now; `op`
    /// as in the tracepoints.
    #[inline]
    pub fn trace_line(&self, op: u32, waiting: u32) {
        if !self.vq.is_null() {
            // SAFETY: With the lock held, a non-null `vq` is valid.
            unsafe { trace::line(self.vq, op, waiting) };
        }
    }

    /// Adds a token to the virtqueue, which there must be.
    #[inline]
    pub(super) fn push(&self, mut token: T) -> Result<(), (T, Error)> {
        // SAFETY: The queue's lock is held, and nobody else looks at the chain: `map()` uses no
        // queue.
        let chain = unsafe { &mut *self.chain.get() };
        chain.clear();
        if let Err(e) = token.map(chain) {
            return Err((token, e));
        }

        let (mut lists, readable, writable) = chain.lists();
        if readable + writable == 0 {
            return Err((token, EINVAL));
        }

        let ptr = token.into_raw();
        // SAFETY: `vq` is valid by the type invariant; the lists are valid and ended; the buffers
        // stay valid by the safety requirements of `Token`.
        let ret = unsafe {
            bindings::virtqueue_add_sgs(
                self.vq,
                lists.as_mut_ptr(),
                readable,
                writable,
                self.generations.mark(ptr),
                bindings::GFP_ATOMIC,
            )
        };

        match to_result(ret) {
            Ok(()) => {
                self.in_flight.set(self.in_flight.get() + 1);
                self.added.set(true);
                count(&self.counts.added);
                // SAFETY: `vq` is valid. The token cannot come back while the lock is held.
                unsafe { trace::issue(self.vq, move || (ptr.as_ptr(), T::operation(ptr))) };
                if !self.progress.is_watched() {
                    self.begin_watch();
                }
                Ok(())
            }
            Err(e) => {
                if e == ENOSPC {
                    count(&self.counts.full);
                }
                // SAFETY: `vq` is valid, and the ring did not take the pointer.
                unsafe {
                    trace::refused(self.vq, move || T::operation(ptr));
                    Err((T::from_raw(ptr), e))
                }
            }
        }
    }

    /// Takes the next token that the device used, with the count of bytes that the device *says*
    /// it wrote. `None` also on a ring that is broken: see [`Self::is_broken`].
    ///
    /// C counterpart: `virtqueue_get_buf()`, which refuses ids that are not in flight.
    #[inline]
    pub fn get_buf(&self) -> Option<(T, usize)> {
        let mut len = 0;

        if self.vq.is_null() {
            return None;
        }
        // SAFETY: `vq` is valid by the type invariant.
        let ptr = self.came_back(unsafe { bindings::virtqueue_get_buf(self.vq, &mut len) })?;

        // Each token that the device has still holds a descriptor.
        if self.num_free() + self.lent() > self.size {
            self.break_off();
        }
        self.completed.set(self.completed.get().wrapping_add(1));
        // SAFETY: `vq` is valid, and the token was not yet taken back.
        unsafe { trace::complete(self.vq, move || (ptr.as_ptr(), T::operation(ptr), len)) };
        // SAFETY: By the type invariant `ptr` came from `into_raw()`, and the ring forgot it.
        Some((unsafe { T::from_raw(ptr) }, len as usize))
    }

    /// The device wrote into descriptors, by which `virtio_ring` finds out how many a token had:
    /// free ones may be in use. Nothing must be added before the device was reset.
    #[cold]
    fn break_off(&self) {
        // SAFETY: `vq` is valid by the type invariant, and so is its device, which is bound.
        unsafe {
            bindings::__virtqueue_break(self.vq);
            let dev = kernel::device::Device::<kernel::device::Normal>::from_raw(
                &raw mut (*(*self.vq).vdev).dev,
            );
            dev_err!(
                dev,
                "the device wrote into descriptors; the ring is broken\n"
            );
        }
    }

    /// The queue had nothing in flight, or the watch has not seen that it has.
    #[cold]
    fn begin_watch(&self) {
        self.progress.begin(self.completed());
        // SAFETY: The virtqueue exists, and so does the context; see `Context`.
        unsafe {
            let context = (*(*self.vq).vdev).priv_.cast::<Context>();
            (*context).watch.begin();
        }
    }

    /// How many tokens the ring holds, those that wait for the device's restart included.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.in_flight.get() + self.waiting.get()
    }

    /// How many of them the device has.
    #[inline]
    pub(super) fn lent(&self) -> usize {
        self.in_flight.get()
    }

    /// From here on, what is added goes into the ring. What was kept has gone.
    pub(super) fn open(&self) -> Option<Kept<T>> {
        self.closed.set(false);
        self.kept.take()
    }

    /// The size of the virtqueue that the ring has, or had.
    pub(super) fn last_size(&self) -> usize {
        self.size
    }

    #[inline]
    fn came_back(&self, ptr: *mut c_void) -> Option<NonNull<c_void>> {
        let ptr = self.generations.unmark(ptr)?;

        self.in_flight.set(self.in_flight.get() - 1);
        Some(ptr)
    }

    /// How many tokens the ring has given back so far: shows whether the device makes progress.
    pub fn completed(&self) -> usize {
        self.completed.get()
    }

    /// How many descriptors are free: one for each command if `VIRTIO_RING_F_INDIRECT_DESC` was
    /// negotiated, else one for each segment.
    #[inline]
    pub fn num_free(&self) -> usize {
        if self.vq.is_null() {
            return 0;
        }
        // SAFETY: `vq` is valid by the type invariant.
        unsafe { (*self.vq).num_free as usize }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::virtqueue {
        self.vq
    }

    /// The size of the ring, 0 if it is detached.
    pub fn vring_size(&self) -> usize {
        if self.vq.is_null() {
            return 0;
        }
        // SAFETY: `vq` is valid by the type invariant.
        unsafe { bindings::virtqueue_get_vring_size(self.vq) as usize }
    }

    /// Whether there is a virtqueue: not before the device's queues are found, nor while it sleeps,
    /// nor once it was given up.
    #[inline]
    pub fn is_attached(&self) -> bool {
        !self.vq.is_null()
    }

    /// Whether what is added goes to the device at once: there is a virtqueue, and nothing is kept
    /// that has to go there first.
    #[inline]
    pub fn is_open(&self) -> bool {
        !self.closed.get()
    }

    /// Whether the virtqueue can work no more: the device wrote nonsense into it, or was removed.
    #[inline]
    pub fn is_broken(&self) -> bool {
        // SAFETY: `vq` is valid by the type invariant.
        self.is_attached() && unsafe { bindings::virtqueue_is_broken(self.vq) }
    }

    /// Asks the device not to interrupt (a hint). C counterpart: `virtqueue_disable_cb()`.
    #[inline]
    pub fn disable_cb(&self) {
        if !self.vq.is_null() {
            // SAFETY: `vq` is valid by the type invariant.
            unsafe { bindings::virtqueue_disable_cb(self.vq) };
        }
    }

    /// Asks the device to interrupt again, unless the queue is polled. Returns `false` if there are
    /// used buffers already: look again. C counterpart: `virtqueue_enable_cb()`.
    #[inline]
    pub fn enable_cb(&self) -> bool {
        self.is_polled() || !self.has_used()
    }

    /// Whether there are used buffers. The device is asked to interrupt again.
    #[inline]
    pub(super) fn has_used(&self) -> bool {
        // SAFETY: `vq` is valid by the type invariant.
        !self.vq.is_null() && !unsafe { bindings::virtqueue_enable_cb(self.vq) }
    }

    /// Whether the virtqueue does not interrupt.
    #[inline]
    pub(super) fn is_polled(&self) -> bool {
        // SAFETY: `vq` is valid by the type invariant.
        !self.vq.is_null() && unsafe { (*self.vq).callback.is_none() }
    }
}
