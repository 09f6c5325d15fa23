// SPDX-License-Identifier: GPL-2.0
//! The data of a SCSI command lies right behind it, in pages that blk-mq asks for until there is
//! room for one: for too large a command it does not end.
//~ ERROR the data of a command is small
#![forbid(unsafe_code)]

include!("parts/scsi_host.rs");

storage::device_readable! {
    /// Nine pages.
    #[derive(Clone, Copy)]
    pub struct Header {
        bytes: [u8; 9 * 4096],
    }
}

impl Default for Header {
    fn default() -> Self {
        Self {
            bytes: [0; 9 * 4096],
        }
    }
}
