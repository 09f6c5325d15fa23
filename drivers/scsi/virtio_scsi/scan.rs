// SPDX-License-Identifier: GPL-2.0

//! Scans: only targets that may be there are looked at.
//!
//! To look at a target that is not there, the mid-layer allocates a device, with a queue, sends an
//! INQUIRY to its logical unit 0, and frees all that; and nearly all of 256 targets are not there.
//! If the host has one disk, that disk's queue is frozen twice for each of them, which takes grace
//! periods: its tags come to be shared with another queue, and are not any more. So the driver
//! sends that INQUIRY before, and takes only that for an absence which the mid-layer would, too.
//! (Task management would need no place in a request queue, but hosts do not agree on what it says
//! of a target without a logical unit 0.)

use crate::{
    commands,
    hba::Hba,
    wire::{
        self,
        Address, //
    },
};
use storage::bindings;

/// How many seconds the device has for an answer. One that gives none is asked no more until it
/// does: the mid-layer has more patience.
const PATIENCE: u32 = 2;

/// An INQUIRY for none of its data.
const INQUIRY: [u8; wire::CDB_SIZE] = {
    let mut cdb = [0; wire::CDB_SIZE];
    cdb[0] = 0x12;
    cdb
};

/// Whether the device says that there is no such target. May sleep.
pub(crate) fn is_absent(hba: &Hba, target: u32) -> bool {
    let Some(address) = Address::new(target, 0) else {
        return false;
    };
    // One whose interrupt goes to a CPU that is there.
    let Some(queue) = hba.requests.get(hba.map.current()) else {
        return false;
    };

    // Without indirect descriptors one that is never answered takes room that the largest command
    // needs, which then waits for ever; also when the host is to go.
    if !queue
        .handler()
        .dev
        .has_feature(bindings::VIRTIO_RING_F_INDIRECT_DESC)
    {
        return false;
    }
    !hba.holds() && commands::ask(queue, address, &INQUIRY, PATIENCE).is_ok_and(wire::is_bad_target)
}
