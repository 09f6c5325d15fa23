// SPDX-License-Identifier: GPL-2.0
//! A disk is added once: adding it again would free live memory.
//~ ERROR use of moved value: `disk`

#![forbid(unsafe_code)]

use kernel::prelude::*;
use storage::block::gen_disk::{
    NewDisk,
    Operations, //
};

pub fn add_twice<T: Operations>(disk: NewDisk<T>) -> Result {
    let _first = disk.add_disk(None);
    disk.add_disk(None)?;
    Ok(())
}
