// SPDX-License-Identifier: GPL-2.0

//! Virtqueues: token in, token out.
//!
//! What a driver adds to a [`Queue`] is a *token*: an owned request, bio or command. The queue
//! keeps it while the device works on its buffers and gives it back exactly once: by
//! [`Ring::get_buf`], or by [`Handler::cancelled`] when the queue is torn down. A token that could not
//! be added comes back at once. So safe code cannot complete one twice, and has to use
//! `mem::forget` to lose one.
//!
//! A queue outlives its virtqueue. It is made first, attached when the device's queues are found
//! ([`super::Device::find_vqs`]) and detached at teardown; work on a detached queue fails with
//! [`ENODEV`]. The handler and its state are pinned and owned before an interrupt can come.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    chain::Chain,
    state::State, //
};
use crate::{
    bindings,
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
    impl_has_work, new_spinlock_irq, new_work,
    prelude::*,
    sync::{
        lock::spinlock::SpinLockIrqGuard,
        rcu,
        Arc,
        ArcBorrow,
        CondVar,
        SpinLockIrq, //
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
/// - [`Token::into_raw`] and [`Token::from_raw`] must be inverse, their pointers even if
///   [`Token::IS_EVEN`].
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

    /// Takes the token back.
    ///
    /// # Safety
    ///
    /// `ptr` must come from [`Token::into_raw`] and be used once.
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self;
}

/// What a driver does with a queue. An object of the type is shared by the queue's users.
pub trait Handler: Sized + Send + Sync + 'static {
    /// What the driver adds.
    type Token: Token;

    /// The driver's own data under the queue's lock.
    type State: Send + Unpin;

    /// The device used buffers. Hard interrupt context, the lock not held.
    ///
    /// Take them, but add none and do not kick: some transports (vDPA) call this with a lock held
    /// that a notification takes. That is for [`Handler::deferred`].
    fn used(queue: ArcBorrow<'_, Queue<Self>>);

    /// What [`Queue::defer`] asked for. Process context, may sleep.
    fn deferred(queue: &Queue<Self>) {
        let _ = queue;
    }

    /// A token that the device never used, given back once the device was reset: it touches the
    /// buffers no more. Process context, the lock not held.
    fn cancelled(queue: &Queue<Self>, token: Self::Token);
}

/// A virtqueue with the driver's handler and its state.
#[pin_data]
pub struct Queue<H: Handler> {
    #[pin]
    inner: SpinLockIrq<Inner<H>>,
    #[pin]
    work: Work<Self>,
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
                        in_flight: Cell::new(0),
                        completed: Cell::new(0),
                        added: Cell::new(false),
                        chain: UnsafeCell::new(Chain::empty()),
                        _tokens: PhantomData,
                    },
                },
                state,
            }),
            work <- new_work!("storage::virtio::Queue"),
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
        workqueue.enqueue::<Self, 0>(this.into());
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
    #[inline]
    pub fn kick(guard: QueueGuard<'_, H>) -> bool {
        let vq = guard.ring.vq;

        // Neither a barrier nor, without an event index, an exit for nothing.
        if !guard.ring.added.replace(false) {
            return true;
        }
        // SAFETY: With the lock held, a non-null `vq` is valid.
        if vq.is_null() || !unsafe { bindings::virtqueue_kick_prepare(vq) } {
            return true;
        }

        // `detach()` waits for a grace period after it has cleared `vq` under the lock: `vq` is
        // valid to the end of this critical section.
        let _rcu = rcu::read_lock();
        drop(guard);

        // SAFETY: See above.
        unsafe { bindings::virtqueue_notify(vq) }
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
        drop(guard);
        drop(old);
        Ok(())
    }

    /// Takes all buffers out of the ring and hands them to [`Handler::cancelled`]. From here on
    /// the ring is detached.
    ///
    /// # Safety
    ///
    /// The device that the ring is attached to must have been reset.
    pub(super) unsafe fn detach(&self) {
        let vq = core::mem::replace(&mut self.inner.lock().shown.ring.vq, core::ptr::null_mut());

        if vq.is_null() {
            return;
        }
        loop {
            // SAFETY: `vq` is valid and, since the ring is detached, used by nobody else.
            let ptr = unsafe { bindings::virtqueue_detach_unused_buf(vq) };
            let Some(ptr) = NonNull::new(ptr) else { break };

            self.lock().ring.came_back();
            // SAFETY: All that the ring holds came from `into_raw()` in `add()`.
            H::cancelled(self, unsafe { H::Token::from_raw(ptr.cast()) });
        }
    }

    /// The `callback` of the virtqueue.
    ///
    /// # Safety
    ///
    /// `vq` must be a virtqueue that `find_vqs()` found for a `Queue<H>`.
    pub(super) unsafe extern "C" fn callback(vq: *mut bindings::virtqueue) {
        // SAFETY: `State::table` is an array with an element for each virtqueue: a pointer to its
        // queue, valid until `del_vqs()` has ended all callbacks.
        let queue = unsafe {
            let state = (*(*vq).vdev).priv_.cast::<State>();
            ArcBorrow::from_raw((*(*state).table.add((*vq).index as usize)).cast::<Self>())
        };

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
    in_flight: Cell<usize>,
    completed: Cell<usize>,
    /// Something was added since the last kick.
    added: Cell<bool>,
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
    /// [`EIO`] if the device broke it. C counterpart: `virtqueue_add_sgs()`.
    #[inline]
    pub fn add(&self, mut token: T) -> Result<(), (T, Error)> {
        if self.vq.is_null() {
            return Err((token, ENODEV));
        }

        // SAFETY: The queue's lock is held, and nobody else looks at the chain: `map()` uses no queue.
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
                ptr.as_ptr(),
                bindings::GFP_ATOMIC,
            )
        };

        match to_result(ret) {
            Ok(()) => {
                self.in_flight.set(self.in_flight.get() + 1);
                self.added.set(true);
                Ok(())
            }
            // SAFETY: The ring did not take the pointer.
            Err(e) => Err((unsafe { T::from_raw(ptr) }, e)),
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
        let ptr = NonNull::new(unsafe { bindings::virtqueue_get_buf(self.vq, &mut len) })?;

        self.came_back();
        self.completed.set(self.completed.get().wrapping_add(1));
        // SAFETY: By the type invariant `ptr` came from `into_raw()`, and the ring forgot it.
        Some((unsafe { T::from_raw(ptr.cast()) }, len as usize))
    }

    /// How many tokens the ring holds.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    fn came_back(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
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

    /// Asks the device to interrupt again. Returns `false` if there are used buffers already: look
    /// again. C counterpart: `virtqueue_enable_cb()`.
    #[inline]
    pub fn enable_cb(&self) -> bool {
        // SAFETY: `vq` is valid by the type invariant.
        self.vq.is_null() || unsafe { bindings::virtqueue_enable_cb(self.vq) }
    }
}
