// SPDX-License-Identifier: GPL-2.0

//! A field that is not there would count in place of padding: uninitialised bytes for the device.
//~ ERROR no rules expected

#![forbid(unsafe_code)]

storage::device_readable! {
    /// Four bytes and four of padding in 16.
    pub struct Header {
        kind: u32,
        #[cfg(any())]
        padding: u32,
        sector: u64,
    }
}
