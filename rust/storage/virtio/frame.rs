// SPDX-License-Identifier: GPL-2.0

//! Frames: the header and the footer around a command's data, and the types that may lie in them.

use super::{
    chain::Chain,
    config::Field, //
};
use crate::{
    bindings,
    scatterlist::{
        Segment,
        SgTable, //
    },
};
use core::{
    marker::PhantomPinned,
    mem::MaybeUninit,
    pin::Pin, //
};
use kernel::prelude::*;

/// Plain data that a device may read: every byte of it is initialized.
///
/// # Safety
///
/// The type must be `repr(C)` or primitive, without padding.
pub unsafe trait DeviceReadable: Send {}

/// Plain data that a device may write: valid for any bytes.
///
/// # Safety
///
/// The type must be `repr(C)` or primitive, and valid for every bit pattern.
pub unsafe trait DeviceWritable: Copy + Send {}

/// A field of a wire structure: an unsigned integer, or some bytes.
pub trait WireField: Copy + private::Sealed {}

mod private {
    pub trait Sealed {}
    impl<T: super::Field> Sealed for T {}
    impl<const N: usize> Sealed for [u8; N] {}
}

impl<T: Field> WireField for T {}
impl<const N: usize> WireField for [u8; N] {}

// SAFETY: An integer has no padding.
unsafe impl DeviceReadable for u8 {}
// SAFETY: An integer is valid for every bit pattern.
unsafe impl DeviceWritable for u8 {}

/// For [`device_readable!`]: what is on the wire, byte by byte, for tests.
#[doc(hidden)]
pub use kernel::transmute::AsBytes;

/// The size of a field. For the macros below: who uses them may have another `::core`.
#[doc(hidden)]
pub const fn field_size<T: WireField>() -> usize {
    size_of::<T>()
}

/// Does not compile if fields of the size `fields` in all do not fill `S`. See [`field_size`].
#[doc(hidden)]
pub const fn assert_filled<S>(fields: usize) {
    assert!(fields == size_of::<S>());
}

/// Declares a `repr(C)` wire structure of unsigned integers and bytes that a device may read.
///
/// The sizes of the fields must add up to the size of the structure, which is checked when the
/// code is compiled. Fields take no attributes but documentation: one that `cfg` removes would
/// still be counted, in place of padding.
#[macro_export]
macro_rules! device_readable {
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident {
            $($(#[doc = $doc:literal])* $field_vis:vis $field:ident : $ty:ty),* $(,)?
        }
    ) => {
        $(#[$attr])*
        #[repr(C)]
        $vis struct $name {
            $($(#[doc = $doc])* $field_vis $field: $ty),*
        }

        const _: () = $crate::virtio::frame::assert_filled::<$name>(
            0 $(+ $crate::virtio::frame::field_size::<$ty>())*
        );

        // SAFETY: The structure is `repr(C)`, of integers and bytes, and its fields fill it.
        unsafe impl $crate::virtio::frame::DeviceReadable for $name {}
        // SAFETY: As above: every byte is initialized, and none can change behind a reference.
        unsafe impl $crate::virtio::frame::AsBytes for $name {}
    };
}

/// Declares a `repr(C)` wire structure of unsigned integers and bytes that a device may write.
#[macro_export]
macro_rules! device_writable {
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident {
            $($(#[doc = $doc:literal])* $field_vis:vis $field:ident : $ty:ty),* $(,)?
        }
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy)]
        #[repr(C)]
        $vis struct $name {
            $($(#[doc = $doc])* $field_vis $field: $ty),*
        }

        const _: () = $crate::virtio::frame::assert_filled::<$name>(
            0 $(+ $crate::virtio::frame::field_size::<$ty>())*
        );

        // SAFETY: The structure is `repr(C)`, of integers and bytes, which are valid for any bits.
        unsafe impl $crate::virtio::frame::DeviceWritable for $name {}
    };
}

// SAFETY: There is no byte.
unsafe impl DeviceReadable for () {}
// SAFETY: Bytes are valid for every bit pattern.
unsafe impl<const N: usize> DeviceWritable for [u8; N] {}

/// What lies between the header and the footer of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Nothing.
    None,
    /// The data of the request or bio.
    Data,
    /// The payload of the [`Envelope`].
    Payload,
}

/// What a device writes, in cache lines of its own where DMA is not coherent: else a line that the
/// CPU wrote to meanwhile could overwrite it.
///
/// C counterpart: `__dma_from_device_group_begin()`. No alignment, which memory behind a request
/// does not have, but distance.
#[repr(C)]
struct Apart<F> {
    before: MaybeUninit<[u8; bindings::DMA_DISTANCE]>,
    footer: F,
    after: MaybeUninit<[u8; bindings::DMA_DISTANCE]>,
}

/// See [`Envelope::verdict`].
const NO_VERDICT: u8 = 0xff;

/// The frame of a command: a header that the device reads and a footer that it writes; the
/// content, if any, lies between them in the descriptor chain. That may be a payload, which the
/// device reads: the frame has room for one `P`, more of them are allocated.
///
/// It is pinned, and its memory is looked up once, when it is made, not for each command.
#[pin_data]
pub struct Envelope<H: DeviceReadable, F: DeviceWritable, P: DeviceReadable = ()> {
    header: H,
    apart: Apart<F>,
    payload: P,
    more: KVec<P>,
    content: Content,
    /// See `Token::set_order()`.
    order: usize,
    verdict: u8,
    header_segment: Segment,
    footer_segment: Segment,
    payload_segment: Segment,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The raw page pointers are addresses for the device, never followed by the CPU.
unsafe impl<H: DeviceReadable, F: DeviceWritable, P: DeviceReadable> Send for Envelope<H, F, P> {}
// SAFETY: Through a shared reference, an envelope can only be read.
unsafe impl<H: DeviceReadable, F: DeviceWritable, P: DeviceReadable> Sync for Envelope<H, F, P> {}

impl<H: DeviceReadable, F: DeviceWritable, P: DeviceReadable> Envelope<H, F, P> {
    /// Makes an envelope in place.
    ///
    /// The place must be in the kernel's linear mapping: a `KBox` or a request's private data. A
    /// `VBox` or a stack would need a mapping of its own; so this is for the abstractions only.
    pub(crate) fn new(header: H, footer: F, payload: P) -> impl PinInit<Self, Error> {
        let init = move |slot: *mut Self| {
            // SAFETY: `slot` is valid for writes, and it lies in memory of `kmalloc()` or of a
            // blk-mq request, see above.
            unsafe {
                let h = &raw mut (*slot).header;
                let f = &raw mut (*slot).apart.footer;
                let p = &raw mut (*slot).payload;
                h.write(header);
                f.write(footer);
                p.write(payload);
                (&raw mut (*slot).more).write(KVec::new());
                (&raw mut (*slot).content).write(Content::None);
                (&raw mut (*slot).order).write(0);
                (&raw mut (*slot).verdict).write(NO_VERDICT);
                (&raw mut (*slot).header_segment).write(Segment::new(h.cast(), size_of::<H>()));
                (&raw mut (*slot).footer_segment).write(Segment::new(f.cast(), size_of::<F>()));
                (&raw mut (*slot).payload_segment).write(Segment::new(p.cast(), size_of::<P>()));
            }
            Ok(())
        };

        // SAFETY: All fields are initialized (`_pin` has no size, and the space around the footer
        // needs no value), and `Ok` is returned only then.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// Sets the header, and the footer to `footer`: a value that only the device can replace by a
    /// success. The device gets the last `written` bytes of it, and `content` between the two.
    #[inline]
    pub fn set(self: Pin<&mut Self>, header: H, footer: F, written: usize, content: Content) {
        // SAFETY: Nothing is moved; the fields are not structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };
        let segment = &mut this.footer_segment;
        let len = written.min(size_of::<F>()) as u32;

        this.header = header;
        this.apart.footer = footer;
        this.content = content;
        this.verdict = NO_VERDICT;
        // Its end stays where it is.
        segment.offset = segment.offset + segment.len - len;
        segment.len = len;
    }

    /// Sets a payload of one item.
    #[inline]
    pub fn set_payload(self: Pin<&mut Self>, payload: P) {
        // SAFETY: Nothing is moved; neither field is structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };

        this.payload = payload;
        // Those of a command that was cancelled, say.
        this.more.clear();
    }

    /// Sets a payload of several items, until [`Self::clear_payload`]. In memory that can not
    /// sleep: [`ENOMEM`] is to be expected, and to be tried again.
    pub fn set_payloads(self: Pin<&mut Self>, payloads: impl Iterator<Item = P>) -> Result {
        // SAFETY: Nothing is moved; `more` is not structurally pinned.
        let more = unsafe { &mut self.get_unchecked_mut().more };

        more.clear();
        for payload in payloads {
            more.push(payload, GFP_ATOMIC | __GFP_NOWARN)?;
        }
        Ok(())
    }

    /// Forgets a payload of several items. Any context.
    #[inline]
    pub fn clear_payload(self: Pin<&mut Self>) {
        // SAFETY: Nothing is moved; `more` is not structurally pinned.
        let more = unsafe { &mut self.get_unchecked_mut().more };

        if more.capacity() != 0 {
            *more = KVec::new();
        }
    }

    /// The header, to be written in place; the device gets its first `len` bytes.
    #[inline]
    pub fn header_mut(self: Pin<&mut Self>, len: usize) -> &mut H {
        // SAFETY: Nothing is moved; `header` is not structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };

        this.header_segment.len = len.min(size_of::<H>()) as u32;
        &mut this.header
    }

    /// The footer, to be set to what only the device can replace by a success.
    #[inline]
    pub fn footer_mut(self: Pin<&mut Self>) -> &mut F {
        // SAFETY: Nothing is moved; the footer is not structurally pinned.
        unsafe { &mut self.get_unchecked_mut().apart.footer }
    }

    /// The part of the footer at byte `offset`, see [`Self::footer`]; `None` if it is not all
    /// inside, or not aligned.
    #[inline]
    pub fn footer_part<T: DeviceWritable>(&self, offset: usize) -> Option<T> {
        if align_of::<T>() > align_of::<F>()
            || offset % align_of::<T>() != 0
            || offset.checked_add(size_of::<T>())? > size_of::<F>()
        {
            return None;
        }
        let part = (&raw const self.apart.footer)
            .cast::<u8>()
            .wrapping_add(offset);
        // SAFETY: As in `footer()`; the part lies in the footer, and is aligned.
        Some(unsafe { part.cast::<T>().read_volatile() })
    }

    /// Remembers what the driver makes of the footer, in a byte that no device can change: a
    /// hostile one may write to the footer again.
    #[inline]
    pub fn set_verdict(self: Pin<&mut Self>, verdict: u8) {
        // SAFETY: Nothing is moved; the verdict is not structurally pinned.
        unsafe { self.get_unchecked_mut() }.verdict = verdict;
    }

    /// What [`Self::set_verdict`] set since [`Self::set`]; 0xff if nothing.
    #[inline]
    pub fn verdict(&self) -> u8 {
        self.verdict
    }

    /// What the device wrote, once the command has come back.
    #[inline]
    pub fn footer(&self) -> F {
        // SAFETY: The reference is valid; volatile, since a device wrote it. A hostile one may
        // still write: `F` is valid for any bytes.
        unsafe { (&raw const self.apart.footer).read_volatile() }
    }

    /// Lists a command: the frame and its payload or `data`, which the device reads if it moves
    /// `outward`, else writes.
    #[inline]
    pub(crate) fn map(
        &self,
        chain: &mut Chain,
        outward: bool,
        data: impl FnOnce(&mut SgTable) -> Result,
    ) -> Result {
        chain.push(self.header_segment)?;
        match self.content {
            Content::Data if outward => {
                data(chain.table())?;
                chain.end_readable();
            }
            Content::Data => {
                chain.end_readable();
                data(chain.table())?;
            }
            Content::Payload => {
                chain.push(self.payload())?;
                chain.end_readable();
            }
            Content::None => chain.end_readable(),
        }
        chain.push(self.footer_segment)
    }

    /// See [`Token::set_order`](super::queue::Token::set_order).
    #[inline]
    pub(crate) fn set_order(self: Pin<&mut Self>, order: usize) {
        // SAFETY: Nothing is moved; `order` is not structurally pinned.
        unsafe { self.get_unchecked_mut() }.order = order;
    }

    #[inline]
    pub(crate) fn order(&self) -> usize {
        self.order
    }

    #[inline]
    pub(crate) fn header_segment(&self) -> Segment {
        self.header_segment
    }

    #[inline]
    pub(crate) fn footer_segment(&self) -> Segment {
        self.footer_segment
    }

    fn payload(&self) -> Segment {
        // Items without a size have no memory.
        if self.more.is_empty() || size_of::<P>() == 0 {
            return self.payload_segment;
        }
        // SAFETY: The vector is memory of `kmalloc()`.
        unsafe { Segment::new(self.more.as_ptr().cast(), size_of_val(&*self.more)) }
    }
}
