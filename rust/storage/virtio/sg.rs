// SPDX-License-Identifier: GPL-2.0

//! Scatterlists for virtqueues, and the header and footer that frame a command's data.
//!
//! A virtqueue copies a scatterlist into descriptors at once and never looks at it again. So there
//! is one table for each queue, used under the queue's lock: no table for each request, nothing to
//! allocate, and the same few cache lines for every I/O.

use super::config::Field;
use crate::bindings;
use core::{
    marker::PhantomPinned,
    pin::Pin, //
};
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

/// Flag of `scatterlist::page_link`: the last entry of a list.
const SG_END: usize = 0x2;

/// Flag of `scatterlist::page_link`: no entry, but the address where the list goes on.
const SG_CHAIN: usize = 0x1;

/// A stretch of memory that the device reads or writes, as a scatterlist entry holds it.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) page: *mut bindings::page,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Segment {
    /// # Safety
    ///
    /// `ptr` must lie in the kernel's linear mapping, as all memory of `kmalloc()` and of blk-mq
    /// requests does.
    pub(crate) unsafe fn new(ptr: *const u8, len: usize) -> Self {
        Self {
            // SAFETY: By this function's safety requirements.
            page: unsafe { bindings::storage_virt_to_page(ptr.cast()) },
            offset: (ptr as usize % kernel::page::PAGE_SIZE) as u32,
            len: len as u32,
        }
    }
}

/// The scatterlist of a queue: filled for one command, then added to the ring.
///
/// The entries that the device reads come first, then those that it writes.
pub struct SgTable {
    entries: KVVec<bindings::scatterlist>,
    used: usize,
    readable: usize,
}

// SAFETY: The pointers in the entries are dead once `add()` returned.
unsafe impl Send for SgTable {}

impl SgTable {
    pub(crate) fn new(capacity: usize) -> Result<Self> {
        let mut entries = KVVec::with_capacity(capacity, GFP_KERNEL)?;
        for _ in 0..capacity {
            entries.push(bindings::scatterlist::default(), GFP_KERNEL)?;
        }
        Ok(Self {
            entries,
            used: 0,
            readable: 0,
        })
    }

    pub(crate) const fn empty() -> Self {
        Self {
            entries: KVVec::new(),
            used: 0,
            readable: 0,
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.readable = 0;
    }

    /// Appends an entry; fails with [`ENOBUFS`] if the table is full.
    #[inline]
    pub(crate) fn push(&mut self, seg: Segment) -> Result {
        let entry = self.entries.get_mut(self.used).ok_or(ENOBUFS)?;

        entry.page_link = seg.page as usize;
        entry.offset = seg.offset;
        entry.length = seg.len;
        self.used += 1;
        Ok(())
    }

    /// Appends a copy of an entry of another list.
    #[inline]
    pub(crate) fn push_entry(&mut self, sg: &bindings::scatterlist) -> Result {
        self.push(Segment {
            page: (sg.page_link & !(SG_CHAIN | SG_END)) as *mut bindings::page,
            offset: sg.offset,
            len: sg.length,
        })
    }

    /// Lets the list go on, after an entry at least, with another one, to whose end it then goes:
    /// what is appended next must begin the writable entries.
    ///
    /// # Safety
    ///
    /// `list` must be a list with an end that stays valid until the table is added.
    #[inline]
    pub(crate) unsafe fn push_list(&mut self, list: *mut bindings::scatterlist) -> Result {
        let entry = self.entries.get_mut(self.used).ok_or(ENOBUFS)?;

        entry.page_link = list as usize | SG_CHAIN;
        entry.offset = 0;
        entry.length = 0;
        self.used += 1;
        Ok(())
    }

    /// Ends the list at entry `i`, unless it goes on in another one, which has its own end.
    #[inline]
    fn end_at(&mut self, i: usize) {
        let link = &mut self.entries[i].page_link;

        if *link & SG_CHAIN == 0 {
            *link |= SG_END;
        }
    }

    /// The entries that are still free, to be filled by C code that ends the list itself.
    #[inline]
    pub(crate) fn spare(&mut self) -> &mut [bindings::scatterlist] {
        &mut self.entries[self.used..]
    }

    /// Accounts for `n` entries that were written into [`Self::spare`].
    #[inline]
    pub(crate) fn commit(&mut self, n: usize) {
        self.used = (self.used + n).min(self.entries.len());
        // The next entry continues the list.
        if let Some(last) = self.used.checked_sub(1) {
            self.entries[last].page_link &= !SG_END;
        }
    }

    /// All entries so far are read by the device; those that follow are written by it.
    #[inline]
    pub(crate) fn end_readable(&mut self) {
        self.readable = self.used;
    }

    /// The readable and the writable list in the form of `virtqueue_add_sgs()`, with the count of
    /// each (0 or 1). The lists are valid until the table is changed.
    #[inline]
    pub(crate) fn lists(&mut self) -> ([*mut bindings::scatterlist; 2], u32, u32) {
        let (readable, used) = (self.readable, self.used);
        let base = self.entries.as_mut_ptr();
        let mut lists = [core::ptr::null_mut(); 2];
        let mut n = 0;

        if readable > 0 {
            self.end_at(readable - 1);
            lists[n] = base;
            n += 1;
        }
        if used > readable {
            self.end_at(used - 1);
            lists[n] = base.wrapping_add(readable);
        }
        (lists, n as u32, u32::from(used > readable))
    }
}

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

/// Declares a `repr(C)` wire structure of unsigned integers and bytes that a device may read.
///
/// The sizes of the fields must add up to the size of the structure, which is checked when the
/// code is compiled.
#[macro_export]
macro_rules! device_readable {
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_attr:meta])* $field_vis:vis $field:ident : $ty:ty),* $(,)?
        }
    ) => {
        $(#[$attr])*
        #[repr(C)]
        $vis struct $name {
            $($(#[$field_attr])* $field_vis $field: $ty),*
        }

        const _: () = {
            const fn plain<T: $crate::virtio::sg::WireField>() -> usize {
                ::core::mem::size_of::<T>()
            }
            ::core::assert!(0 $(+ plain::<$ty>())* == ::core::mem::size_of::<$name>());
        };

        // SAFETY: The structure is `repr(C)`, of integers and bytes, and its fields fill it.
        unsafe impl $crate::virtio::sg::DeviceReadable for $name {}
    };
}

/// Declares a `repr(C)` wire structure of unsigned integers and bytes that a device may write.
#[macro_export]
macro_rules! device_writable {
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_attr:meta])* $field_vis:vis $field:ident : $ty:ty),* $(,)?
        }
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy)]
        #[repr(C)]
        $vis struct $name {
            $($(#[$field_attr])* $field_vis $field: $ty),*
        }

        const _: () = {
            const fn plain<T: $crate::virtio::sg::WireField>() -> usize {
                ::core::mem::size_of::<T>()
            }
            ::core::assert!(0 $(+ plain::<$ty>())* == ::core::mem::size_of::<$name>());
        };

        // SAFETY: The structure is `repr(C)`, of integers and bytes, which are valid for any bits.
        unsafe impl $crate::virtio::sg::DeviceWritable for $name {}
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

/// The frame of a command: a header that the device reads and a footer that it writes; the
/// content, if any, lies between them in the descriptor chain. That may be a payload, which the
/// device reads: the frame has room for one `P`, more of them are allocated.
///
/// It is pinned, and its memory is looked up once, when it is made, not for each command.
#[pin_data]
pub struct Envelope<H: DeviceReadable, F: DeviceWritable, P: DeviceReadable = ()> {
    header: H,
    footer: F,
    payload: P,
    more: KVec<P>,
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
                let f = &raw mut (*slot).footer;
                let p = &raw mut (*slot).payload;
                h.write(header);
                f.write(footer);
                p.write(payload);
                (&raw mut (*slot).more).write(KVec::new());
                (&raw mut (*slot).header_segment).write(Segment::new(h.cast(), size_of::<H>()));
                (&raw mut (*slot).footer_segment).write(Segment::new(f.cast(), size_of::<F>()));
                (&raw mut (*slot).payload_segment).write(Segment::new(p.cast(), size_of::<P>()));
            }
            Ok(())
        };

        // SAFETY: All fields are initialized (`_pin` has no size), and `Ok` is returned only then.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// Sets the header, and the footer to `footer`: a value that only the device can replace by a
    /// success. The device gets the last `written` bytes of it.
    #[inline]
    pub fn set(self: Pin<&mut Self>, header: H, footer: F, written: usize) {
        // SAFETY: Nothing is moved; the fields are not structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };
        let segment = &mut this.footer_segment;
        let len = written.min(size_of::<F>()) as u32;

        this.header = header;
        this.footer = footer;
        // Its end stays where it is.
        segment.offset = segment.offset + segment.len - len;
        segment.len = len;
    }

    /// Sets a payload of one item.
    #[inline]
    pub fn set_payload(self: Pin<&mut Self>, payload: P) {
        // SAFETY: Nothing is moved; `payload` is not structurally pinned.
        unsafe { self.get_unchecked_mut() }.payload = payload;
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
        // SAFETY: Nothing is moved; `footer` is not structurally pinned.
        unsafe { &mut self.get_unchecked_mut().footer }
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
        let part = (&raw const self.footer).cast::<u8>().wrapping_add(offset);
        // SAFETY: As in `footer()`; the part lies in the footer, and is aligned.
        Some(unsafe { part.cast::<T>().read_volatile() })
    }

    /// Overwrites the footer, for example to remember that a completion was bad.
    #[inline]
    pub fn set_footer(self: Pin<&mut Self>, footer: F) {
        // SAFETY: Nothing is moved; `footer` is not structurally pinned.
        unsafe { self.get_unchecked_mut() }.footer = footer;
    }

    /// What the device wrote, once the command has come back.
    #[inline]
    pub fn footer(&self) -> F {
        // SAFETY: The reference is valid; volatile, since a device wrote it. A hostile one may
        // still write: `F` is valid for any bytes.
        unsafe { (&raw const self.footer).read_volatile() }
    }

    /// Lists a command: the frame and its payload or `data`, which the device reads if it moves
    /// `outward`, else writes.
    #[inline]
    pub(crate) fn map(
        &self,
        table: &mut SgTable,
        content: Content,
        outward: bool,
        data: impl FnOnce(&mut SgTable) -> Result,
    ) -> Result {
        table.push(self.header_segment)?;
        match content {
            Content::Data if outward => {
                data(table)?;
                table.end_readable();
            }
            Content::Data => {
                table.end_readable();
                data(table)?;
            }
            Content::Payload => {
                table.push(self.payload())?;
                table.end_readable();
            }
            Content::None => table.end_readable(),
        }
        table.push(self.footer_segment)
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
        if self.more.is_empty() {
            return self.payload_segment;
        }
        // SAFETY: The vector is memory of `kmalloc()`.
        unsafe { Segment::new(self.more.as_ptr().cast(), size_of_val(&*self.more)) }
    }
}
