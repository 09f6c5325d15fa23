// SPDX-License-Identifier: GPL-2.0

//! Request mode: requests of blk-mq.
//!
//! The token of a queue is the request itself; its frame for the device is allocated with it.

use crate::{
    recovery::Recovery,
    wire::{
        self,
        Command,
        Footer,
        Header,
        Outcome, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
};
use storage::{
    block::{
        mq::{
            IdleRequest,
            IoCompletionBatch,
            Operations,
            QueueMap,
            Refused,
            Request,
            RequestList, //
        },
        Op,
        Status, //
    },
    virtio::{
        self,
        queue::{
            Handler,
            Queue,
            QueueGuard, //
        },
        sg::Envelope, //
    },
};

/// The blk-mq driver.
pub(crate) struct RequestPath;

/// The data of the tag set.
pub(crate) struct Queues {
    pub(crate) dev: ARef<virtio::Device>,
    pub(crate) queues: KVec<Arc<Queue<RequestQueue>>>,
}

impl Queues {
    /// Whether a ring can work no more.
    pub(crate) fn is_broken(&self) -> bool {
        self.queues
            .iter()
            .any(|queue| queue.lock().ring.is_broken())
    }
}

/// A queue of requests.
pub(crate) struct RequestQueue {
    pub(crate) little_endian: bool,
    /// The device sets used lengths as the specification says.
    pub(crate) strict: bool,
    pub(crate) recovery: Arc<Recovery>,
}

/// What the queue's lock protects beside the ring.
#[derive(Default)]
pub(crate) struct State {
    /// The ring was full, and the block layer waits for a completion.
    stopped: bool,
}

type RequestQueueRef = Arc<Queue<RequestQueue>>;

#[vtable]
impl Operations for RequestPath {
    type RequestData = Envelope<Header, Footer>;
    type HwData = RequestQueueRef;
    type TagSetData = Arc<Queues>;

    fn init_hctx(set: ArcBorrow<'_, Queues>, index: u32) -> Result<RequestQueueRef> {
        Ok(set.queues.get(index as usize).ok_or(EINVAL)?.clone())
    }

    fn map_queues(set: ArcBorrow<'_, Queues>, map: QueueMap<'_>) {
        map.map_to_interrupts((*set.dev).as_ref());
    }

    fn queue_rq(
        hw: ArcBorrow<'_, Queue<RequestQueue>>,
        rq: IdleRequest<Self>,
        is_last: bool,
    ) -> Result<(), Refused<Self>> {
        let (rq, command) = match hw.handler().prepare(rq) {
            Ok(prepared) => prepared,
            Err(rq) => return Err(rq.refuse(Status::NOTSUPP)),
        };
        let mut guard = hw.lock();

        let ret = match guard.ring.add(rq, command != Command::Flush) {
            Ok(()) => Ok(()),
            Err((rq, e)) => Err(refuse(&mut guard, rq, e)),
        };
        if is_last || ret.is_err() {
            Queue::kick(guard);
        }
        ret
    }

    fn queue_rqs(rqs: &mut RequestList<'_, Self>) {
        while let Some(rq) = rqs.pop() {
            let hw: RequestQueueRef = rq.hw_data().into();

            if !queue_batch(&hw, rq, rqs) {
                break;
            }
        }
    }

    fn commit_rqs(hw: ArcBorrow<'_, Queue<RequestQueue>>) {
        Queue::kick(hw.lock());
    }

    fn timed_out(hw: ArcBorrow<'_, Queue<RequestQueue>>) {
        let broken = hw.lock().ring.is_broken();

        hw.handler().recovery.late(broken);
    }

    fn complete(mut rq: Request<Self>) {
        // The length was judged by `used()`.
        let footer = rq.data().footer();

        rq.end(wire::judge(footer, 0, 0, false).into());
    }
}

/// Decides what becomes of a request that `add()` gave back.
#[cold]
fn refuse(
    guard: &mut QueueGuard<'_, RequestQueue>,
    rq: Request<RequestPath>,
    e: Error,
) -> Refused<RequestPath> {
    // Only a completion makes room in the ring; without one on its way, the block layer has to
    // try again by itself. The same if memory is short.
    if e == ENOSPC && guard.ring.in_flight() > 0 {
        guard.state.stopped = true;
        rq.stop_queue();
        rq.refuse(Status::DEV_RESOURCE)
    } else if e == ENOSPC || e == ENOMEM {
        rq.refuse(Status::RESOURCE)
    } else {
        rq.refuse(Status::IOERR)
    }
}

impl RequestQueue {
    /// Starts a request and writes its header. Gives it back if it is not of a known kind.
    #[inline]
    fn prepare(
        &self,
        rq: IdleRequest<RequestPath>,
    ) -> Result<(Request<RequestPath>, Command), IdleRequest<RequestPath>> {
        let Some(command) = command_of(rq.op()) else {
            return Err(rq);
        };
        let mut rq = rq.start();
        let header = Header::new(self.little_endian, command, rq.ioprio(), rq.sector());

        rq.data().set(header, wire::STATUS_NONE);
        Ok((rq, command))
    }

    /// Judges the device's answer. A bad one leaves an error in the footer, for `complete()`.
    #[inline]
    fn judge(&self, rq: &mut Request<RequestPath>, used: usize) -> Status {
        let expected = command_of(rq.op()).map_or(0, |command| command.written(rq.len()));
        let footer = rq.data().footer();
        let outcome = wire::judge(footer, used, expected, self.strict);

        if outcome == Outcome::Nonsense {
            self.recovery.nonsense(footer, used, expected);
            rq.data().set_footer(wire::STATUS_NONE);
        }
        outcome.into()
    }
}

#[inline]
fn command_of(op: Op) -> Option<Command> {
    match op {
        Op::READ => Some(Command::Read),
        Op::WRITE => Some(Command::Write),
        Op::FLUSH => Some(Command::Flush),
        Op::DRV_IN => Some(Command::GetId),
        _ => None,
    }
}

/// Takes a plug's requests to one queue: `first` and those of `more` that follow it. One lock, one
/// kick. `false` if the ring is full: the rest then goes one by one through `queue_rq()`, which
/// stops the queue.
fn queue_batch(
    queue: &RequestQueueRef,
    first: IdleRequest<RequestPath>,
    more: &mut RequestList<'_, RequestPath>,
) -> bool {
    let mut next = Some(first);
    let mut room = true;
    let mut guard = queue.lock();

    while let Some(rq) = next {
        if guard.ring.free_descriptors() == 0 {
            more.push_front(rq);
            room = false;
            break;
        }
        match queue.handler().prepare(rq) {
            Ok((rq, command)) => {
                if let Err((rq, _)) = guard.ring.add(rq, command != Command::Flush) {
                    rq.requeue();
                    room = false;
                    break;
                }
            }
            Err(rq) => rq.end(Status::NOTSUPP),
        }
        next = more.pop_if(|hw| core::ptr::eq(&*hw, &**queue));
    }
    Queue::kick(guard);
    room
}

impl Handler for RequestQueue {
    type Token = Request<RequestPath>;
    type State = State;

    fn used(queue: ArcBorrow<'_, Queue<Self>>) {
        let mut batch = IoCompletionBatch::default();
        let mut guard = queue.lock();

        loop {
            guard.ring.disable_callback();
            while let Some((mut rq, used)) = guard.ring.pop() {
                let status = queue.handler().judge(&mut rq, used);

                if core::mem::take(&mut guard.state.stopped) {
                    rq.start_stopped_queues();
                }
                if let Some(rq) = rq.complete() {
                    batch.add(rq, status);
                }
            }
            if guard.ring.enable_callback() {
                break;
            }
        }
        let broken = guard.ring.is_broken();
        drop(guard);

        batch.end();
        if broken {
            queue.handler().recovery.give_up();
        }
    }

    fn cancelled(_queue: &Queue<Self>, rq: Request<RequestPath>) {
        rq.start_stopped_queues();
        rq.end(Status::IOERR);
    }
}
