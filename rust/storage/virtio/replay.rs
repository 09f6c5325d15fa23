// SPDX-License-Identifier: GPL-2.0

//! What a queue keeps while its device is reset, and sends again when that has started.
//!
//! A queue that [replays](Handler::REPLAYS) is *held* from before the reset until all that was in
//! flight is in the new ring. Who adds meanwhile does not notice: the tokens are kept as well, and
//! go in the order of submission. So nobody has to stop, and nothing is overtaken.

use super::queue::{
    Handler,
    Queue,
    Ring,
    Token, //
};
use kernel::{
    alloc::{
        Flags,
        KVVec, //
    },
    prelude::*,
    sync::ArcBorrow,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// Tokens that are kept, first in, first out. The vector does not grow under the queue's lock.
pub(super) struct Kept<T> {
    /// `None` for those that went.
    tokens: KVVec<Option<T>>,
    /// The first one that is there.
    next: usize,
    /// They go into the new ring, which had no room for one: no more is kept, since that would not
    /// come to an end.
    full: bool,
}

impl<T: Token> Kept<T> {
    const fn empty() -> Self {
        Self {
            tokens: KVVec::new(),
            next: 0,
            full: false,
        }
    }

    fn new(capacity: usize, flags: Flags) -> Result<Self> {
        Ok(Self {
            tokens: KVVec::with_capacity(capacity, flags)?,
            ..Self::empty()
        })
    }

    /// Appends a token; gives it back if there is no room.
    fn push(&mut self, token: T) -> Result<(), T> {
        if self.tokens.len() == self.tokens.capacity() {
            return Err(token);
        }
        let _ = self.tokens.push_within_capacity(Some(token));
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        loop {
            let first = self.tokens.get_mut(self.next)?.take();

            self.next += 1;
            if first.is_some() {
                return first;
            }
        }
    }

    /// Takes the first one that `is_one` says.
    fn take_if(&mut self, is_one: impl Fn(&T) -> bool) -> Option<T> {
        let slot = self
            .tokens
            .iter_mut()
            .find(|slot| slot.as_ref().is_some_and(&is_one))?;

        slot.take()
    }

    /// Undoes the last [`Self::pop`].
    fn unpop(&mut self, first: T) {
        self.next -= 1;
        if let Some(slot) = self.tokens.get_mut(self.next) {
            *slot = Some(first);
        }
    }

    /// Forgets those that went, since the others are to begin anew.
    fn compact(&mut self) {
        self.full = false;
        self.tokens.retain(|slot| slot.is_some());
        self.next = 0;
    }

    /// Brings them into the order of submission. A Shell sort: core's own sorts have functions that
    /// objtool does not know to be the end, and wander off into the next one.
    fn sort(&mut self) {
        // Those that went, which there are none of, come first.
        let order = |slot: &Option<T>| slot.as_ref().map_or(0, Token::order);
        let tokens = &mut self.tokens[..];
        let mut gap = tokens.len() / 2;

        while gap > 0 {
            for i in gap..tokens.len() {
                let mut i = i;

                while i >= gap && order(&tokens[i - gap]) > order(&tokens[i]) {
                    tokens.swap(i - gap, i);
                    i -= gap;
                }
            }
            gap /= 2;
        }
    }
}

impl<T: Token> Ring<T> {
    /// Whether what is added is kept, since the device is being started again.
    #[inline]
    pub fn is_held(&self) -> bool {
        let kept = self.kept.take();
        let held = kept.is_some();

        self.kept.set(kept);
        held
    }

    /// What becomes of a token while nothing can be added.
    #[cold]
    pub(super) fn keep(&self, token: T) -> Result<(), (T, Error)> {
        let Some(mut kept) = self.kept.take() else {
            return Err((token, ENODEV));
        };
        // Room for all that is in flight, see `Queue::take_back()`: also for one that is on its way
        // from the ring to here, which `Queue::detach()` counts as one that waits.
        let has_room = self.in_flight() + 1 < kept.tokens.capacity();
        let ret = if has_room && !kept.full {
            kept.push(token)
        } else {
            Err(token)
        };

        self.kept.set(Some(kept));
        if ret.is_ok() {
            self.waiting.set(self.waiting.get() + 1);
        }
        ret.map_err(|token| (token, ENOSPC))
    }

    /// Takes the first of what is kept.
    fn take_kept(&self) -> Option<T> {
        let token = self.with_kept(Kept::pop).flatten()?;

        self.waiting.set(self.waiting.get() - 1);
        Some(token)
    }

    /// Undoes that.
    fn return_kept(&self, token: T) {
        self.waiting.set(self.waiting.get() + 1);
        self.with_kept(|kept| kept.unpop(token));
    }

    /// Does something with what is kept; `None` if the ring is not held.
    fn with_kept<R>(&self, f: impl FnOnce(&mut Kept<T>) -> R) -> Option<R> {
        let mut kept = self.kept.take()?;
        let ret = f(&mut kept);

        self.kept.set(Some(kept));
        Some(ret)
    }
}

/// How many tokens are added at a time with interrupts off.
const BATCH: usize = 32;

/// How long, and how often at first, to wait for room that only answers of the device make: the
/// lock of all its queues is held meanwhile. Slow storage takes longer, see [`Queue::replay`].
const PAUSE: Delta = Delta::from_millis(1);
pub(super) const PAUSES: usize = 20;

impl<H: Handler> Queue<H> {
    /// If the queue replays, holds it: what is added is kept once the ring is detached. May sleep.
    pub(super) fn hold(&self) -> Result {
        if !H::REPLAYS {
            return Ok(());
        }
        // As much again as the ring has, for what comes meanwhile.
        let capacity = 2 * self.lock().ring.last_size();
        let kept = Kept::new(capacity, GFP_KERNEL)?;
        let guard = self.lock();

        // One that is held already keeps what it has.
        if !guard.ring.is_held() {
            guard.ring.kept.set(Some(kept));
        }
        Ok(())
    }

    /// Takes all tokens out of the ring. If the queue is held they are kept, those that may be sent
    /// again; else they are cancelled. May sleep.
    ///
    /// # Safety
    ///
    /// The device that the ring is attached to must have been reset.
    pub(super) unsafe fn take_back(&self) {
        let in_flight = self.lock().ring.in_flight();
        // Without memory, in any order: it is not waited for, since that may be for I/O of this
        // very device, which is perhaps given up here.
        let mut to_cancel = Kept::new(in_flight, GFP_NOWAIT).unwrap_or(Kept::empty());

        self.lock().ring.with_kept(Kept::compact);
        // SAFETY: By this function's safety requirements.
        unsafe {
            self.detach(|mut token| {
                let token = if H::REPLAYS && self.handler().again(&mut token) {
                    self.put(token)
                } else {
                    Some(token)
                };
                if let Some(Err(token)) = token.map(|token| to_cancel.push(token)) {
                    H::cancelled(self, token);
                }
            })
        };
        self.lock().ring.with_kept(Kept::sort);
        to_cancel.sort();
        while let Some(token) = to_cancel.pop() {
            H::cancelled(self, token);
        }
    }

    /// Keeps a token that was in the ring; gives it back if the queue is not held.
    fn put(&self, token: H::Token) -> Option<H::Token> {
        let mut token = Some(token);
        let guard = self.lock();

        guard.ring.with_kept(|kept| {
            token = token.take().and_then(|token| kept.push(token).err());
            if token.is_none() {
                guard.ring.waiting.set(guard.ring.waiting.get() + 1);
            }
        });
        token
    }

    /// Takes all tokens back and cancels them, also those that are kept. May sleep.
    ///
    /// # Safety
    ///
    /// The device that the ring is attached to, if there is one, must have been reset.
    pub(super) unsafe fn cancel_all(&self) {
        let guard = self.lock();
        let kept = guard.ring.kept.take();
        guard.ring.waiting.set(0);
        drop(guard);

        // SAFETY: By this function's safety requirements.
        unsafe { self.take_back() };
        if let Some(mut kept) = kept {
            while let Some(token) = kept.pop() {
                H::cancelled(self, token);
            }
        }
    }

    /// Cancels those of what is kept that may not [wait](Handler::may_wait) any longer. May sleep.
    pub(super) fn sift(&self) {
        loop {
            let guard = self.lock();
            let is_one = |token: &H::Token| !self.handler().may_wait(token);
            let token = guard.ring.with_kept(|kept| kept.take_if(is_one)).flatten();
            let Some(token) = token else { return };

            guard.ring.waiting.set(guard.ring.waiting.get() - 1);
            drop(guard);
            H::cancelled(self, token);
        }
    }

    /// Takes what the device has done, whoever would else.
    ///
    /// # Safety
    ///
    /// The queue must be that of an `Arc`.
    pub(super) unsafe fn take_done(&self) {
        // SAFETY: By this function's safety requirements.
        H::used(unsafe { ArcBorrow::from_raw(self) });
        self.glance.forget();
    }

    /// Adds what was kept to the new ring, and opens that for others. `false` if there is no room
    /// for all of it, or no memory, after that many `pauses`: the queue stays held, and this is to
    /// be called again. May sleep, but not for long.
    ///
    /// On errors the queue stays held, and its ring is broken.
    ///
    /// # Safety
    ///
    /// The queue must be that of an `Arc`, and attached.
    pub(super) unsafe fn replay(&self, mut pauses: usize) -> Result<bool> {
        loop {
            let mut guard = self.lock();
            let mut ret = Ok(());

            for _ in 0..BATCH {
                let Some(token) = guard.ring.take_kept() else {
                    // Empty: dropped below, outside the lock.
                    let kept = guard.ring.open();
                    Self::kick(guard);
                    drop(kept);
                    return Ok(true);
                };
                match guard.ring.push(token) {
                    Ok(()) => (),
                    Err((token, e)) if [ENOSPC, ENOMEM, EIO].contains(&e) => {
                        guard.ring.return_kept(token);
                        guard.ring.with_kept(|kept| kept.full = true);
                        ret = Err(e);
                        break;
                    }
                    // One that nobody can send.
                    Err((token, _)) => {
                        drop(guard);
                        H::cancelled(self, token);
                        guard = self.lock();
                    }
                }
            }
            // The ring is smaller than it was: what does not fit into an empty one never will.
            if ret == Err(ENOSPC) && guard.ring.lent() == 0 {
                guard.ring.break_off();
                return Err(ENOSPC);
            }
            Self::kick(guard);
            match ret {
                Ok(()) => continue,
                Err(e) if e == EIO => return Err(e),
                Err(_) if pauses == 0 => {
                    // For the next time, should nobody else do it.
                    // SAFETY: By this function's safety requirements.
                    unsafe { self.take_done() };
                    return Ok(false);
                }
                Err(_) => (),
            }
            // An answer makes room, or gives memory back.
            pauses -= 1;
            fsleep(PAUSE);
            // SAFETY: By this function's safety requirements.
            unsafe { self.take_done() };
        }
    }
}
