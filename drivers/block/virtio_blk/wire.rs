// SPDX-License-Identifier: GPL-2.0

//! The wire format: what a virtio-blk device reads and writes around the data.
//!
//! Virtio specification, section "Block Device / Device Operation".

use storage::{
    bindings,
    block::Status, //
};

/// What a command asks the device to do (`VIRTIO_BLK_T_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Reads sectors.
    Read,
    /// Writes sectors.
    Write,
    /// Writes the volatile cache back.
    Flush,
    /// Reads the serial number.
    GetId,
}

impl Command {
    const fn code(self) -> u32 {
        match self {
            Self::Read => bindings::VIRTIO_BLK_T_IN,
            Self::Write => bindings::VIRTIO_BLK_T_OUT,
            Self::Flush => bindings::VIRTIO_BLK_T_FLUSH,
            Self::GetId => bindings::VIRTIO_BLK_T_GET_ID,
        }
    }

    /// Whether `sector` means something.
    const fn has_sector(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    /// How many bytes the device writes in success: the data that it reads, and the status.
    #[inline]
    pub(crate) const fn written(self, data: usize) -> usize {
        match self {
            Self::Read | Self::GetId => data + 1,
            Self::Write | Self::Flush => 1,
        }
    }
}

storage::device_readable! {
    /// The header (`struct virtio_blk_outhdr`), in the device's byte order.
    #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
    pub(crate) struct Header {
        kind: u32,
        ioprio: u32,
        sector: u64,
    }
}

impl Header {
    /// The header of `command` at `sector`.
    #[inline]
    pub(crate) fn new(little_endian: bool, command: Command, ioprio: u16, sector: u64) -> Self {
        let sector = if command.has_sector() { sector } else { 0 };
        let kind = command.code();
        let ioprio = u32::from(ioprio);

        if little_endian {
            Self {
                kind: kind.to_le(),
                ioprio: ioprio.to_le(),
                sector: sector.to_le(),
            }
        } else {
            Self {
                kind: kind.to_be(),
                ioprio: ioprio.to_be(),
                sector: sector.to_be(),
            }
        }
    }
}

/// The footer: the status byte, which only the device can make a success.
pub(crate) type Footer = u8;

/// A status that no device writes: what the footer is set to before a command is added.
pub(crate) const STATUS_NONE: Footer = 0xff;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It was done.
    Ok,
    /// The device does not support it.
    Unsupported,
    /// An I/O error.
    Error,
    /// The device's answer contradicts itself.
    Nonsense,
}

/// Judges the device's answer: the status byte and how many bytes the device says it wrote.
///
/// A short length is nonsense only on a device of version 1 (`strict`): older ones "historically"
/// set it at will (section "Legacy Interface: The Used Ring").
#[inline]
pub(crate) const fn judge(status: Footer, used: usize, expected: usize, strict: bool) -> Outcome {
    match status as u32 {
        bindings::VIRTIO_BLK_S_OK if strict && used < expected => Outcome::Nonsense,
        bindings::VIRTIO_BLK_S_OK => Outcome::Ok,
        bindings::VIRTIO_BLK_S_UNSUPP => Outcome::Unsupported,
        bindings::VIRTIO_BLK_S_IOERR => Outcome::Error,
        _ => Outcome::Nonsense,
    }
}

impl From<Outcome> for Status {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::OK,
            Outcome::Unsupported => Self::NOTSUPP,
            Outcome::Error | Outcome::Nonsense => Self::IOERR,
        }
    }
}
