// SPDX-License-Identifier: GPL-2.0

//! Bios on virtqueues: commands that are made in advance, each of which carries a bio.

use crate::{
    block::bio::Bio,
    virtio::{
        chain::Chain,
        frame::{
            DeviceReadable,
            DeviceWritable,
            Envelope, //
        },
        queue::Token, //
    },
};
use core::{
    alloc::Layout,
    ffi::c_void,
    mem::MaybeUninit,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        allocator::Kmalloc,
        Allocator,
        NumaNode, //
    },
    prelude::*, //
};

/// A preallocated command of a bio: the frame for the device, the bio, and the driver's own data.
/// It is the token of a queue of bios.
#[pin_data]
pub struct BioCommand<H: DeviceReadable, F: DeviceWritable, P: DeviceReadable, D: Send> {
    #[pin]
    envelope: Envelope<H, F, P>,
    bio: Option<Bio>,
    data: D,
}

/// An owned [`BioCommand`].
pub type BoxedCommand<H, F, P, D> = Pin<KBox<BioCommand<H, F, P, D>>>;

impl<H: DeviceReadable, F: DeviceWritable, P: DeviceReadable, D: Send> BioCommand<H, F, P, D> {
    /// Allocates a command, if possible in memory of `node`. May sleep.
    pub fn new(
        header: H,
        footer: F,
        payload: P,
        data: D,
        node: NumaNode,
    ) -> Result<BoxedCommand<H, F, P, D>> {
        let memory = Kmalloc::alloc(Layout::new::<Self>(), GFP_KERNEL, node)?;
        // SAFETY: The memory is new, of the allocator of a `KBox`, and fits.
        let memory = unsafe { KBox::from_raw(memory.as_ptr().cast::<MaybeUninit<Self>>()) };

        memory.write_pin_init(try_pin_init!(Self {
            envelope <- Envelope::new(header, footer, payload),
            bio: None,
            data,
        }? Error))
    }

    /// The frame.
    #[inline]
    pub fn envelope(self: Pin<&mut Self>) -> Pin<&mut Envelope<H, F, P>> {
        // SAFETY: `envelope` is structurally pinned.
        unsafe { self.map_unchecked_mut(|this| &mut this.envelope) }
    }

    /// The bio, and the driver's data.
    #[inline]
    pub fn parts(self: Pin<&mut Self>) -> (&mut Option<Bio>, &mut D) {
        // SAFETY: Neither field is structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };

        (&mut this.bio, &mut this.data)
    }
}

// SAFETY: The frame is pinned in the command's heap memory, and the data belongs to the bio, which
// the command owns. `into_raw()` and `from_raw()` are those of the box.
unsafe impl<H, F, P, D> Token for BoxedCommand<H, F, P, D>
where
    H: DeviceReadable,
    F: DeviceWritable,
    P: DeviceReadable,
    D: Send,
{
    #[inline]
    fn map(&mut self, chain: &mut Chain) -> Result {
        let bio = self.bio.as_ref();
        let outward = bio.is_some_and(|bio| bio.op().is_write());

        self.envelope.map(chain, outward, |table| {
            bio.map_or(Ok(()), |bio| bio.map_data(table))
        })
    }

    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: The content is not moved. A box is never null.
        unsafe { NonNull::new_unchecked(KBox::into_raw(Pin::into_inner_unchecked(self)).cast()) }
    }

    #[inline]
    unsafe fn operation(ptr: NonNull<c_void>) -> u32 {
        // SAFETY: The pointer is that of a command; the device was given nothing of this field.
        let bio = unsafe { &(*ptr.as_ptr().cast::<BioCommand<H, F, P, D>>()).bio };

        bio.as_ref().map_or(0, |bio| bio.op().as_raw())
    }

    #[inline]
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By this function's safety requirements; the content is still pinned.
        unsafe { Pin::new_unchecked(KBox::from_raw(ptr.as_ptr().cast())) }
    }

    #[inline]
    fn set_order(&mut self, order: usize) {
        self.as_mut().envelope().set_order(order);
    }

    #[inline]
    fn order(&self) -> usize {
        self.envelope.order()
    }
}
