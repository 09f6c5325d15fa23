// SPDX-License-Identifier: GPL-2.0

//! The limits of a host, from what the device says. Nothing of it is believed unchecked.

use super::wire::CDB_SIZE;
use kernel::fmt;
use storage::scsi;

/// Descriptors of a command beside its data: header and response.
pub(crate) const FRAME_SEGMENTS: usize = 2;

/// The highest target that an address on the wire can name.
const MAX_TARGET: u16 = 255;

/// The highest logical unit that a flat address can name.
const MAX_LUN: u32 = 0x3fff;

/// A flat address, as Linux writes it, begins here.
const FLAT: u64 = 0x4000;

/// The fewest sectors that the block layer lets a disk's largest command have: a page.
const MIN_SECTORS: u32 = (kernel::page::PAGE_SIZE / 512) as u32;

/// What a device says that does not say: as in the C driver.
const DEFAULT_SECTORS: u32 = 0xffff;

/// What the device and its transport say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    pub(crate) seg_max: u32,
    pub(crate) max_sectors: u32,
    pub(crate) cmd_per_lun: u32,
    pub(crate) max_target: u16,
    pub(crate) max_lun: u32,
    /// Request queues in use, and how many of them are polled.
    pub(crate) queues: Queues,
    /// The size of the smallest of their rings.
    pub(crate) ring_size: usize,
    /// Protection information goes with the data.
    pub(crate) protection: bool,
}

/// The request queues of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queues {
    pub(crate) interrupting: u32,
    pub(crate) polled: u32,
}

impl Queues {
    /// From the count of queues in use, 1 at least, and that of polled ones that the
    /// administrator wants: one queue always interrupts.
    pub(crate) fn new(all: u32, polled: u32) -> Self {
        let all = all.max(1);
        let polled = polled.min(all - 1);

        Self {
            interrupting: all - polled,
            polled,
        }
    }

    /// The count of all of them.
    pub(crate) fn all(self) -> u32 {
        self.interrupting + self.polled
    }
}

/// A value of the device's configuration with which there can be no host.
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

impl Config {
    /// Checks everything and derives the limits of the host. As the C driver does, 0 is read as
    /// "the device does not say".
    pub(crate) fn limits(&self) -> Result<scsi::Limits, Refusal> {
        // A chain may not be longer than its ring (specification, "The Virtqueue Descriptor
        // Table"), even in an indirect table. Protection information has up to as many segments as
        // the data.
        let room = self.ring_size.saturating_sub(FRAME_SEGMENTS);
        let room = if self.protection { room / 2 } else { room };
        if room == 0 {
            return refuse(
                "queue size",
                self.ring_size as u64,
                "too small for a header, data and a response",
            );
        }
        let sg_tablesize = (self.seg_max.max(1) as usize)
            .min(room)
            .min(u16::MAX.into()) as u16;

        let max_sectors = match self.max_sectors {
            0 => DEFAULT_SECTORS,
            n => n,
        };
        if max_sectors < MIN_SECTORS {
            return refuse(
                "max_sectors",
                max_sectors.into(),
                "less than a page, which a command must be able to move",
            );
        }

        let can_queue = self.ring_size.min(u16::MAX.into()) as u16;
        let cmd_per_lun = self.cmd_per_lun.max(1).min(can_queue.into()) as u16;

        Ok(scsi::Limits {
            nr_hw_queues: self.queues.all(),
            can_queue,
            cmd_per_lun: cmd_per_lun.min(i16::MAX as u16),
            sg_tablesize,
            max_sectors,
            max_id: u32::from(self.max_target.min(MAX_TARGET)) + 1,
            max_lun: u64::from(self.max_lun.min(MAX_LUN)) + 1 + FLAT,
            max_cmd_len: CDB_SIZE as u16,
            polled: self.queues.polled > 0,
            protection: self.protection,
        })
    }
}
