// SPDX-License-Identifier: GPL-2.0

//! Queue limits: what one I/O to a disk may look like.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use crate::bindings;

/// A builder of `struct queue_limits`. What is not set is the block layer's default.
///
/// The block layer checks the limits when a disk is made of them, and refuses what is impossible;
/// values that come from a device should be checked before, for a message that says more.
#[derive(Clone)]
pub struct LimitsBuilder(bindings::queue_limits);

impl Default for LimitsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitsBuilder {
    /// The block layer's defaults, with I/O accounting and `REQ_NOWAIT`.
    pub fn new() -> Self {
        Self(bindings::queue_limits {
            features: bindings::BLK_FEAT_IO_STAT | bindings::BLK_FEAT_NOWAIT,
            ..Default::default()
        })
    }

    pub(crate) fn as_mut(&mut self) -> &mut bindings::queue_limits {
        &mut self.0
    }

    pub(crate) fn set_feature(
        lim: &mut bindings::queue_limits,
        feature: bindings::blk_features_t,
        on: bool,
    ) {
        if on {
            lim.features |= feature;
        } else {
            lim.features &= !feature;
        }
    }

    /// A disk with seek times, as far as is known.
    pub fn rotational(mut self, on: bool) -> Self {
        Self::set_feature(&mut self.0, bindings::BLK_FEAT_ROTATIONAL, on);
        self
    }

    /// The device has a volatile write cache: flushes and FUA writes reach the driver.
    pub fn write_cache(mut self, on: bool) -> Self {
        Self::set_feature(&mut self.0, bindings::BLK_FEAT_WRITE_CACHE, on);
        self
    }

    /// Segments of one I/O at most.
    pub fn max_segments(mut self, n: u16) -> Self {
        self.0.max_segments = n;
        self
    }

    /// Bytes of one segment at most.
    pub fn max_segment_size(mut self, bytes: u32) -> Self {
        self.0.max_segment_size = bytes;
        self
    }

    /// Sectors of one I/O at most, as far as the device is concerned.
    pub fn max_hw_sectors(mut self, sectors: u32) -> Self {
        self.0.max_hw_sectors = sectors;
        self
    }

    /// The smallest unit in bytes that the device addresses: a power of two from 512.
    pub fn logical_block_size(mut self, bytes: u32) -> Self {
        self.0.logical_block_size = bytes;
        self
    }

    /// The unit in bytes that the device writes atomically, 0 if unknown.
    pub fn physical_block_size(mut self, bytes: u32) -> Self {
        self.0.physical_block_size = bytes;
        self
    }

    /// Offset in bytes of the first physical block that is aligned.
    pub fn alignment_offset(mut self, bytes: u32) -> Self {
        self.0.alignment_offset = bytes;
        self
    }

    /// The smallest I/O in bytes without penalty, 0 if unknown.
    pub fn io_min(mut self, bytes: u32) -> Self {
        self.0.io_min = bytes;
        self
    }

    /// The best size in bytes of a sustained I/O, 0 if unknown.
    pub fn io_opt(mut self, bytes: u32) -> Self {
        self.0.io_opt = bytes;
        self
    }
}
