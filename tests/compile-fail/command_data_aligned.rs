// SPDX-License-Identifier: GPL-2.0
//! The data of a SCSI command lies right behind it, with the alignment that a command has.
//~ ERROR the data of a command lies right behind it
#![forbid(unsafe_code)]

include!("parts/scsi_host.rs");

storage::device_readable! {
    /// Without padding, but far apart.
    #[derive(Clone, Copy)]
    #[repr(align(128))]
    pub struct Header {
        bytes: [u8; 128],
    }
}

impl Default for Header {
    fn default() -> Self {
        Self { bytes: [0; 128] }
    }
}
