// SPDX-License-Identifier: GPL-2.0

//! There is no field beyond the end of the configuration space, where not every transport looks.
//~ ERROR assertion failed: offset <= size_of::<S>()

#![forbid(unsafe_code)]

use kernel::{
    device::Bound,
    prelude::*, //
};
use storage::{
    bindings::virtio_blk_config,
    virtio::{
        config::ConfigField,
        Device, //
    },
};

const FAR: ConfigField<u64> =
    ConfigField::new::<virtio_blk_config>(1 << 20, |space| space.capacity);

/// Reads it.
pub fn far(dev: &Device<Bound>) -> Result<u64> {
    dev.read_config(FAR)
}
