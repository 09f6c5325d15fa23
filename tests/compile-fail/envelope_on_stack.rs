// SPDX-License-Identifier: GPL-2.0

//! The data of a request is made behind the request only: a stack has no place in the linear mapping.
//~ ERROR call to unsafe function

#![forbid(unsafe_code)]

use storage::{
    block::mq::RequestData,
    virtio::frame::Envelope, //
};

/// Makes one anywhere.
pub fn anywhere() {
    let _ = <Envelope<u8, u8> as RequestData>::init();
}
