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

    pub(super) fn is_zoned(&self) -> bool {
        self.0.features & bindings::BLK_FEAT_ZONED != 0
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

    /// The disk can be polled: bios with `REQ_POLLED` reach the driver.
    pub fn poll(mut self, on: bool) -> Self {
        Self::set_feature(&mut self.0, bindings::BLK_FEAT_POLL, on);
        self
    }

    /// Discards: sectors of one range at most (0 for none), ranges of one command at most, and
    /// the granularity in bytes.
    pub fn discard(mut self, max_sectors: u32, max_ranges: u16, granularity: u32) -> Self {
        self.0.max_hw_discard_sectors = max_sectors;
        self.0.max_discard_segments = max_ranges;
        self.0.discard_granularity = granularity;
        self
    }

    /// Sectors of one secure erase at most, 0 for none.
    pub fn max_secure_erase_sectors(mut self, sectors: u32) -> Self {
        self.0.max_secure_erase_sectors = sectors;
        self
    }

    /// Sectors of one write of zeroes at most, 0 for none.
    pub fn max_write_zeroes_sectors(mut self, sectors: u32) -> Self {
        self.0.max_write_zeroes_sectors = sectors;
        self
    }

    /// A disk of zones that must be written in order.
    pub fn zoned(mut self, zones: Zones) -> Self {
        Self::set_feature(&mut self.0, bindings::BLK_FEAT_ZONED, true);
        self.0.chunk_sectors = zones.sectors;
        self.0.max_open_zones = zones.max_open;
        self.0.max_active_zones = zones.max_active;
        self.0.max_hw_zone_append_sectors = zones.max_append_sectors;
        self.0.zone_write_granularity = zones.write_granularity;
        self
    }
}

/// What the zones of a disk are like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zones {
    /// Sectors of a zone: a power of two.
    pub sectors: u32,
    /// Zones that may be open at a time, 0 for any number.
    pub max_open: u32,
    /// Zones that may be active at a time, 0 for any number.
    pub max_active: u32,
    /// Sectors of one append at most.
    pub max_append_sectors: u32,
    /// The unit of writes, in bytes.
    pub write_granularity: u32,
}
