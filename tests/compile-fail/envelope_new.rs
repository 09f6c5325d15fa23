// SPDX-License-Identifier: GPL-2.0

//! An envelope on a stack or in a `VBox` would have no place in the linear mapping.
//~ ERROR associated function `new` is private

#![forbid(unsafe_code)]

use storage::virtio::frame::Envelope;

/// Makes one anywhere.
pub fn anywhere() {
    let _ = Envelope::<u8, u8>::new(0, 0, ());
}
