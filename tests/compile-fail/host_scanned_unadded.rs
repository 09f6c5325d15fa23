// SPDX-License-Identifier: GPL-2.0
//! A SCSI host is scanned only once it is added.
//~ ERROR no method named `host_ref` found

#![forbid(unsafe_code)]

use storage::scsi::{
    NewHost,
    Operations, //
};

pub fn scan<T: Operations>(host: &NewHost<T>) {
    host.host_ref().scan();
}
