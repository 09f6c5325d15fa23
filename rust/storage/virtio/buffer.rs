// SPDX-License-Identifier: GPL-2.0

//! The simplest tokens: a buffer that the device fills, and a frame without data.

use super::{
    chain::Chain,
    frame::{
        DeviceReadable,
        DeviceWritable,
        Envelope, //
    },
    queue::Token, //
};
use crate::scatterlist::Segment;
use core::{
    ffi::c_void,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A buffer that the device writes: of entropy, or of an event, say.
///
/// An allocation of its own: `kmalloc()`, or the DMA layer by a bounce buffer, keeps what the CPU
/// writes out of its cache lines.
pub struct WritableBuffer(KBox<KVec<u8>>);

impl WritableBuffer {
    /// Allocates a buffer of `len` bytes, all zero; [`EINVAL`] if that is none. May sleep.
    pub fn new(len: usize) -> Result<Self> {
        if len == 0 {
            return Err(EINVAL);
        }
        Ok(Self(KBox::new(
            KVec::from_elem(0, len, GFP_KERNEL)?,
            GFP_KERNEL,
        )?))
    }

    /// The first bytes, of which the device says that it wrote `used`; not more than there are.
    pub fn written(&self, used: usize) -> &[u8] {
        &self.0[..used.min(self.0.len())]
    }

    /// All of the buffer, whatever the device says that it wrote.
    pub fn all(&self) -> &[u8] {
        &self.0
    }

    /// Sets all bytes to zero, so that what the device wrote is not taken for new.
    pub fn clear(&mut self) {
        self.0.fill(0);
    }
}

// SAFETY: The buffer is heap memory that the token owns; the pointer is that of the box.
unsafe impl Token for WritableBuffer {
    fn map(&mut self, chain: &mut Chain) -> Result {
        chain.end_readable();
        // SAFETY: A `KVec` that is not empty is memory of `kmalloc()`.
        chain.push(unsafe { Segment::new(self.0.as_ptr(), self.0.len()) })
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

/// A request of the driver itself: a frame without data, and what the driver wants to find again
/// when it comes back.
pub struct BoxedFrame<H: DeviceReadable, F: DeviceWritable, D: Send>(Pin<KBox<Boxed<H, F, D>>>);

#[pin_data]
struct Boxed<H: DeviceReadable, F: DeviceWritable, D: Send> {
    #[pin]
    frame: Envelope<H, F>,
    data: D,
}

impl<H: DeviceReadable, F: DeviceWritable, D: Send> BoxedFrame<H, F, D> {
    /// Allocates a frame. May sleep.
    pub fn new(header: H, footer: F, data: D) -> Result<Self> {
        Ok(Self(KBox::pin_init(
            try_pin_init!(Boxed {
                frame <- Envelope::new(header, footer, ()),
                data,
            }? Error),
            GFP_KERNEL,
        )?))
    }

    /// The frame.
    pub fn frame(&mut self) -> Pin<&mut Envelope<H, F>> {
        self.0.as_mut().project().frame
    }

    /// The driver's data.
    pub fn data(&self) -> &D {
        &self.0.data
    }
}

// SAFETY: The frame is heap memory that the token owns; the pointer is that of the box.
unsafe impl<H: DeviceReadable, F: DeviceWritable, D: Send> Token for BoxedFrame<H, F, D> {
    fn map(&mut self, chain: &mut Chain) -> Result {
        chain.push(self.0.frame.header_segment())?;
        chain.end_readable();
        chain.push(self.0.frame.footer_segment())
    }

    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: Who gets the pointer does not move what it points to. A box is never null.
        unsafe { NonNull::new_unchecked(KBox::into_raw(Pin::into_inner_unchecked(self.0)).cast()) }
    }

    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By this function's safety requirements; it was pinned before.
        Self(unsafe { Pin::new_unchecked(KBox::from_raw(ptr.as_ptr().cast())) })
    }
}
