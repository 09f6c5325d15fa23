// SPDX-License-Identifier: GPL-2.0

//! The limits of a disk, from what the device says. Nothing of it is believed unchecked.

use kernel::fmt;

/// The block layer's smallest "largest segment": a page, 4096 bytes at most.
const MIN_SEGMENT_SIZE: u32 = 4096;

/// The largest logical block that the block layer can have.
const MAX_BLOCK_SIZE: u32 = 65536;

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

/// What the device and its transport say; `None` where a feature was not negotiated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    /// In sectors.
    pub(crate) capacity: u64,
    pub(crate) seg_max: Option<u32>,
    pub(crate) size_max: Option<u32>,
    pub(crate) blk_size: Option<u32>,
    pub(crate) topology: Option<Topology>,
    /// The largest buffer in bytes that can be mapped for the device.
    pub(crate) max_dma_size: usize,
    /// The size of the smallest ring.
    pub(crate) ring_size: usize,
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
    /// Checks everything and derives the limits of the disk.
    pub(crate) fn limits(&self) -> Result<Limits, Refusal> {
        check_capacity(self.capacity)?;

        let logical = self.blk_size.unwrap_or(512);
        if !logical.is_power_of_two() || !(512..=MAX_BLOCK_SIZE).contains(&logical) {
            return refuse(
                "blk_size",
                logical.into(),
                "not a power of two from 512 to 65536",
            );
        }

        let max_dma = u32::try_from(self.max_dma_size).unwrap_or(u32::MAX);
        let max_segment_size = self.size_max.unwrap_or(u32::MAX).min(max_dma);
        if max_segment_size < MIN_SEGMENT_SIZE {
            return refuse(
                "size_max",
                max_segment_size.into(),
                "less than the 4096 bytes that a segment must be able to have",
            );
        }

        // A chain may not be longer than its ring (specification, "The Virtqueue Descriptor
        // Table"), even in an indirect table; then a command always fits into an empty ring.
        let fits = self.ring_size.saturating_sub(FRAME_SEGMENTS);
        if fits == 0 {
            return refuse(
                "queue size",
                self.ring_size as u64,
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

        Ok(Limits {
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
            io_opt: logical.checked_mul(topology.opt_io_size).unwrap_or(0),
        })
    }
}
