// SPDX-License-Identifier: GPL-2.0

//! The simplest token: a buffer that the device fills.

use super::{
    queue::Token,
    sg::{
        Content,
        Segment,
        SgTable, //
    },
};
use core::{
    ffi::c_void,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A buffer that the device writes: of entropy, or of an event, say.
pub struct WritableBuffer(KBox<KVec<u8>>);

impl WritableBuffer {
    /// Allocates a buffer of `len` bytes, all zero. May sleep.
    pub fn new(len: usize) -> Result<Self> {
        Ok(Self(KBox::new(
            KVec::from_elem(0, len, GFP_KERNEL)?,
            GFP_KERNEL,
        )?))
    }

    /// The first bytes, of which the device says that it wrote `used`; not more than there are.
    pub fn written(&self, used: usize) -> &[u8] {
        &self.0[..used.min(self.0.len())]
    }
}

// SAFETY: The buffer is heap memory that the token owns; the pointer is that of the box.
unsafe impl Token for WritableBuffer {
    fn map(&mut self, table: &mut SgTable, _content: Content) -> Result {
        table.end_readable();
        // SAFETY: A `KVec` is memory of `kmalloc()`.
        table.push(unsafe { Segment::new(self.0.as_ptr(), self.0.len()) })
    }

    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: A box is never null.
        unsafe { NonNull::new_unchecked(KBox::into_raw(self.0).cast()) }
    }

    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By this function's safety requirements.
        Self(unsafe { KBox::from_raw(ptr.as_ptr().cast()) })
    }
}
