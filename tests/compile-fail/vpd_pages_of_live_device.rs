// SPDX-License-Identifier: GPL-2.0
//! The flags of a SCSI device are set before anybody else knows it: else two CPUs may write to them.
//~ ERROR no method named `try_vpd_pages` found

#![forbid(unsafe_code)]

use storage::scsi::{
    Command,
    Operations, //
};

pub fn flag<T: Operations>(cmd: &Command<T>) {
    cmd.device().try_vpd_pages();
}
