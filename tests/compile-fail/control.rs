// SPDX-License-Identifier: GPL-2.0

//! The positive control: a wire structure and a request's end, as they are meant.
//~ PASS

#![forbid(unsafe_code)]

use storage::block::{
    mq::{
        operations::Operations,
        request::Request, //
    },
    Status,
};

storage::device_readable! {
    /// A header.
    #[derive(Clone, Copy, Default)]
    pub struct Header {
        /// A documented field.
        pub kind: u8,
        pub flags: u8,
        pub count: u16,
        pub sector: [u8; 4],
    }
}

/// Ends a request.
pub fn end<T: Operations>(rq: Request<T>) {
    rq.end(Status::OK);
}
