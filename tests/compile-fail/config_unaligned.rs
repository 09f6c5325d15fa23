// SPDX-License-Identifier: GPL-2.0

//! No field of the configuration space is read across its borders: some machines stop at that.
//~ ERROR fields of the configuration are aligned

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

const ODD: ConfigField<u64> = ConfigField::new::<virtio_blk_config>(1, |space| space.capacity);

/// Reads it.
pub fn odd(dev: &Device<Bound>) -> Result<u64> {
    dev.read_config(ODD)
}
