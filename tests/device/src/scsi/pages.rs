// SPDX-License-Identifier: GPL-2.0

//! What a logical unit says of itself: INQUIRY with its pages, READ CAPACITY, MODE SENSE, and the
//! list of units.

use super::{
    unit::Unit,
    wire::Address, //
};

/// What is left of 36 bytes after the header: vendor, product, revision.
fn padded(text: &str, size: usize) -> Vec<u8> {
    text.bytes()
        .chain(std::iter::repeat(b' '))
        .take(size)
        .collect()
}

fn standard(first: u8, protected: bool, vendor: &str) -> Vec<u8> {
    const SPC_4: u8 = 6;
    const COMMAND_QUEUE: u8 = 2;
    let mut page = vec![
        first,
        0,
        SPC_4,
        2,
        31,
        u8::from(protected),
        0,
        COMMAND_QUEUE,
    ];

    page.extend(padded(vendor, 8));
    page.extend(padded("TEST DEVICE", 16));
    page.extend(padded("1", 4));
    page
}

/// INQUIRY of a unit that is not there.
pub fn no_unit() -> Vec<u8> {
    standard(0x7f, false, "VSR")
}

/// REPORT LUNS.
pub fn luns<'a>(units: impl Iterator<Item = &'a Address>) -> Vec<u8> {
    let list: Vec<u8> = units
        .flat_map(|at| {
            let [_, _, high, low, ..] = at.to_wire();
            [high, low, 0, 0, 0, 0, 0, 0]
        })
        .collect();
    let mut page = (list.len() as u32).to_be_bytes().to_vec();

    page.extend([0; 4]);
    page.extend(list);
    page
}

const PAGES: &[u8] = &[0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2];

/// INQUIRY; `None` if there is no such page.
pub fn inquiry(unit: &Unit, cdb: &[u8]) -> Option<Vec<u8>> {
    if cdb[1] & 1 == 0 {
        return (cdb[2] == 0).then(|| standard(0, unit.is_protected(), &unit.vendor));
    }
    let mut body = vec![0; 60];
    match cdb[2] {
        0x00 => {
            body = PAGES.to_vec();
            body.extend((unit.actuators > 0).then_some(0xb9));
        }
        0x80 => body = unit.serial.clone().into_bytes(),
        0x83 => body = designators(unit),
        0x86 => body[0] = if unit.is_protected() { 0x07 } else { 0 },
        0xb0 => {
            body[4..8].copy_from_slice(&(4096u32).to_be_bytes());
            body[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
            body[20..24].copy_from_slice(&32u32.to_be_bytes());
            body[24..28].copy_from_slice(&1u32.to_be_bytes());
            body[32..40].copy_from_slice(&0xffffu64.to_be_bytes());
        }
        // Does not rotate.
        0xb1 => body[..2].copy_from_slice(&[0, 1]),
        // UNMAP, WRITE SAME of both sizes; what was unmapped reads as zeroes; thin.
        0xb2 => body = vec![0, 0xe4, 2, 0],
        0xb9 if unit.actuators > 0 => {
            let blocks = unit.blocks / u64::from(unit.actuators);
            for number in 0..unit.actuators {
                body.extend([number, 1, 0, 0, 0, 0, 0, 0]);
                body.extend((u64::from(number) * blocks).to_be_bytes());
                body.extend(blocks.to_be_bytes());
                body.extend([0; 8]);
            }
        }
        _ => return None,
    }
    let mut page = vec![0, cdb[2]];
    page.extend((body.len() as u16).to_be_bytes());
    page.extend(body);
    Some(page)
}

/// A T10 vendor identification, and a locally assigned NAA made of the serial number.
fn designators(unit: &Unit) -> Vec<u8> {
    let mut name = padded("VSR", 8);
    name.extend(unit.serial.bytes());
    let number = unit
        .serial
        .bytes()
        .fold(0xcbf29ce484222325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100000001b3)
        });
    let naa = (3 << 60) | (number >> 4);
    let mut list = vec![2, 1, 0, name.len() as u8];

    list.extend(name);
    list.extend([1, 3, 0, 8]);
    list.extend(naa.to_be_bytes());
    list
}

pub fn capacity_10(unit: &Unit) -> Vec<u8> {
    let last = u32::try_from(unit.blocks - 1).unwrap_or(u32::MAX);

    [last.to_be_bytes(), (unit.block as u32).to_be_bytes()].concat()
}

pub fn capacity_16(unit: &Unit) -> Vec<u8> {
    const THIN_AND_ZERO: u8 = 0xc0;
    let mut page = (unit.blocks - 1).to_be_bytes().to_vec();

    page.extend((unit.block as u32).to_be_bytes());
    // P_TYPE 0 is type 1.
    page.extend([u8::from(unit.is_protected()), 0, THIN_AND_ZERO, 0]);
    page.resize(32, 0);
    page
}

/// MODE SENSE; `None` if there is no such page.
pub fn modes(unit: &Unit, cdb: &[u8]) -> Option<Vec<u8>> {
    const WRITE_CACHE: u8 = 4;
    const TAG_OWNER: u8 = 0x80;
    let mut caching = vec![0x08, 18, WRITE_CACHE];
    caching.resize(20, 0);
    let owner = if unit.is_protected() { TAG_OWNER } else { 0 };
    let control = vec![0x0a, 10, 2, 0x10, 0, owner, 0, 0, 0, 0, 0, 0];
    let pages = match cdb[2] & 0x3f {
        0x08 => caching,
        0x0a => control,
        0x3f => [caching, control].concat(),
        _ => return None,
    };
    let mut page = match cdb[0] {
        0x5a => {
            let length = (pages.len() + 6) as u16;
            let mut head = length.to_be_bytes().to_vec();
            head.resize(8, 0);
            head
        }
        _ => vec![(pages.len() + 3) as u8, 0, 0, 0],
    };

    page.extend(pages);
    Some(page)
}
