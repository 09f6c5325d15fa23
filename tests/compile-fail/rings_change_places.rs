// SPDX-License-Identifier: GPL-2.0

//! Two rings that change places: each would outlive its virtqueue.
//~ ERROR cannot borrow data in dereference of `QueueGuard<'_, H>` as mutable

#![forbid(unsafe_code)]

use storage::virtio::{
    buffer::WritableBuffer,
    queue::{
        Handler,
        Queue, //
    },
};

/// Swaps the rings of two devices.
pub fn swap<H: Handler<Token = WritableBuffer>>(a: &Queue<H>, b: &Queue<H>) {
    let (mut a, mut b) = (a.lock(), b.lock());

    core::mem::swap(&mut a.ring, &mut b.ring);
}
