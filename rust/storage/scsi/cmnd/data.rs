// SPDX-License-Identifier: GPL-2.0

//! A command's data, looked at by who only passes it on: what the kernel believes of it.

use super::{
    is_of_block_layer,
    Command,
    Direction, //
};
use crate::{
    bindings,
    scsi::operations::Operations, //
};

impl<T: Operations> Command<T> {
    /// Fills the data with zeroes if the device is to write it: it may not, and say that it has.
    /// Any context.
    ///
    /// C counterpart: `sg_zero_buffer()`.
    #[cold]
    pub fn clear_data(&mut self) {
        if self.direction() != Direction::FromDevice {
            return;
        }
        let data = &self.raw().sdb;

        // SAFETY: The list has `nents` entries and belongs to the driver.
        unsafe {
            bindings::sg_zero_buffer(data.table.sgl, data.table.nents, data.length as usize, 0)
        };
    }

    /// Four bytes at `offset` of what the device has written, when it has: zeroes for what it has
    /// not, as its residual says, as the mid-layer has it for its own commands. Any context.
    ///
    /// C counterpart: `sg_pcopy_to_buffer()`.
    #[cold]
    pub fn peek(&self, offset: usize) -> [u8; 4] {
        let mut bytes = [0; 4];
        let data = &self.raw().sdb;
        let written = data.length.saturating_sub(self.raw().resid_len) as usize;
        let len = written.saturating_sub(offset).min(bytes.len());

        if len > 0 && self.direction() == Direction::FromDevice {
            // SAFETY: As in `clear_data()`; the bytes are valid for `len`. An offset within the
            // data is within the type.
            unsafe {
                bindings::sg_pcopy_to_buffer(
                    data.table.sgl,
                    data.table.nents,
                    bytes.as_mut_ptr().cast(),
                    len,
                    offset as isize,
                )
            };
        }
        bytes
    }

    /// Whether the block layer's data was not moved, by the residual, not so much as a block. Of a
    /// success that is none the mid-layer makes another try at once, without an end.
    #[cold]
    pub fn moved_no_block(&self) -> bool {
        let raw = self.raw();
        // SAFETY: The command's device lives as long as it has commands.
        let block = unsafe { (*raw.device).sector_size }.max(1);

        // SAFETY: The command is valid, and was queued.
        let is_io = unsafe { is_of_block_layer(self.as_raw()) };
        is_io && raw.resid_len > raw.sdb.length.saturating_sub(block)
    }
}
