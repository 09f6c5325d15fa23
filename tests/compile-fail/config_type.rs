// SPDX-License-Identifier: GPL-2.0

//! A field of the configuration space is read as what it is: two bytes of it are another value.
//~ ERROR mismatched types

#![forbid(unsafe_code)]

use kernel::{
    device::Bound,
    prelude::*, //
};
use storage::{
    config_field,
    virtio::Device, //
};

/// Reads half of the capacity.
pub fn half(dev: &Device<Bound>) -> Result<u32> {
    dev.read_config(config_field!(virtio_blk_config, capacity))
}
