// SPDX-License-Identifier: GPL-2.0
//! A disk of requests takes no bios: its blk-mq does.
//~ ERROR type mismatch resolving `<RequestDisk<M> as Operations>::Kind == Bios`

#![forbid(unsafe_code)]

use core::marker::PhantomData;
use kernel::prelude::*;
use storage::block::{
    bio::Bio,
    bio_disk,
    gen_disk::{
        Disk,
        Geometry,
        Operations,
        Requests, //
    },
    mq, //
};

pub struct RequestDisk<M>(PhantomData<M>);

#[vtable]
impl<M: mq::Operations> Operations for RequestDisk<M> {
    type Kind = Requests<M>;
    type Data = KBox<u32>;

    fn geometry(_disk: &Disk<Self>) -> Result<Geometry> {
        Err(ENOTTY)
    }
}

#[vtable]
impl<M: mq::Operations> bio_disk::Operations for RequestDisk<M> {
    fn submit_bio(_data: &u32, bio: Bio) {
        drop(bio);
    }
}
