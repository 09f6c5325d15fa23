// SPDX-License-Identifier: GPL-2.0

//! To wait for the answer to something that the driver itself asks the device, but not for ever.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::msecs_to_jiffies,
};
use storage::completion::Completion;

/// No response code: these are bytes.
const NO_ANSWER: u32 = 0x100;

/// Who waits for an answer: a response code.
#[pin_data]
pub(crate) struct Waiter {
    /// The response code, or `NO_ANSWER`.
    answer: Atomic<u32>,
    /// Somebody waits, or has not read the answer yet: the question is not to be used again.
    awaited: Atomic<bool>,
    #[pin]
    completion: Completion,
}

impl Waiter {
    /// Allocates one. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                answer: Atomic::new(NO_ANSWER),
                awaited: Atomic::new(false),
                completion <- Completion::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_free(&self) -> bool {
        !self.awaited.load(Acquire)
    }

    /// Forgets the last answer. To be called before the question can be answered.
    pub(crate) fn prepare(&self) {
        self.answer.store(NO_ANSWER, Relaxed);
        self.completion.forget();
    }

    /// Somebody is going to [wait](Self::wait).
    pub(crate) fn begin(&self) {
        self.awaited.store(true, Relaxed);
    }

    /// This is the answer. Any context.
    pub(crate) fn tell(&self, response: u8) {
        self.answer.store(response.into(), Release);
        self.completion.complete();
    }

    /// There will be none. Any context.
    pub(crate) fn give_up(&self) {
        self.completion.complete();
    }

    /// Waits for the answer, for so many seconds at most; then `look` takes what is there without
    /// an interrupt, which may have been lost. Returns the answer, and whether the wait had an end.
    /// Sleeps.
    pub(crate) fn wait(&self, seconds: u32, look: impl FnOnce()) -> (Option<u8>, bool) {
        let in_time = self.completion.wait(msecs_to_jiffies(seconds * 1000));

        if !in_time {
            look();
        }
        let answer = self.answer.load(Acquire);
        self.awaited.store(false, Release);
        (u8::try_from(answer).ok(), in_time)
    }
}
