// SPDX-License-Identifier: GPL-2.0

//! Command descriptor blocks: names and numbers in them. All of them have 32 bytes here.

use super::wire::bytes;

const NAMES: &[(&str, &[u8])] = &[
    ("ready", &[0x00]),
    ("sense", &[0x03]),
    ("inquiry", &[0x12]),
    ("modes", &[0x1a, 0x5a]),
    ("capacity", &[0x25]),
    // READ CAPACITY(16), GET LBA STATUS.
    ("service", &[0x9e]),
    ("compare-and-write", &[0x89]),
    ("read", &[0x08, 0x28, 0x88]),
    ("write", &[0x0a, 0x2a, 0x8a]),
    ("sync", &[0x35, 0x91]),
    ("write-same", &[0x41, 0x93]),
    ("unmap", &[0x42]),
    ("luns", &[0xa0]),
];

/// What the log calls a command.
pub fn name(cdb: &[u8]) -> &'static str {
    let found = NAMES.iter().find(|(_, codes)| codes.contains(&cdb[0]));

    found.map_or("other", |(name, _)| name)
}

/// Checks the name of a command, or of a task management function, in a fault.
pub fn known(name: &str) -> Result<String, String> {
    let commands = NAMES.iter().map(|(name, _)| name);
    let mut all = commands
        .chain(super::control::NAMES)
        .chain(&["other", "tmf"]);

    match all.any(|known| *known == name) {
        true => Ok(name.into()),
        false => Err(format!("no op is named {name}")),
    }
}

/// How many bytes a command has by the group of its code.
pub fn length(cdb: &[u8]) -> usize {
    match cdb[0] >> 5 {
        0 => 6,
        1 | 2 => 10,
        4 => 16,
        5 => 12,
        _ => cdb.len(),
    }
}

/// The allocation length.
pub fn allocation(cdb: &[u8]) -> usize {
    match cdb[0] {
        0x12 => u16::from_be_bytes(bytes(cdb, 3)).into(),
        0x5a => u16::from_be_bytes(bytes(cdb, 7)).into(),
        0x9e => u32::from_be_bytes(bytes(cdb, 10)) as usize,
        0xa0 => u32::from_be_bytes(bytes(cdb, 6)) as usize,
        0x25 => 8,
        _ => cdb[4].into(),
    }
}

/// The first block and the number of blocks.
pub fn extent(cdb: &[u8]) -> (u64, u64) {
    match cdb[0] {
        0x08 | 0x0a => {
            let lba = u32::from_be_bytes([0, cdb[1] & 0x1f, cdb[2], cdb[3]]);
            let blocks = if cdb[4] == 0 { 256 } else { cdb[4].into() };
            (lba.into(), blocks)
        }
        0x28 | 0x2a | 0x35 | 0x41 => (
            u32::from_be_bytes(bytes(cdb, 2)).into(),
            u16::from_be_bytes(bytes(cdb, 7)).into(),
        ),
        0x89 => (u64::from_be_bytes(bytes(cdb, 2)), cdb[13].into()),
        0x88 | 0x8a | 0x91 | 0x93 => (
            u64::from_be_bytes(bytes(cdb, 2)),
            u32::from_be_bytes(bytes(cdb, 10)).into(),
        ),
        _ => (0, 0),
    }
}

/// What RDPROTECT or WRPROTECT says.
pub fn protect(cdb: &[u8]) -> u8 {
    match cdb[0] {
        0x08 | 0x0a => 0,
        _ => cdb[1] >> 5,
    }
}
