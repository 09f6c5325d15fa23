// SPDX-License-Identifier: GPL-2.0

//! Task management functions: to ask the device to end commands.
//!
//! Each has a time limit. One that the device never answers stays with it until it is reset; so
//! there is a fixed number of them, made in advance: error handling must not need memory, which
//! may be waiting for this very disk.

use crate::{
    params,
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
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow, //
    },
    time::msecs_to_jiffies,
};
use storage::{
    completion::Completion,
    virtio::{
        buffer::BoxedFrame,
        frame::Content,
        queue::{
            Handler,
            Queue, //
        },
    },
};

/// How many functions there are. Three can be on their way at once: an abort, a reset by the error
/// handler and one by an ioctl.
const FUNCTIONS: usize = 8;

/// How many seconds a device that is being removed gets.
const REMOVAL_SECONDS: u32 = 2;

/// No response code: these are bytes.
const NO_ANSWER: u32 = 0x100;

/// Who waits for an answer.
#[pin_data]
pub(crate) struct Waiter {
    /// The response code, or `NO_ANSWER`.
    answer: Atomic<u32>,
    /// Somebody waits, or has not read the answer yet: the function is not to be used again.
    awaited: Atomic<bool>,
    #[pin]
    completion: Completion,
}

type Token = BoxedFrame<ControlRequest, ControlResponse, Arc<Waiter>>;

/// The control queue.
pub(crate) struct ControlQueue {
    pub(crate) order: Order,
}

/// What the queue's lock protects beside the ring: the functions that are not on their way.
#[derive(Default)]
pub(crate) struct Idle(KVec<Token>);

impl Idle {
    /// Allocates the functions.
    pub(crate) fn new() -> Result<Self> {
        let mut idle = KVec::with_capacity(FUNCTIONS, GFP_KERNEL)?;

        for _ in 0..FUNCTIONS {
            let waiter = Arc::pin_init(
                pin_init!(Waiter {
                    answer: Atomic::new(NO_ANSWER),
                    awaited: Atomic::new(false),
                    completion <- Completion::new(),
                }),
                GFP_KERNEL,
            )?;
            idle.push(
                Token::new(ControlRequest::default(), wire::RESPONSE_NONE, waiter)?,
                GFP_KERNEL,
            )?;
        }
        Ok(Self(idle))
    }

    /// Takes one whose last answer was read.
    fn take(&mut self) -> Option<Token> {
        let free = |token: &Token| !token.data().awaited.load(Acquire);
        let at = self.0.iter().position(free)?;

        self.0.remove(at).ok()
    }

    fn put(&mut self, token: Token) {
        // There is room for all that were made.
        let _ = self.0.push_within_capacity(token);
    }
}

/// Has the device perform `function`, and waits for it, for the parameter's time at most. Fails
/// with [`EIO`] if it says no, and as [`ask`] does. May sleep.
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
    let response = ask(queue, function, address, seconds)?;

    match wire::function_succeeded(response) {
        true => Ok(()),
        false => Err(EIO),
    }
}

/// The same, and returns what the device says. May sleep, for so many seconds at most.
///
/// Fails with [`ETIMEDOUT`] if the device does not answer, with [`EBUSY`] if it still has all
/// functions, with [`ENODEV`] if it is gone.
pub(crate) fn ask(
    queue: &Queue<ControlQueue>,
    function: Function,
    address: Address,
    seconds: u32,
) -> Result<ControlResponse> {
    let mut guard = queue.lock();
    let mut token = guard.state().take().ok_or(EBUSY)?;
    let waiter = token.data().clone();

    waiter.answer.store(NO_ANSWER, Relaxed);
    waiter.completion.forget();
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
    waiter.awaited.store(true, Relaxed);
    Queue::kick(guard);

    if !waiter.completion.wait(msecs_to_jiffies(seconds * 1000)) {
        // The interrupt may have been lost, not the answer.
        drain(queue);
    }
    let answer = waiter.answer.load(Acquire);
    waiter.awaited.store(false, Release);
    ControlResponse::try_from(answer).map_err(|_| ETIMEDOUT)
}

/// Takes what the device has used.
fn drain(queue: &Queue<ControlQueue>) {
    let mut guard = queue.lock();

    while let Some((mut token, _)) = guard.ring.get_buf() {
        let response = token.frame().footer();
        let waiter = token.data();

        waiter.answer.store(response.into(), Release);
        waiter.completion.complete();
        guard.state().put(token);
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
        token.data().completion.complete();
        queue.lock().state().put(token);
    }
}
