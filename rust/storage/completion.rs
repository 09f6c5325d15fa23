// SPDX-License-Identifier: GPL-2.0

//! Completions that are waited for with an end, and that can be used again.
//!
//! `kernel::sync::Completion` has neither yet.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use crate::bindings;
use kernel::{
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

/// A C `struct completion`.
#[pin_data]
pub struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A completion may be used from any task.
unsafe impl Send for Completion {}
// SAFETY: It has a lock of its own.
unsafe impl Sync for Completion {}

impl Completion {
    /// A completion that is not done.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid for writes.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Lets one waiter, now or later, go on. Any context.
    pub fn complete(&self) {
        // SAFETY: The completion is valid.
        unsafe { bindings::complete(self.inner.get()) };
    }

    /// Waits for [`Self::complete`], for `timeout` at most; `false` if the time was over. Sleeps.
    pub fn wait(&self, timeout: Jiffies) -> bool {
        // SAFETY: The completion is valid.
        unsafe { bindings::wait_for_completion_timeout(self.inner.get(), timeout) != 0 }
    }

    /// Forgets a [`Self::complete`] that nobody waited for. Any context.
    pub fn forget(&self) {
        // SAFETY: The completion is valid.
        unsafe { bindings::try_wait_for_completion(self.inner.get()) };
    }
}
