// SPDX-License-Identifier: GPL-2.0

//! Padding would be uninitialised bytes for the device.
//~ ERROR assertion failed

#![forbid(unsafe_code)]

storage::device_readable! {
    /// Four bytes and four of padding in 16.
    pub struct Header {
        kind: u32,
        sector: u64,
    }
}
