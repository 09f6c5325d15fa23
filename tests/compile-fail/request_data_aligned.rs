// SPDX-License-Identifier: GPL-2.0
//! The data of a request lies right behind it: blk-mq's own requests of flushes are of `kzalloc()`,
//! which knows nothing of a larger alignment.
//~ ERROR the data of a request lies right behind it
#![forbid(unsafe_code)]

include!("parts/request_path.rs");

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
