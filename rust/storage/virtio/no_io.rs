// SPDX-License-Identifier: GPL-2.0

//! Memory without I/O: for who brings a device back.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use crate::bindings;
use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

/// What is allocated by this task needs no I/O, while this lives: it could be that of the device
/// that is being repaired.
pub(super) struct NoIo(c_uint, NotThreadSafe);

impl NoIo {
    pub(super) fn enter() -> Self {
        // SAFETY: Ended by the same task, when the guard is dropped: it is not `Send`.
        let before = unsafe { bindings::storage_memalloc_noio_save() };

        Self(before, NotThreadSafe)
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: As above.
        unsafe { bindings::storage_memalloc_noio_restore(self.0) };
    }
}
