// SPDX-License-Identifier: GPL-2.0

//! What a queue finds through its virtqueue's device: the first part of the bus layer's state.

use super::watch::Watch;
use core::ffi::c_void;
use kernel::prelude::*;

/// The first field of what `virtio_device::priv` points to while a virtqueue exists.
#[pin_data]
pub(super) struct Context {
    /// For each virtqueue, by number, its `Queue<H>`; read by interrupts.
    pub(super) table: *const *const c_void,
    #[pin]
    pub(super) watch: Watch,
}
