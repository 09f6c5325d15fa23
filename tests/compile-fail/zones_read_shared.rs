// SPDX-License-Identifier: GPL-2.0
//! Zones are read by who has the disk alone: the block layer makes room for as many as the capacity
//! has then, which another thread could change.
//~ ERROR cannot borrow `*disk` as mutable

#![forbid(unsafe_code)]

use kernel::prelude::*;
use storage::block::gen_disk::{
    NewDisk,
    Operations, //
};

pub fn read<T: Operations>(disk: &NewDisk<T>) -> Result {
    disk.revalidate_zones()
}
