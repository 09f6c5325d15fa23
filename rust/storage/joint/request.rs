// SPDX-License-Identifier: GPL-2.0

//! Requests of blk-mq on virtqueues: the request is the token, its frame is allocated with it.

use crate::{
    bindings,
    block::{
        mq::{
            IdleRequest,
            Operations,
            Request,
            RequestData, //
        },
        Op, //
    },
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
    ffi::c_void,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::prelude::*;

// SAFETY: An envelope is made for the linear mapping.
unsafe impl<H, F, P> RequestData for Envelope<H, F, P>
where
    H: DeviceReadable + Default + Sync,
    F: DeviceWritable + Default + Sync,
    P: DeviceReadable + Default + Sync,
{
    unsafe fn init() -> impl PinInit<Self, Error> {
        Envelope::new(H::default(), F::default(), P::default())
    }
}

// SAFETY: The frame is pinned in the request's private data, and the data belongs to the request
// until it ends. The pointer is that of the request.
unsafe impl<T, H, F, P> Token for Request<T>
where
    T: Operations<RequestData = Envelope<H, F, P>>,
    H: DeviceReadable + Default + Sync,
    F: DeviceWritable + Default + Sync,
    P: DeviceReadable + Default + Sync,
{
    #[inline]
    fn map(&mut self, chain: &mut Chain) -> Result {
        let outward = self.op().is_write();

        // SAFETY: The data is initialized, and owned with the request.
        let envelope = unsafe { &*Self::data_ptr(self.as_raw()) };
        envelope.map(chain, outward, |table| self.map_data(table))
    }

    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: A request is never null.
        unsafe { NonNull::new_unchecked(self.release().cast()) }
    }

    #[inline]
    unsafe fn operation(ptr: NonNull<c_void>) -> u32 {
        // SAFETY: The pointer is that of a request which is ours or lent to a device.
        Op::from_flags(unsafe { (*ptr.as_ptr().cast::<bindings::request>()).cmd_flags }).as_raw()
    }

    #[inline]
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By this function's safety requirements: the request is ours again.
        unsafe { Request::from_raw(ptr.as_ptr().cast()) }
    }

    #[inline]
    fn set_order(&mut self, order: usize) {
        self.data().set_order(order);
    }

    #[inline]
    fn order(&self) -> usize {
        // SAFETY: The data is initialized, and owned with the request.
        unsafe { &*Self::data_ptr(self.as_raw()) }.order()
    }
}

impl<T, H, F, P> IdleRequest<T>
where
    T: Operations<RequestData = Envelope<H, F, P>>,
    H: DeviceReadable + Default + Sync,
    F: DeviceWritable + Default + Sync,
    P: DeviceReadable + Default + Sync,
{
    /// Sets the payload to the ranges of a discard or the like: `item` makes each of first sector
    /// and count of sectors. One range for each bio if the disk takes several in one command.
    ///
    /// Any context; fails with [`ENOMEM`] if memory for several ranges is short.
    pub fn set_ranges(&mut self, item: impl Fn((u64, u64)) -> P) -> Result {
        // SAFETY: The data is initialized and pinned, owned with the request, and not what the
        // ranges borrow.
        let envelope =
            unsafe { Pin::new_unchecked(&mut *Request::<T>::data_ptr(self.request().as_raw())) };
        let mut ranges = self.request().ranges();
        let first = ranges.next().ok_or(EINVAL)?;

        match ranges.next() {
            None => {
                envelope.set_payload(item(first));
                Ok(())
            }
            Some(_) => envelope.set_payloads(self.request().ranges().map(item)),
        }
    }
}
