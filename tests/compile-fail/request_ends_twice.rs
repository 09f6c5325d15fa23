// SPDX-License-Identifier: GPL-2.0

//! A request that ends twice is freed twice: whoever has it next loses it.
//~ ERROR use of moved value: `rq`

#![forbid(unsafe_code)]

use storage::block::{
    mq::{
        operations::Operations,
        request::Request, //
    },
    Status,
};

/// Ends a request, and once more.
pub fn twice<T: Operations>(rq: Request<T>) {
    rq.end(Status::OK);
    rq.end(Status::OK);
}
