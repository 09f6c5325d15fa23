// SPDX-License-Identifier: GPL-2.0

//! SCSI commands on virtqueues: the command is the token, its frame is allocated with it.

use crate::{
    bindings,
    scsi::{
        cmnd::{
            CommandData,
            Direction, //
        },
        Command,
        Operations,
        SENSE_BUFFER_SIZE, //
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
    ptr::NonNull, //
};
use kernel::prelude::*;

// SAFETY: An envelope is made for the linear mapping.
unsafe impl<H, F> CommandData for Envelope<H, F>
where
    H: DeviceReadable + Default + Sync,
    F: DeviceWritable + Default + Sync,
{
    unsafe fn init() -> impl PinInit<Self, Error> {
        Envelope::new(H::default(), F::default(), ())
    }
}

impl<T, H, F> Command<T>
where
    T: Operations<CommandData = Envelope<H, F>>,
    H: DeviceReadable + Default + Sync,
    F: DeviceWritable + Default + Sync,
{
    /// Takes the sense data: `len` bytes at `offset` of the frame's footer, as far as they lie in
    /// it and as there is room.
    #[cold]
    pub fn take_sense(&mut self, offset: usize, len: usize) {
        let len = len
            .min(size_of::<F>().saturating_sub(offset))
            .min(SENSE_BUFFER_SIZE);

        for i in 0..len {
            let byte = self.data().footer_part::<u8>(offset + i).unwrap_or(0);
            // SAFETY: The sense buffer has `SENSE_BUFFER_SIZE` bytes.
            unsafe { self.sense_buffer().add(i).write(byte) };
        }
    }
}

// SAFETY: The frame is pinned in the command's private data; it and the mid-layer's buffers belong
// to the driver until it gives the command back. The pointer is that of the command.
unsafe impl<T, H, F> Token for Command<T>
where
    T: Operations<CommandData = Envelope<H, F>>,
    H: DeviceReadable + Default + Sync,
    F: DeviceWritable + Default + Sync,
{
    /// The order of virtio-scsi: header, protection, data; footer, protection, data.
    #[inline]
    fn map(&mut self, chain: &mut Chain) -> Result {
        let direction = self.direction();
        let (header, footer) = {
            let envelope = self.data();
            (envelope.header_segment(), envelope.footer_segment())
        };

        chain.push(header)?;
        if direction == Direction::ToDevice {
            self.map_data(chain.table())?;
        }
        chain.end_readable();
        chain.push(footer)?;
        if direction == Direction::FromDevice {
            self.map_data(chain.table())?;
        }
        Ok(())
    }

    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: A command is never null.
        unsafe { NonNull::new_unchecked(self.release().cast()) }
    }

    #[inline]
    unsafe fn operation(ptr: NonNull<c_void>) -> u32 {
        // SAFETY: The pointer is that of a command which is ours or lent to a device.
        unsafe { (*ptr.as_ptr().cast::<bindings::scsi_cmnd>()).cmnd[0].into() }
    }

    #[inline]
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By this function's safety requirements: the command is ours again.
        unsafe { Command::from_raw(ptr.cast()) }
    }

    #[inline]
    fn set_order(&mut self, order: usize) {
        self.data().set_order(order);
    }

    #[inline]
    fn order(&self) -> usize {
        self.shared_data().order()
    }
}
