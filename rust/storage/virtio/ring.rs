// SPDX-License-Identifier: GPL-2.0

//! The ring of a queue: where tokens go into a virtqueue, and come out of it.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    chain::Chain,
    context::Context,
    counts::{
        count,
        Locked, //
    },
    generations::Generations,
    progress::Progress,
    replay::Kept,
    Device, //
};
use crate::{
    bindings,
    trace, //
};
use core::{
    cell::{
        Cell,
        UnsafeCell, //
    },
    ffi::c_void,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
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

/// The ring of a [`Queue`](super::queue::Queue).
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
    /// A token takes one descriptor, whatever it has.
    indirect: bool,
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
    /// A ring that is detached.
    pub(super) fn new() -> Self {
        Self {
            vq: core::ptr::null_mut(),
            closed: Cell::new(true),
            size: 0,
            indirect: false,
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
        }
    }

    /// Has the ring, which is detached, work on `vq`. Returns the chain that it had.
    ///
    /// # Safety
    ///
    /// `vq` must be valid until the ring is detached and a grace period passed, have `size`
    /// elements, and hold no buffers.
    pub(super) unsafe fn attach(
        &mut self,
        vq: *mut bindings::virtqueue,
        size: usize,
        chain: Chain,
    ) -> Chain {
        let old = core::mem::replace(self.chain.get_mut(), chain);

        // INVARIANT: By this function's safety requirements.
        self.vq = vq;
        self.size = size;
        // SAFETY: The virtqueue is valid, and so is its device.
        self.indirect = unsafe { &*(*vq).vdev.cast::<Device>() }
            .has_feature(bindings::VIRTIO_RING_F_INDIRECT_DESC);
        // What was kept goes first, see `replay()`.
        self.closed.set(self.is_held());
        old
    }

    /// Takes the virtqueue from the ring; null if it is detached already.
    pub(super) fn detach(&mut self) -> *mut bindings::virtqueue {
        self.closed.set(true);
        core::mem::replace(&mut self.vq, core::ptr::null_mut())
    }

    /// Whether something was added since the last kick, which comes now.
    #[inline]
    pub(super) fn take_added(&self) -> bool {
        self.added.replace(false)
    }

    /// Adds `token`'s buffers. The device may not see them until
    /// [`Queue::kick`](super::queue::Queue::kick).
    ///
    /// Fails, and gives the token back, with [`ENOSPC`] if the ring is full, [`ENOMEM`] if memory
    /// (of a bounce buffer, say) is short for the moment, [`ENODEV`] if the ring is detached, and
    /// [`EIO`] if the device broke it. While a device is being restarted whose queue
    /// [replays](super::queue::Handler::REPLAYS), the token is kept. C counterpart:
    /// `virtqueue_add_sgs()`.
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

        let room = self.has_room(chain.len());
        let ptr = token.into_raw();
        let ret = if room {
            // SAFETY: `vq` is valid by the type invariant; the lists are valid and ended; the
            // buffers stay valid by the safety requirements of `Token`.
            unsafe {
                bindings::virtqueue_add_sgs(
                    self.vq,
                    lists.as_mut_ptr(),
                    readable,
                    writable,
                    self.generations.mark(ptr),
                    bindings::GFP_ATOMIC,
                )
            }
        } else {
            ENOSPC.to_errno()
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

    /// Whether there is room for a token of so many descriptors, or the ring is broken, which
    /// `virtqueue_add_sgs()` says. If a split ring is full that notifies the device, here with the
    /// queue's lock held. VDUSE takes a lock for it under which it calls
    /// [`Handler::used`](super::queue::Handler::used), which takes the queue's.
    #[inline]
    fn has_room(&self, descriptors: usize) -> bool {
        let needed = if self.indirect { 1 } else { descriptors };

        self.num_free() >= needed || self.is_broken()
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
            self.written_into();
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
    fn written_into(&self) {
        self.break_off();
        // SAFETY: `vq` is valid by the type invariant, and so is its device, which is bound.
        unsafe {
            let dev = kernel::device::Device::<kernel::device::Normal>::from_raw(
                &raw mut (*(*self.vq).vdev).dev,
            );
            dev_err!(
                dev,
                "the device wrote into descriptors; the ring is broken\n"
            );
        }
    }

    /// Breaks the ring, which must be attached: nothing can be added before the device was reset.
    #[cold]
    pub(super) fn break_off(&self) {
        // SAFETY: `vq` is valid by the type invariant.
        unsafe { bindings::__virtqueue_break(self.vq) };
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

    /// What has not come back from a virtqueue that is about to be deleted, never will: the device
    /// made virtio_ring lose it. The next virtqueue has nothing to do with it.
    pub(super) fn forget_lost(&self) {
        self.in_flight.set(0);
        self.generations.forget();
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

    /// A pointer came back from the virtqueue: the token's, if it is one.
    #[inline]
    pub(super) fn came_back(&self, ptr: *mut c_void) -> Option<NonNull<c_void>> {
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

    /// Whether the device says that it has taken all that was added, as far as it says so at all.
    pub fn is_all_taken(&self) -> bool {
        // SAFETY: With the lock held, a non-null `vq` is valid.
        !self.vq.is_null() && unsafe { bindings::storage_is_all_taken(self.vq) }
    }

    /// Whether the virtqueue does not interrupt.
    #[inline]
    pub(super) fn is_polled(&self) -> bool {
        // SAFETY: `vq` is valid by the type invariant.
        !self.vq.is_null() && unsafe { (*self.vq).callback.is_none() }
    }
}
