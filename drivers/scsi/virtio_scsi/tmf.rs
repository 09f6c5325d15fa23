// SPDX-License-Identifier: GPL-2.0

//! Task management functions: to ask the device to end commands, or whether it has one.
//!
//! Each has a time limit. One that the device never answers stays with it until it is reset; so
//! there is a fixed number of them, made in advance: error handling must not need memory, which
//! may be waiting for this very disk.

use crate::{
    params,
    recovery::Recovery,
    waiter::Waiter,
    wire::{
        self,
        Address,
        ControlRequest,
        ControlResponse,
        Function,
        Order, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};
use storage::virtio::{
    buffer::BoxedFrame,
    frame::Content,
    queue::{
        Handler,
        Queue, //
    },
};

/// How many functions there are. Four can be on their way at once: a question, an abort, a reset by
/// the error handler and one by an ioctl; the others are with a device that did not answer.
const FUNCTIONS: usize = 8;

/// How many of them aborts leave to resets. A question leaves all others: none is asked as long as
/// the device has any.
const FOR_RESETS: usize = 4;
const FOR_LADDER: usize = FUNCTIONS - 1;

/// How many seconds a device that is being removed gets, and one that is asked a question.
const REMOVAL_SECONDS: u32 = 2;
const QUESTION_SECONDS: u32 = 2;

type Token = BoxedFrame<ControlRequest, ControlResponse, Arc<Waiter>>;

/// The control queue.
pub(crate) struct ControlQueue {
    pub(crate) order: Order,
    pub(crate) recovery: Arc<Recovery>,
}

/// What the queue's lock protects beside the ring.
pub(crate) struct Idle {
    /// The functions that are not on their way.
    tokens: KVec<Token>,
    /// Which rungs of the ladder the device has not answered, since it answered anything.
    silent: u8,
}

/// The bit of a function's rung.
fn rung(function: Function) -> u8 {
    match function {
        Function::AbortTask(_) => 1,
        Function::ResetUnit => 2,
        Function::ResetNexus => 4,
        // None: it is not asked as long as the device has any other.
        Function::QueryTask(_) => 0,
    }
}

impl Idle {
    /// Allocates the functions.
    pub(crate) fn new() -> Result<Self> {
        let mut tokens = KVec::with_capacity(FUNCTIONS, GFP_KERNEL)?;

        for _ in 0..FUNCTIONS {
            let waiter = Waiter::new()?;

            tokens.push(
                Token::new(ControlRequest::default(), wire::RESPONSE_NONE, waiter)?,
                GFP_KERNEL,
            )?;
        }
        Ok(Self { tokens, silent: 0 })
    }

    /// Takes one whose last answer was read.
    ///
    /// Fails at once if the device is known to be silent: with many commands in flight, each would
    /// wait in vain for as long as the first, one after the other.
    fn take(&mut self, function: Function) -> Result<Token> {
        let left = match function {
            Function::QueryTask(_) => FOR_LADDER,
            Function::AbortTask(_) => FOR_RESETS,
            _ => 0,
        };
        let free = |token: &Token| token.data().is_free();

        if self.silent & rung(function) != 0 {
            return Err(ETIMEDOUT);
        }
        if self.tokens.iter().filter(|token| free(token)).count() <= left {
            return Err(EBUSY);
        }
        let at = self.tokens.iter().position(free).ok_or(EBUSY)?;
        self.tokens.remove(at).map_err(|_| EBUSY)
    }

    /// Whether the function that this one waited for has come back.
    fn has(&self, waiter: &Arc<Waiter>) -> bool {
        self.tokens
            .iter()
            .any(|token| Arc::ptr_eq(token.data(), waiter))
    }

    fn put(&mut self, token: Token) {
        // There is room for all that were made.
        let _ = self.tokens.push_within_capacity(token);
    }
}

/// Has the device perform `function`, and waits for it, for the parameter's time at most. May
/// sleep.
///
/// Fails with [`EIO`] if the device says no, with [`ETIMEDOUT`] if it does not answer, or has not
/// answered the last one of the kind, with [`EBUSY`] if it still has too many, with [`ENODEV`] if
/// it is gone.
pub(crate) fn run(
    queue: &Queue<ControlQueue>,
    function: Function,
    address: Address,
    removing: bool,
) -> Result {
    let seconds = match removing {
        true => REMOVAL_SECONDS,
        false => params::TMF_TIMEOUT.get().clamp(1, 3600),
    };

    match perform(queue, function, address, seconds)? {
        answer if wire::function_succeeded(answer) => Ok(()),
        _ => Err(EIO),
    }
}

/// Asks the device whether it has the command with this tag; `None` if it does not say. May sleep,
/// but not for long. Fails as [`run`].
pub(crate) fn is_in_task_set(
    queue: &Queue<ControlQueue>,
    tag: u32,
    address: Address,
) -> Result<Option<bool>> {
    perform(
        queue,
        Function::QueryTask(tag.into()),
        address,
        QUESTION_SECONDS,
    )
    .map(wire::is_in_task_set)
}

/// Has the device perform `function`, and returns its answer.
fn perform(
    queue: &Queue<ControlQueue>,
    function: Function,
    address: Address,
    seconds: u32,
) -> Result<ControlResponse> {
    let mut guard = queue.lock();
    let mut token = guard.state().take(function)?;
    let waiter = token.data().clone();

    waiter.prepare();
    token.frame().set(
        ControlRequest::new(queue.handler().order, function, address),
        wire::RESPONSE_NONE,
        size_of::<ControlResponse>(),
        Content::None,
    );
    if let Err((token, e)) = guard.ring.add(token) {
        guard.state().put(token);
        return Err(e);
    }
    // The queue's lock is held: the answer cannot be there yet.
    waiter.begin();
    Queue::kick(guard);
    let (answer, in_time) = waiter.wait(seconds, || drain(queue));
    match answer {
        Some(answer) => Ok(answer),
        // It came back with the reset of the device.
        None if in_time => Err(ENODEV),
        None => {
            let mut guard = queue.lock();

            // Unless the device was just reset, and has given it back.
            if !guard.state().has(&waiter) {
                guard.state().silent |= rung(function);
            }
            Err(ETIMEDOUT)
        }
    }
}

/// Takes what the device has used.
fn drain(queue: &Queue<ControlQueue>) {
    let mut guard = queue.lock();

    while let Some((mut token, _)) = guard.ring.get_buf() {
        let response = token.frame().footer();

        token.data().tell(response);
        guard.state().silent = 0;
        guard.state().put(token);
    }
    let broken = guard.ring.is_broken();
    drop(guard);
    if broken {
        queue.handler().recovery.suspect();
    }
}

impl Handler for ControlQueue {
    type Token = Token;
    type State = Idle;

    fn used(queue: ArcBorrow<'_, Queue<Self>>) {
        loop {
            queue.lock().ring.disable_cb();
            drain(&queue);
            if queue.lock().ring.enable_cb() {
                break;
            }
        }
    }

    fn cancelled(queue: &Queue<Self>, token: Token) {
        token.data().give_up();
        let mut guard = queue.lock();

        guard.state().silent = 0;
        guard.state().put(token);
    }
}
