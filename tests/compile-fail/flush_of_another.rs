// SPDX-License-Identifier: GPL-2.0

//! Who keeps one workqueue flushes another, which may be about to be destroyed.
//~ ERROR no method named `flush` found for reference `&ModuleWorkqueue`

#![forbid(unsafe_code)]

use storage::work::{
    ModuleWorkqueue,
    ModuleWorkqueueGuard, //
};

/// Waits for the work of `other`.
pub fn wait(guard: &ModuleWorkqueueGuard, other: &ModuleWorkqueue) {
    guard.flush();
    other.flush();
}
