// SPDX-License-Identifier: GPL-2.0

//! T10 protection information of type 1: for each block a guard (CRC), an application tag, and a
//! reference tag, which is the low half of the block's number.

use super::wire::{
    bytes,
    Sense, //
};

/// Bytes for each block.
pub const TUPLE: usize = 8;

/// CRC-16/T10-DIF.
pub fn guard(data: &[u8]) -> u16 {
    const POLYNOMIAL: u16 = 0x8bb7;

    data.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            let carry = if crc & 0x8000 != 0 { POLYNOMIAL } else { 0 };
            (crc << 1) ^ carry
        })
    })
}

/// What goes with `data` from block `lba` on.
pub fn generate(data: &[u8], block: usize, lba: u64) -> Vec<u8> {
    let tuple = |(n, data): (usize, &[u8])| {
        let mut tuple = guard(data).to_be_bytes().to_vec();

        tuple.extend([0, 0]);
        tuple.extend((lba as u32).wrapping_add(n as u32).to_be_bytes());
        tuple
    };

    data.chunks_exact(block)
        .enumerate()
        .flat_map(tuple)
        .collect()
}

/// Checks what came with data; returns how many blocks it protects.
pub fn check(data: &[u8], tuples: &[u8], block: usize, lba: u64) -> Result<u64, Sense> {
    const ESCAPE: [u8; 2] = [0xff, 0xff];
    let mut checked = 0;

    for (n, (data, tuple)) in data
        .chunks_exact(block)
        .zip(tuples.chunks_exact(TUPLE))
        .enumerate()
    {
        if tuple[2..4] == ESCAPE {
            continue;
        }
        if tuple[..2] != guard(data).to_be_bytes() {
            return Err(Sense::GUARD);
        }
        if u32::from_be_bytes(bytes(tuple, 4)) != (lba as u32).wrapping_add(n as u32) {
            return Err(Sense::REFERENCE);
        }
        checked += 1;
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_is_the_standards() {
        // The check value of CRC-16/T10-DIF.
        assert_eq!(guard(b"123456789"), 0xd0db);
        assert_eq!(guard(&[0; 512]), 0);
    }

    #[test]
    fn what_is_wrong_is_found() {
        let data: Vec<u8> = (0..1024u32).map(|n| n as u8).collect();
        let good = generate(&data, 512, 7);
        let mut bad = data.clone();

        assert_eq!(good.len(), 16);
        assert_eq!(check(&data, &good, 512, 7), Ok(2));
        assert_eq!(check(&data, &good, 512, 8), Err(Sense::REFERENCE));
        bad[600] ^= 1;
        assert_eq!(check(&bad, &good, 512, 7), Err(Sense::GUARD));
        // An escaped block is not checked.
        assert_eq!(check(&bad, &[0xff; 16], 512, 7), Ok(0));
    }
}
