// SPDX-License-Identifier: GPL-2.0

//! What was written to `io_path`, for when the device is bound again: by the address of the device
//! and the serial number of the disk, of both a hash. Lost when the module is unloaded.

use crate::params::UseBio;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};
use storage::module_param::Value;

/// How many disks are remembered; beyond that one takes the place of another.
const PLACES: usize = 64;

/// An entry each: 31 bits of the address, 31 of the serial number, and the path plus one; 0 if
/// empty.
static ENTRIES: [Atomic<u64>; PLACES] = [const { Atomic::new(0) }; PLACES];

/// The bits of the path.
const PATH: u64 = 3;

/// The bits of the serial number above it.
const SERIAL_SHIFT: u32 = 2;

/// The bits of the address above those.
const ADDRESS_SHIFT: u32 = 33;

/// FNV-1a, cut to 31 bits.
fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });

    u64::from(hash >> 1)
}

fn key(address: &[u8], serial: &[u8]) -> u64 {
    hash(address) << ADDRESS_SHIFT | hash(serial) << SERIAL_SHIFT
}

/// Whether a disk of a device at this address is remembered.
pub(crate) fn knows(address: &[u8]) -> bool {
    ENTRIES.iter().any(|entry| {
        let entry = entry.load(Relaxed);

        entry != 0 && entry >> ADDRESS_SHIFT == hash(address)
    })
}

/// What was written for this disk.
pub(crate) fn recall(address: &[u8], serial: &[u8]) -> Option<UseBio> {
    let key = key(address, serial);

    ENTRIES
        .iter()
        .map(|entry| entry.load(Relaxed))
        .find(|entry| *entry & PATH != 0 && *entry & !PATH == key)
        .map(|entry| UseBio::from_word((entry & PATH) as u32 - 1))
}

/// Remembers what was written for this disk.
pub(crate) fn remember(address: &[u8], serial: &[u8], wanted: UseBio) {
    let key = key(address, serial);
    let entry = key | u64::from(wanted.to_word() + 1);
    let is_old = |now: u64| now & PATH != 0 && now & !PATH == key;

    for place in &ENTRIES {
        let now = place.load(Relaxed);
        if is_old(now) && place.cmpxchg(now, entry, Full).is_ok() {
            return;
        }
    }
    for place in &ENTRIES {
        if place.cmpxchg(0, entry, Full).is_ok() {
            return;
        }
    }
    ENTRIES[hash(serial) as usize % PLACES].store(entry, Relaxed);
}
