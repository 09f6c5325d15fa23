// SPDX-License-Identifier: GPL-2.0

// A path whose requests have `Header`, which the file that includes this declares.

use kernel::prelude::*;
use storage::{
    block::mq::{
        operations::{
            Operations,
            QueueMap,
            Refused, //
        },
        IdleRequest,
        Request, //
    },
    virtio::frame::Envelope,
};

pub struct Path;

#[vtable]
impl Operations for Path {
    type RequestData = Envelope<Header, u8>;
    type HwData = KBox<u32>;
    type TagSetData = KBox<u32>;

    fn init_hctx(_tag_set: &u32, _index: u32) -> Result<KBox<u32>> {
        Err(ENOTSUPP)
    }

    fn map_queues(_tag_set: &u32, _map: QueueMap<'_>) {}

    fn queue_rq(_hw: &u32, _rq: IdleRequest<Self>, _is_last: bool) -> Result<(), Refused<Self>> {
        Ok(())
    }

    fn commit_rqs(_hw: &u32) {}

    fn timed_out(_hw: &u32) {}

    fn complete(_rq: Request<Self>) {}
}

/// Looks where it lies.
pub fn header(rq: &mut Request<Path>) {
    rq.data().header_mut(1).bytes[0] = 1;
}

pub struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

module! {
    type: Module,
    name: "compile_fail",
    authors: ["The virtio-storage-rs developers"],
    description: "What must not compile",
    license: "GPL",
}
