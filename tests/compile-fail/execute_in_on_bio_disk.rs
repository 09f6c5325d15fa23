// SPDX-License-Identifier: GPL-2.0
//! A request of the driver itself needs a disk of requests: one of bios has no queues for them.
//~ ERROR type mismatch resolving `<RamDisk as Operations>::Kind == Requests<_>`

#![forbid(unsafe_code)]

use kernel::prelude::*;
use storage::block::{
    bio_disk::Bios,
    gen_disk::{
        Disk,
        Geometry,
        Operations, //
    },
    mq, //
};

pub struct RamDisk;

#[vtable]
impl Operations for RamDisk {
    type Kind = Bios;
    type Data = KBox<u32>;

    fn geometry(_disk: &Disk<Self>) -> Result<Geometry> {
        Err(ENOTTY)
    }
}

pub fn read_id(disk: &Disk<RamDisk>, id: &mut KVec<u8>) -> Result {
    mq::request::execute_in(disk, false, 0, id)
}
