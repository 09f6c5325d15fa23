// SPDX-License-Identifier: GPL-2.0

//! The wire format: what a virtio-blk device reads and writes around the data.
//!
//! Virtio specification, section "Block Device / Device Operation".

use storage::{
    bindings,
    block::{
        Op,
        Status, //
    },
    virtio::frame::Content, //
};

/// A feature that Linux 7.3 has no name for.
pub(crate) const VIRTIO_BLK_F_LIFETIME: u32 = 15;
const VIRTIO_BLK_T_GET_LIFETIME: u32 = 10;

/// The sector of an [`Op::DRV_IN`] tells what it reads: the serial number, ...
pub(crate) const SERIAL: u64 = 0;
/// ... or the wear.
pub(crate) const LIFETIME: u64 = 1;
/// ... or, with this bit set, from which sector it reads data: how long that takes. No disk is so
/// large.
pub(crate) const MEASURE: u64 = 1 << 63;

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
    /// Reads how worn the device is.
    GetLifetime,
    /// Discards ranges of sectors.
    Discard,
    /// Writes zeroes to a range of sectors.
    WriteZeroes,
    /// Discards ranges of sectors for good.
    SecureErase,
    /// Writes sectors at a zone's write pointer.
    ZoneAppend,
    /// Reads what the zones from a sector on are like.
    ZoneReport,
    /// Opens a zone.
    ZoneOpen,
    /// Closes a zone.
    ZoneClose,
    /// Makes a zone full.
    ZoneFinish,
    /// Resets a zone.
    ZoneReset,
    /// Resets all zones.
    ZoneResetAll,
}

impl Command {
    /// The command for an operation of the block layer; `None` if there is none. Of the driver's
    /// own operations ([`Op::DRV_IN`]), a flag tells those that read zones, `sector` what others
    /// read.
    #[inline]
    pub(crate) fn of(op: Op, flagged: bool, sector: u64) -> Option<Self> {
        Some(match op {
            Op::DRV_IN if flagged => Self::ZoneReport,
            Op::DRV_IN if sector & MEASURE != 0 => Self::Read,
            Op::DRV_IN if sector == LIFETIME => Self::GetLifetime,
            Op::DRV_IN => Self::GetId,
            Op::READ => Self::Read,
            Op::WRITE => Self::Write,
            Op::FLUSH => Self::Flush,
            Op::DISCARD => Self::Discard,
            Op::WRITE_ZEROES => Self::WriteZeroes,
            Op::SECURE_ERASE => Self::SecureErase,
            Op::ZONE_APPEND => Self::ZoneAppend,
            Op::ZONE_OPEN => Self::ZoneOpen,
            Op::ZONE_CLOSE => Self::ZoneClose,
            Op::ZONE_FINISH => Self::ZoneFinish,
            Op::ZONE_RESET => Self::ZoneReset,
            Op::ZONE_RESET_ALL => Self::ZoneResetAll,
            _ => return None,
        })
    }

    /// Whether it may be sent again if nobody knows whether the device did it: the result is the
    /// same. An append would write a second time, elsewhere.
    pub(crate) const fn is_repeatable(self) -> bool {
        !matches!(self, Self::ZoneAppend)
    }

    /// The same on a disk of zones: what was written has moved the write pointer, and would not
    /// succeed again.
    pub(crate) const fn is_repeatable_on_zones(self) -> bool {
        self.is_repeatable() && !matches!(self, Self::Write | Self::WriteZeroes)
    }

    /// How it ends if it was sent, and the device never answers.
    pub(crate) const fn unanswered(self) -> Status {
        if self.is_repeatable() {
            Status::IOERR
        } else {
            Status::TRANSPORT
        }
    }

    const fn code(self) -> u32 {
        match self {
            Self::Read => bindings::VIRTIO_BLK_T_IN,
            Self::Write => bindings::VIRTIO_BLK_T_OUT,
            Self::Flush => bindings::VIRTIO_BLK_T_FLUSH,
            Self::GetId => bindings::VIRTIO_BLK_T_GET_ID,
            Self::GetLifetime => VIRTIO_BLK_T_GET_LIFETIME,
            Self::Discard => bindings::VIRTIO_BLK_T_DISCARD,
            Self::WriteZeroes => bindings::VIRTIO_BLK_T_WRITE_ZEROES,
            Self::SecureErase => bindings::VIRTIO_BLK_T_SECURE_ERASE,
            Self::ZoneAppend => bindings::VIRTIO_BLK_T_ZONE_APPEND,
            Self::ZoneReport => bindings::VIRTIO_BLK_T_ZONE_REPORT,
            Self::ZoneOpen => bindings::VIRTIO_BLK_T_ZONE_OPEN,
            Self::ZoneClose => bindings::VIRTIO_BLK_T_ZONE_CLOSE,
            Self::ZoneFinish => bindings::VIRTIO_BLK_T_ZONE_FINISH,
            Self::ZoneReset => bindings::VIRTIO_BLK_T_ZONE_RESET,
            Self::ZoneResetAll => bindings::VIRTIO_BLK_T_ZONE_RESET_ALL,
        }
    }

    /// Whether the header's `sector` means something.
    const fn has_sector(self) -> bool {
        !matches!(
            self,
            Self::Flush
                | Self::GetId
                | Self::GetLifetime
                | Self::Discard
                | Self::WriteZeroes
                | Self::SecureErase
                | Self::ZoneResetAll
        )
    }

    /// What the device gets beside the frame.
    #[inline]
    pub(crate) const fn content(self) -> Content {
        match self {
            Self::Read
            | Self::Write
            | Self::GetId
            | Self::GetLifetime
            | Self::ZoneAppend
            | Self::ZoneReport => Content::Data,
            Self::Discard | Self::WriteZeroes | Self::SecureErase => Content::Payload,
            _ => Content::None,
        }
    }

    /// How many bytes of the footer the device gets, from its end.
    #[inline]
    pub(crate) const fn footer(self) -> usize {
        match self {
            Self::ZoneAppend => FOOTER_SIZE,
            _ => 1,
        }
    }

    /// How many bytes the device writes in success: the data that it reads, and the footer.
    #[inline]
    pub(crate) const fn written(self, data: usize) -> usize {
        match self {
            Self::Read | Self::GetId | Self::GetLifetime | Self::ZoneReport => data + 1,
            _ => self.footer(),
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
        let sector = if command.has_sector() {
            sector & !MEASURE
        } else {
            0
        };
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

storage::device_readable! {
    /// A range of sectors to discard (`struct virtio_blk_discard_write_zeroes`): little-endian on
    /// any device.
    #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
    pub(crate) struct Range {
        sector: u64,
        sectors: u32,
        flags: u32,
    }
}

impl Range {
    /// A range of `sectors` from `sector` on. With `unmap`, written zeroes may be deallocated.
    #[inline]
    pub(crate) const fn new((sector, sectors): (u64, u64), unmap: bool) -> Self {
        let flags = if unmap {
            bindings::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
        } else {
            0
        };

        Self {
            sector: sector.to_le(),
            // The limits of the disk keep it below.
            sectors: (sectors as u32).to_le(),
            flags: flags.to_le(),
        }
    }
}

const FOOTER_SIZE: usize = 9;

/// The footer: where a zone append went (else not given to the device), and the status byte, which
/// only the device can make a success.
pub(crate) type Footer = [u8; FOOTER_SIZE];

/// A footer whose status no device writes: what it is set to before a command is added.
pub(crate) const NO_FOOTER: Footer = [0, 0, 0, 0, 0, 0, 0, 0, 0xff];

/// The status byte of a footer.
#[inline]
pub(crate) const fn status(footer: Footer) -> u8 {
    footer[FOOTER_SIZE - 1]
}

/// The sector that a zone append was written to, as the device says. Zones are of version 1:
/// little-endian.
pub(crate) const fn appended_at(footer: Footer) -> u64 {
    let [a, b, c, d, e, f, g, h, _] = footer;

    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It was done.
    Ok,
    /// The device does not support it.
    Unsupported,
    /// An I/O error.
    Error,
    /// Too many zones are open.
    TooManyOpen,
    /// Too many zones are active.
    TooManyActive,
    /// The device's answer contradicts itself.
    Nonsense,
}

impl Outcome {
    const ALL: [Self; 6] = [
        Self::Ok,
        Self::Unsupported,
        Self::Error,
        Self::TooManyOpen,
        Self::TooManyActive,
        Self::Nonsense,
    ];

    /// As a byte, to be remembered.
    #[inline]
    pub(crate) const fn to_byte(self) -> u8 {
        self as u8
    }

    /// From [`Self::to_byte`]; other bytes are nonsense.
    #[inline]
    pub(crate) fn from_byte(byte: u8) -> Self {
        let known = Self::ALL.get(usize::from(byte));

        known.copied().unwrap_or(Self::Nonsense)
    }
}

/// Judges the device's answer: the status byte and how many bytes the device says it wrote.
///
/// A short length is nonsense only on a device of version 1 (`strict`): older ones "historically"
/// set it at will (section "Legacy Interface: The Used Ring").
#[inline]
pub(crate) const fn judge(status: u8, used: usize, expected: usize, strict: bool) -> Outcome {
    match status as u32 {
        bindings::VIRTIO_BLK_S_OK if strict && used < expected => Outcome::Nonsense,
        bindings::VIRTIO_BLK_S_OK => Outcome::Ok,
        bindings::VIRTIO_BLK_S_UNSUPP => Outcome::Unsupported,
        bindings::VIRTIO_BLK_S_IOERR
        | bindings::VIRTIO_BLK_S_ZONE_INVALID_CMD
        | bindings::VIRTIO_BLK_S_ZONE_UNALIGNED_WP => Outcome::Error,
        bindings::VIRTIO_BLK_S_ZONE_OPEN_RESOURCE => Outcome::TooManyOpen,
        bindings::VIRTIO_BLK_S_ZONE_ACTIVE_RESOURCE => Outcome::TooManyActive,
        _ => Outcome::Nonsense,
    }
}

impl From<Outcome> for Status {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::OK,
            Outcome::Unsupported => Self::NOTSUPP,
            Outcome::TooManyOpen => Self::ZONE_OPEN_RESOURCE,
            Outcome::TooManyActive => Self::ZONE_ACTIVE_RESOURCE,
            Outcome::Error | Outcome::Nonsense => Self::IOERR,
        }
    }
}

/// How worn the device is (`struct virtio_blk_lifetime`), as the JEDEC standards of eMMC and UFS
/// have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lifetime {
    /// 1 if less than 80 % of the reserved blocks are used, 2 if less than 90 %, 3 beyond; 0 if
    /// unknown.
    pub(crate) pre_eol_info: u16,
    /// For two kinds of memory: 1 up to 10 % worn, 2 up to 20 %, ..., 11 beyond 100 %; 0 if
    /// unknown.
    pub(crate) typ_a: u16,
    pub(crate) typ_b: u16,
}

impl Lifetime {
    /// Bytes of the answer.
    pub(crate) const SIZE: usize = 6;

    /// Reads the answer, which is little-endian on any device. Its values are not judged: who reads
    /// them has to know what they mean.
    pub(crate) fn parse(answer: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_le_bytes(*answer.get(at..)?.first_chunk()?));

        Some(Self {
            pre_eol_info: word(0)?,
            typ_a: word(2)?,
            typ_b: word(4)?,
        })
    }
}
