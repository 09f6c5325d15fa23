// SPDX-License-Identifier: GPL-2.0

//! Scans: only targets that may be there are looked at.
//!
//! To look at a target that is not there, the mid-layer allocates a device, with a queue, sends an
//! INQUIRY, and frees all that; and nearly all of 256 targets are not there. If the host has one
//! disk, that disk's queue is frozen twice for each of them, which takes grace periods: its tags
//! come to be shared with another queue, and are not any more. So the device is asked first, by a
//! task management function that changes nothing.

use crate::{
    tmf::{
        self,
        ControlQueue, //
    },
    wire::{
        self,
        Address,
        Function, //
    },
};
use storage::{
    scsi::HostRef,
    virtio::queue::Queue, //
};

/// How many seconds the device has for an answer. Some back ends never give one, and to look at all
/// targets in vain takes no longer than that.
const PATIENCE: u32 = 2;

/// Looks for all logical units of `host`. May sleep.
pub(crate) fn scan(host: &HostRef, control: &Queue<ControlQueue>) {
    let mut asking = true;

    for target in host.targets() {
        if let (true, Some(address)) = (asking, Address::new(target, 0)) {
            match tmf::ask(control, Function::QueryTaskSet, address, PATIENCE) {
                Ok(answer) if wire::is_bad_target(answer) => continue,
                Ok(_) => (),
                // Who does not answer functions may have disks all the same.
                Err(_) => asking = false,
            }
        }
        host.scan_target(target);
    }
}
