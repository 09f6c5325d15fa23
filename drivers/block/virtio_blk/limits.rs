// SPDX-License-Identifier: GPL-2.0

//! The limits of a disk, from what the device says. Nothing of it is believed unchecked.

use crate::zones::ZoneMap;
use kernel::fmt;
use storage::{
    bindings,
    block::limits::Zones, //
};

/// The block layer's smallest "largest segment": a page, 4096 bytes at most.
const MIN_SEGMENT_SIZE: u32 = 4096;

/// The block layer's `BLK_MAX_SEGMENT_SIZE`, its own where a driver names no size, as the C driver
/// does if the device says 0.
const DEFAULT_SEGMENT_SIZE: u32 = 65_536;

/// The largest logical block that the block layer can have.
const MAX_BLOCK_SIZE: u32 = 65536;

/// Ranges of one discard at most, as in the C driver: a page of them.
const MAX_DISCARD_RANGES: u32 = 256;

/// The most that is believed of an optimal size of an I/O, in bytes: the block layer reads twice as
/// much ahead, into memory that a reader did not ask for.
const MAX_IO_OPT: u32 = 32 << 20;

/// Zones of a disk at most: the block layer has arrays of them, of one allocation each.
const MAX_ZONES: u64 = 4 << 20;

/// A limit of zones that are open, or active, beyond which it is none: the block layer allocates
/// memory for as many when the disk is made, and counts them in an `int`.
const MAX_ZONE_LIMIT: u32 = 65_536;

/// Descriptors of a command beside its data: header and status.
pub(crate) const FRAME_SEGMENTS: usize = 2;

/// The part of `VIRTIO_BLK_F_TOPOLOGY`, in logical blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Topology {
    pub(crate) physical_block_exp: u8,
    pub(crate) alignment_offset: u8,
    pub(crate) min_io_size: u16,
    pub(crate) opt_io_size: u32,
}

/// The part of `VIRTIO_BLK_F_DISCARD`, in sectors; 0 where the device sets no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Discard {
    pub(crate) max_sectors: u32,
    pub(crate) max_seg: u32,
    pub(crate) alignment: u32,
}

/// The part of `VIRTIO_BLK_F_ZONED`, with the model of the zones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Zoned {
    pub(crate) zone_sectors: u32,
    pub(crate) max_open_zones: u32,
    pub(crate) max_active_zones: u32,
    pub(crate) max_append_sectors: u32,
    pub(crate) write_granularity: u32,
    pub(crate) model: u8,
}

/// What the device says; `None` where a feature was not negotiated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    /// In sectors.
    pub(crate) capacity: u64,
    pub(crate) seg_max: Option<u32>,
    pub(crate) size_max: Option<u32>,
    pub(crate) blk_size: Option<u32>,
    pub(crate) topology: Option<Topology>,
    pub(crate) discard: Option<Discard>,
    /// `max_write_zeroes_sectors`, 0 for no limit.
    pub(crate) write_zeroes: Option<u32>,
    pub(crate) secure_erase: Option<Discard>,
    pub(crate) zoned: Option<Zoned>,
}

/// What the way to the device lets through, known once the virtqueues are found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    /// The size of the smallest ring.
    pub(crate) ring_size: usize,
    /// The largest buffer in bytes that can be mapped for the device.
    pub(crate) max_dma_size: usize,
}

/// Checked limits. Sizes are in bytes; 0 where the device says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_segments: u16,
    pub(crate) max_segment_size: u32,
    pub(crate) logical_block_size: u32,
    pub(crate) physical_block_size: u32,
    pub(crate) alignment_offset: u32,
    pub(crate) io_min: u32,
    pub(crate) io_opt: u32,
    /// Sectors and ranges of a discard, its granularity in bytes.
    pub(crate) max_discard_sectors: u32,
    pub(crate) max_discard_ranges: u16,
    pub(crate) discard_granularity: u32,
    pub(crate) max_secure_erase_sectors: u32,
    pub(crate) max_write_zeroes_sectors: u32,
    /// Of a host-managed disk.
    pub(crate) zones: Option<Zones>,
}

/// A value of the device's configuration with which there can be no disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    field: &'static str,
    value: u64,
    why: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "configuration refused: {} is {}, {}",
            self.field, self.value, self.why
        )
    }
}

const fn refuse<T>(field: &'static str, value: u64, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { field, value, why })
}

/// Checks the capacity in sectors.
pub(crate) const fn check_capacity(sectors: u64) -> Result<u64, Refusal> {
    if sectors > i64::MAX as u64 >> 9 {
        return refuse("capacity", sectors, "more sectors than a disk can have");
    }
    Ok(sectors)
}

impl Config {
    /// Where zones lie, if [`Self::limits`] does not refuse them.
    pub(crate) fn zone_map(&self) -> ZoneMap {
        let managed = |zoned: &Zoned| u32::from(zoned.model) == bindings::VIRTIO_BLK_Z_HM;

        ZoneMap {
            zone_sectors: self
                .zoned
                .filter(managed)
                .map_or(0, |zoned| zoned.zone_sectors.into()),
            capacity: self.capacity,
        }
    }

    /// Checks everything and derives the limits of the disk.
    pub(crate) fn limits(&self, transport: Transport) -> Result<Limits, Refusal> {
        check_capacity(self.capacity)?;

        let logical = self.blk_size.unwrap_or(512);
        if !logical.is_power_of_two() || !(512..=MAX_BLOCK_SIZE).contains(&logical) {
            return refuse(
                "blk_size",
                logical.into(),
                "not a power of two from 512 to 65536",
            );
        }

        let max_dma = u32::try_from(transport.max_dma_size).unwrap_or(u32::MAX);
        let size_max = match self.size_max {
            // qemu-storage-daemon (vhost-user-blk, 10.0) offers the feature and fills in nothing.
            Some(0) => DEFAULT_SEGMENT_SIZE,
            size_max => size_max.unwrap_or(u32::MAX),
        };
        let max_segment_size = size_max.min(max_dma);
        if max_segment_size < MIN_SEGMENT_SIZE {
            return refuse(
                "size_max",
                max_segment_size.into(),
                "less than the 4096 bytes that a segment must be able to have",
            );
        }

        // A chain may not be longer than its ring (specification, "The Virtqueue Descriptor
        // Table"), even in an indirect table; then a command always fits into an empty ring.
        let fits = transport.ring_size.saturating_sub(FRAME_SEGMENTS);
        if fits == 0 {
            return refuse(
                "queue size",
                transport.ring_size as u64,
                "too small for a header, data and a status",
            );
        }
        // One segment at least, whatever the device says.
        let wanted = self.seg_max.unwrap_or(1).max(1) as usize;
        let max_segments = wanted.min(fits).min(u16::MAX.into()) as u16;

        let topology = self.topology.unwrap_or_default();
        let physical = match 1u32.checked_shl(topology.physical_block_exp.into()) {
            Some(blocks) => logical.checked_mul(blocks),
            None => None,
        };
        let Some(physical) = physical.filter(|size| *size <= 1 << 30) else {
            return refuse(
                "physical_block_exp",
                topology.physical_block_exp.into(),
                "a physical block of more than 1 GiB",
            );
        };

        let mut limits = Limits {
            max_segments,
            max_segment_size,
            logical_block_size: logical,
            physical_block_size: physical,
            // These three are hints: one that is too large is as good as none.
            alignment_offset: logical
                .checked_mul(topology.alignment_offset.into())
                .unwrap_or(0),
            io_min: logical
                .checked_mul(topology.min_io_size.into())
                .unwrap_or(0),
            io_opt: logical
                .checked_mul(topology.opt_io_size)
                .filter(|size| *size <= MAX_IO_OPT)
                .unwrap_or(0),
            max_discard_sectors: self
                .discard
                .map_or(0, |discard| or_all(discard.max_sectors)),
            max_discard_ranges: 1,
            discard_granularity: 0,
            max_secure_erase_sectors: 0,
            // The block layer cuts by this limit as it is, and refuses what is no whole block.
            max_write_zeroes_sectors: self.write_zeroes.map_or(0, or_all) & !(logical / 512 - 1),
            zones: None,
        };
        self.discard(&mut limits)?;
        self.zones(&mut limits)?;
        Ok(limits)
    }

    /// Ranges and granularity of discards. The block layer has one limit of each for discard and
    /// secure erase: the smaller one.
    fn discard(&self, limits: &mut Limits) -> Result<(), Refusal> {
        let mut alignment = self.discard.map_or(0, |discard| discard.alignment);
        let mut ranges = self.discard.map_or(0, |discard| discard.max_seg);

        if let Some(erase) = self.secure_erase {
            for (field, value) in [
                ("secure_erase_sector_alignment", erase.alignment),
                ("max_secure_erase_sectors", erase.max_sectors),
                ("max_secure_erase_seg", erase.max_seg),
            ] {
                if value == 0 {
                    return refuse(field, 0, "which secure erase must not have");
                }
            }
            alignment = smaller(alignment, erase.alignment);
            ranges = smaller(ranges, erase.max_seg);
            limits.max_secure_erase_sectors = erase.max_sectors;
        }
        if self.discard.is_none() && self.secure_erase.is_none() {
            return Ok(());
        }
        // In one segment, of the frame's own (a page): its size is within any size_max.
        limits.max_discard_ranges = match ranges {
            0 => limits.max_segments.min(MAX_DISCARD_RANGES as u16),
            ranges => ranges.min(MAX_DISCARD_RANGES) as u16,
        };
        limits.discard_granularity = match alignment {
            0 => limits.logical_block_size,
            // A hint: one that is too large is as good as the largest.
            alignment => alignment.checked_mul(512).unwrap_or(1 << 31),
        };
        Ok(())
    }

    /// The zones of a host-managed disk. A host-aware one is used as if it had none.
    fn zones(&self, limits: &mut Limits) -> Result<(), Refusal> {
        let Some(zoned) = self.zoned else {
            return Ok(());
        };
        match u32::from(zoned.model) {
            bindings::VIRTIO_BLK_Z_NONE | bindings::VIRTIO_BLK_Z_HA => return Ok(()),
            bindings::VIRTIO_BLK_Z_HM => (),
            model => return refuse("zoned.model", model.into(), "which is unknown"),
        }

        let granularity = zoned.write_granularity;
        let block = granularity.max(limits.logical_block_size);
        if !granularity.is_power_of_two() || granularity < 512 || block > 1 << 30 {
            return refuse(
                "zoned.write_granularity",
                granularity.into(),
                "not a power of two from 512 to 1 GiB",
            );
        }
        // The specification allows other sizes, Linux does not.
        if !zoned.zone_sectors.is_power_of_two() || zoned.zone_sectors < block >> 9 {
            return refuse(
                "zoned.zone_sectors",
                zoned.zone_sectors.into(),
                "not a power of two, or less than a block",
            );
        }
        if zoned.max_append_sectors < block >> 9 {
            return refuse(
                "zoned.max_append_sectors",
                zoned.max_append_sectors.into(),
                "less than a block",
            );
        }
        if zoned.max_active_zones != 0 && zoned.max_open_zones > zoned.max_active_zones {
            return refuse(
                "zoned.max_open_zones",
                zoned.max_open_zones.into(),
                "more than may be active",
            );
        }
        let count = self.capacity.div_ceil(zoned.zone_sectors.into());
        if count > MAX_ZONES {
            return refuse(
                "zoned.zone_sectors",
                zoned.zone_sectors.into(),
                "too many zones",
            );
        }
        // All of them, at which the block layer itself sees no limit, or too many to believe.
        let limit = |zones: u32| {
            if u64::from(zones) >= count || zones > MAX_ZONE_LIMIT {
                0
            } else {
                zones
            }
        };

        limits.zones = Some(Zones {
            sectors: zoned.zone_sectors,
            max_open: limit(zoned.max_open_zones),
            max_active: limit(zoned.max_active_zones),
            max_append_sectors: zoned.max_append_sectors,
            write_granularity: granularity,
        });
        limits.physical_block_size = granularity.max(limits.logical_block_size);
        limits.io_min = granularity;
        // A zone is reset instead.
        limits.max_discard_sectors = 0;
        Ok(())
    }
}

/// What a limit of 0, for none, is to the block layer.
const fn or_all(limit: u32) -> u32 {
    match limit {
        0 => u32::MAX,
        limit => limit,
    }
}

/// The smaller of two limits, where 0 is none.
fn smaller(a: u32, b: u32) -> u32 {
    match (a, b) {
        (0, limit) | (limit, 0) => limit,
        (a, b) => a.min(b),
    }
}
