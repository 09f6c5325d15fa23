// SPDX-License-Identifier: GPL-2.0
//! A SCSI host is added once: adding it again would set up live queues anew.
//~ ERROR use of moved value: `host`

#![forbid(unsafe_code)]

use kernel::{
    device,
    prelude::*, //
};
use storage::scsi::{
    NewHost,
    Operations, //
};

pub fn add_twice<T: Operations>(host: NewHost<T>, dev: &device::Device) -> Result {
    let _first = host.add_host(dev)?;
    host.add_host(dev)?;
    Ok(())
}
