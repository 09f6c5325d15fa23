// SPDX-License-Identifier: GPL-2.0

//! Disk names and numbers: vda … vdz, vdaa …, each with 16 minors.

use kernel::{
    fmt,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};

/// log2 of the minors of a disk: itself and 15 partitions; more get extended numbers.
const PART_BITS: u32 = 4;

/// Minors of a disk.
pub(crate) const MINORS: u32 = 1 << PART_BITS;

/// How many disks the minors of a major number are enough for.
pub(crate) const MAX_DISKS: u32 = 1 << (20 - PART_BITS);

/// The first minor of disk `index`.
pub(crate) const fn first_minor(index: u32) -> u32 {
    index << PART_BITS
}

/// The name of the disk with this index, to be printed.
pub(crate) struct DiskName(pub(crate) u32);

impl fmt::Display for DiskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Letters are digits without a zero: after z comes aa. 7 hold any 32-bit index.
        let mut letters = [0; 7];
        let mut pos = letters.len();
        let mut rest = Some(self.0);

        while let Some(n) = rest {
            pos -= 1;
            letters[pos] = b'a' + (n % 26) as u8;
            rest = (n / 26).checked_sub(1);
        }
        f.write_str("vd")?;
        letters[pos..]
            .iter()
            .try_for_each(|letter| fmt::Write::write_char(f, char::from(*letter)))
    }
}

const WORDS: usize = MAX_DISKS as usize / 64;

/// The indices that are taken, a bit each.
static TAKEN: [Atomic<u64>; WORDS] = [const { Atomic::new(0) }; WORDS];

/// The index of a disk, the lowest that was free; free again when it is dropped.
pub(crate) struct DiskIndex(u32);

impl DiskIndex {
    /// Takes an index; `None` if there are too many disks.
    pub(crate) fn take() -> Option<Self> {
        TAKEN.iter().enumerate().find_map(|(i, word)| {
            let mut bits = word.load(Relaxed);

            while bits != u64::MAX {
                let bit = bits.trailing_ones();
                match word.cmpxchg(bits, bits | 1 << bit, Full) {
                    Ok(_) => return Some(Self(i as u32 * 64 + bit)),
                    Err(now) => bits = now,
                }
            }
            None
        })
    }

    pub(crate) fn get(&self) -> u32 {
        self.0
    }
}

impl Drop for DiskIndex {
    fn drop(&mut self) {
        let word = &TAKEN[self.0 as usize / 64];
        let mut bits = word.load(Relaxed);

        while let Err(now) = word.cmpxchg(bits, bits & !(1 << (self.0 % 64)), Full) {
            bits = now;
        }
    }
}
