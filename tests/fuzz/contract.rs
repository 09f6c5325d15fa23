// SPDX-License-Identifier: GPL-2.0

//! What a driver may try in safe code, and the library refuses when it runs; what the compiler
//! refuses is in tests/compile-fail. Each of these once reached undefined behaviour.

use kernel::{
    prelude::*,
    str::CString,
    sync::{
        Arc,
        ArcBorrow, //
    },
};
use storage::{
    block::mq::{
        operations::{
            Operations,
            QueueCounts,
            QueueMap,
            Refused, //
        },
        tag_set::TagSet,
        IdleRequest,
        Request, //
    },
    virtio::{
        buffer::WritableBuffer,
        frame::Envelope,
        queue::{
            Handler,
            Queue, //
        },
        queues::Builder, //
    },
    work::ModuleWorkqueue,
};

struct Nobody;

impl Handler for Nobody {
    type Token = WritableBuffer;
    type State = ();

    fn used(_queue: ArcBorrow<'_, Queue<Self>>) {}

    fn cancelled(_queue: &Queue<Self>, _buffer: WritableBuffer) {}
}

#[vtable]
impl Operations for Nobody {
    type RequestData = Envelope<u8, u8>;
    type HwData = KBox<u32>;
    type TagSetData = KBox<u32>;

    fn init_hctx(_tag_set: &u32, _index: u32) -> Result<KBox<u32>> {
        Err(ENODEV)
    }

    fn map_queues(_tag_set: &u32, _map: QueueMap<'_>) {}

    fn queue_rq(_hw: &u32, _rq: IdleRequest<Self>, _is_last: bool) -> Result<(), Refused<Self>> {
        Ok(())
    }

    fn commit_rqs(_hw: &u32) {}

    fn timed_out(_hw: &u32) {}

    fn complete(_rq: Request<Self>) {}
}

/// Two guards of one workqueue: the second would destroy what the first did.
fn one_guard() -> Result {
    static WORKQUEUE: ModuleWorkqueue = ModuleWorkqueue::new();
    let guard = WORKQUEUE.create(c"contract")?;

    assert_eq!(WORKQUEUE.create(c"contract").err(), Some(EBUSY));
    // Its end would wait for a grace period, and so takes a task.
    core::mem::forget(guard);
    Ok(())
}

/// One queue in the sets of two devices: the end of one would free what the other writes to.
fn one_set() -> Result {
    let name = || CString::try_from_fmt(fmt!("contract"));
    let queue = Arc::pin_init(Queue::new(Ok(Nobody), ()), GFP_KERNEL)?;
    let (mut first, mut second) = (Builder::new(), Builder::new());

    first.add(name()?, queue.clone())?;
    assert_eq!(first.add(name()?, queue.clone()), Err(EBUSY));
    assert_eq!(second.add(name()?, queue.clone()), Err(EBUSY));
    assert_eq!(second.add_polled(name()?, queue.clone()), Err(EBUSY));
    drop(first);
    second.add(name()?, queue)
}

/// More queues than blk-mq counts, none that interrupts, or polled ones that nobody can poll: it
/// would look for requests beyond its arrays, or call what is not there.
fn queues_that_can_be() -> Result {
    const MANY: u32 = i32::MAX as u32;

    for (default, poll) in [
        (0, 0),
        (0, 1),
        (1, 1),
        (MANY, 1),
        (MANY + 1, 0),
        (u32::MAX, 1),
    ] {
        let counts = QueueCounts { default, poll };
        let set = TagSet::<Nobody>::new(1, counts, KBox::new(0, GFP_KERNEL)?);

        assert_eq!(
            Arc::pin_init(set, GFP_KERNEL).err(),
            Some(EINVAL),
            "{default} {poll}"
        );
    }
    Ok(())
}

/// A ring without a virtqueue, another queue's guard, a buffer without a byte: nothing is done.
fn nothing_to_do_with() -> Result {
    let queue = || Arc::pin_init(Queue::new(Ok(Nobody), ()), GFP_KERNEL);
    let (one, other) = (queue()?, queue()?);
    let buffer = WritableBuffer::new(8)?;
    let guard = one.lock();
    let refused = guard.ring.add(buffer);

    assert_eq!(refused.err().map(|(_, e)| e), Some(ENODEV));
    assert!(guard.ring.get_buf().is_none() && !guard.ring.is_broken() && guard.ring.enable_cb());
    assert_eq!((guard.ring.num_free(), guard.ring.vring_size()), (0, 0));
    guard.ring.disable_cb();
    guard.ring.trace_line(0, 0);
    other.took_all(&guard);
    assert!(other.may_have_used());
    assert!(Queue::kick(guard));
    assert_eq!(WritableBuffer::new(0).err(), Some(EINVAL));
    Ok(())
}

/// All of them are refused.
pub fn prove() {
    assert_eq!(
        one_guard()
            .and_then(|()| one_set())
            .and_then(|()| queues_that_can_be())
            .and_then(|()| nothing_to_do_with()),
        Ok(())
    );
}
