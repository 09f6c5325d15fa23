// SPDX-License-Identifier: GPL-2.0

//! blk-mq: what `kernel::block::mq` does not have yet, under the names that it is growing towards:
//! per-request and per-queue data, idle and started requests, plug batches, completion batches,
//! queue maps.
//!
//! A request is an owned object. The block layer lends it to the driver as an [`IdleRequest`]; the
//! driver starts it, which makes it a [`Request`], gives it to the device, gets it back and ends
//! it. A request that gets lost on the way ends with an I/O error; it is never forgotten.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

pub mod batch;
pub mod operations;
pub mod request;
mod rq_list;
pub mod tag_set;

pub use batch::IoCompletionBatch;
pub use operations::{
    Operations,
    QueueCounts,
    QueueMap,
    Refused, //
};
pub use request::{
    IdleRequest,
    Request,
    RequestData,
    RequestList, //
};
pub use tag_set::TagSet;
