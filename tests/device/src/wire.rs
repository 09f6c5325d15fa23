// SPDX-License-Identifier: GPL-2.0

//! What goes over the ring: numbers of the virtio specification, section "Block Device".

/// Feature bits by name; the ones beyond 23 belong to the transport.
pub const FEATURES: &[(&str, u8)] = &[
    ("size_max", 1),
    ("seg_max", 2),
    ("geometry", 4),
    ("ro", 5),
    ("blk_size", 6),
    ("flush", 9),
    ("topology", 10),
    ("config_wce", 11),
    ("mq", 12),
    ("discard", 13),
    ("write_zeroes", 14),
    ("lifetime", 15),
    ("secure_erase", 16),
    ("zoned", 17),
    ("indirect_desc", 28),
    ("event_idx", 29),
    ("version_1", 32),
    ("access_platform", 33),
];

/// The bit of a feature, as a mask.
pub fn feature(name: &str) -> Option<u64> {
    let (_, bit) = FEATURES.iter().find(|(known, _)| *known == name)?;
    Some(1 << bit)
}

/// The configuration space: name, offset, bytes. Little endian, as all of a version 1 device.
pub const CONFIG: &[(&str, usize, usize)] = &[
    ("capacity", 0, 8),
    ("size_max", 8, 4),
    ("seg_max", 12, 4),
    ("cylinders", 16, 2),
    ("heads", 18, 1),
    ("sectors", 19, 1),
    ("blk_size", 20, 4),
    ("physical_block_exp", 24, 1),
    ("alignment_offset", 25, 1),
    ("min_io_size", 26, 2),
    ("opt_io_size", 28, 4),
    ("wce", 32, 1),
    ("num_queues", 34, 2),
    ("max_discard_sectors", 36, 4),
    ("max_discard_seg", 40, 4),
    ("discard_sector_alignment", 44, 4),
    ("max_write_zeroes_sectors", 48, 4),
    ("max_write_zeroes_seg", 52, 4),
    ("write_zeroes_may_unmap", 56, 1),
    ("max_secure_erase_sectors", 60, 4),
    ("max_secure_erase_seg", 64, 4),
    ("secure_erase_sector_alignment", 68, 4),
    ("zone_sectors", 72, 4),
    ("max_open_zones", 76, 4),
    ("max_active_zones", 80, 4),
    ("max_append_sectors", 84, 4),
    ("write_granularity", 88, 4),
    ("zone_model", 92, 1),
];

/// The size of the configuration space.
pub const CONFIG_SIZE: usize = 96;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Read,
    Write,
    Flush,
    GetId,
    GetLifetime,
    Discard,
    WriteZeroes,
    SecureErase,
    Append,
    Report,
    Open,
    Close,
    Finish,
    Reset,
    ResetAll,
    Unknown(u32),
}

const OPS: &[(Op, u32, &str)] = &[
    (Op::Read, 0, "read"),
    (Op::Write, 1, "write"),
    (Op::Flush, 4, "flush"),
    (Op::GetId, 8, "get_id"),
    (Op::GetLifetime, 10, "get_lifetime"),
    (Op::Discard, 11, "discard"),
    (Op::WriteZeroes, 13, "write_zeroes"),
    (Op::SecureErase, 14, "secure_erase"),
    (Op::Append, 15, "append"),
    (Op::Report, 16, "report"),
    (Op::Open, 18, "open"),
    (Op::Close, 20, "close"),
    (Op::Finish, 22, "finish"),
    (Op::Reset, 24, "reset"),
    (Op::ResetAll, 26, "reset_all"),
];

impl Op {
    pub fn from_code(code: u32) -> Self {
        match OPS.iter().find(|(_, known, _)| *known == code) {
            Some((op, _, _)) => *op,
            None => Self::Unknown(code),
        }
    }

    /// For tests, which play the driver.
    #[cfg(test)]
    pub fn code(self) -> u32 {
        match (self, OPS.iter().find(|(known, _, _)| *known == self)) {
            (Self::Unknown(code), _) => code,
            (_, Some((_, code, _))) => *code,
            _ => unreachable!("every operation has a code"),
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        let (op, _, _) = OPS.iter().find(|(_, _, known)| *known == name)?;
        Some(*op)
    }

    pub fn name(self) -> &'static str {
        match OPS.iter().find(|(known, _, _)| *known == self) {
            Some((_, _, name)) => name,
            None => "unknown",
        }
    }

    /// The feature that brings this operation.
    pub fn feature(self) -> Option<&'static str> {
        match self {
            Self::Flush => Some("flush"),
            Self::GetLifetime => Some("lifetime"),
            Self::Discard => Some("discard"),
            Self::WriteZeroes => Some("write_zeroes"),
            Self::SecureErase => Some("secure_erase"),
            Self::Append | Self::Report | Self::Open | Self::Close => Some("zoned"),
            Self::Finish | Self::Reset | Self::ResetAll => Some("zoned"),
            Self::Read | Self::Write | Self::GetId | Self::Unknown(_) => None,
        }
    }
}

/// The header of a request (`struct virtio_blk_outhdr`).
#[derive(Clone, Copy, Default)]
pub struct Header {
    pub kind: u32,
    pub ioprio: u32,
    pub sector: u64,
}

impl Header {
    pub const SIZE: usize = 16;

    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            kind: number(&bytes[0..4]) as u32,
            ioprio: number(&bytes[4..8]) as u32,
            sector: number(&bytes[8..16]),
        }
    }
}

/// One range of a discard and its like (`struct virtio_blk_discard_write_zeroes`).
#[derive(Clone, Copy, Default)]
pub struct Range {
    pub sector: u64,
    pub sectors: u32,
    pub flags: u32,
}

impl Range {
    pub const SIZE: usize = 16;

    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            sector: number(&bytes[0..8]),
            sectors: number(&bytes[8..12]) as u32,
            flags: number(&bytes[12..16]) as u32,
        }
    }
}

/// A little-endian number of up to 8 bytes.
pub fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// The flag of a write zeroes' range.
pub const UNMAP: u32 = 1;

/// One zone of a report (`struct virtio_blk_zone_descriptor`).
#[derive(Clone, Copy)]
pub struct ZoneDescriptor {
    pub capacity: u64,
    pub start: u64,
    pub write_pointer: u64,
    pub kind: u8,
    pub state: u8,
}

impl ZoneDescriptor {
    pub const SIZE: usize = 64;

    pub fn bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];

        bytes[0..8].copy_from_slice(&self.capacity.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.write_pointer.to_le_bytes());
        bytes[24] = self.kind;
        bytes[25] = self.state;
        bytes
    }
}

/// The size of a report's header, which begins with the number of zones as 8 bytes.
pub const REPORT_HEADER: usize = 64;

/// How a request ended (`VIRTIO_BLK_S_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
    ZoneInvalidCommand = 3,
    ZoneUnalignedWrite = 4,
    ZoneOpenResource = 5,
    ZoneActiveResource = 6,
}
