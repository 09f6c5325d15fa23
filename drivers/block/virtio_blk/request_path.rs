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
        Outcome,
        Range, //
    },
    zones::ZoneMap, //
};
use kernel::{
    prelude::*,
    sync::{
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
            QueueCounts,
            QueueMap,
            Refused,
            Request,
            RequestList, //
        },
        Status, //
    },
    cpu_map::CpuMap,
    virtio::{
        frame::{
            Content,
            Envelope, //
        },
        queue::{
            Handler,
            Queue,
            QueueGuard, //
        },
    },
};

/// The blk-mq driver.
pub(crate) struct RequestPath;

/// The data of the tag set.
pub(crate) struct Queues {
    /// Whose interrupts go to which CPU.
    pub(crate) map: CpuMap,
    pub(crate) counts: QueueCounts,
    pub(crate) queues: KVec<Arc<Queue<RequestQueue>>>,
}

impl Queues {
    /// Ends what the device has done, whether it told by an interrupt or not.
    pub(crate) fn look(&self) {
        for queue in &self.queues[..self.counts.default as usize] {
            RequestQueue::used(queue.as_arc_borrow());
        }
        self.poll_all();
    }

    /// Ends what the device has done on the polled queues.
    pub(crate) fn poll_all(&self) {
        for queue in self.queues.iter().skip(self.counts.default as usize) {
            RequestPath::poll(queue.as_arc_borrow(), &mut IoCompletionBatch::default());
        }
    }
}

/// A queue of requests.
pub(crate) struct RequestQueue {
    pub(crate) little_endian: bool,
    /// The device sets used lengths as the specification says.
    pub(crate) strict: bool,
    pub(crate) recovery: Arc<Recovery>,
    pub(crate) zones: Arc<ZoneMap>,
}

/// What the queue's lock protects beside the ring.
#[derive(Default)]
pub(crate) struct State {
    /// The ring was full, and the block layer waits for a completion.
    stopped: bool,
    /// Done, but to be found at its timeout only (CONFIG_FAIL_IO_TIMEOUT). One at a time.
    unnoticed: Option<(Request<RequestPath>, Status)>,
}

type RequestQueueRef = Arc<Queue<RequestQueue>>;

#[vtable]
impl Operations for RequestPath {
    type RequestData = Envelope<Header, Footer, Range>;
    type HwData = RequestQueueRef;
    type TagSetData = Arc<Queues>;

    fn init_hctx(set: ArcBorrow<'_, Queues>, index: u32) -> Result<RequestQueueRef> {
        Ok(set.queues.get(index as usize).ok_or(EINVAL)?.clone())
    }

    fn map_queues(set: ArcBorrow<'_, Queues>, map: QueueMap<'_>) {
        map.copy_from(&set.map);
    }

    fn queue_rq(
        hw: ArcBorrow<'_, Queue<RequestQueue>>,
        rq: IdleRequest<Self>,
        is_last: bool,
    ) -> Result<(), Refused<Self>> {
        let rq = match hw.handler().prepare(rq) {
            Ok(prepared) => prepared,
            Err((rq, status)) => return Err(rq.refuse(status)),
        };
        let mut guard = hw.lock();

        let ret = match guard.ring.add(rq) {
            Ok(()) => Ok(()),
            Err((rq, e)) => Err(refuse(&hw.handler().recovery, &mut guard, rq, e)),
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
        let unnoticed = hw.lock().state().unnoticed.take();

        match unnoticed {
            Some((rq, status)) => rq.end(status),
            // The queue's watch looks after what got lost.
            None => hw.handler().recovery.timed_out(),
        }
    }

    fn complete(mut rq: Request<Self>) {
        // Judged by `take_used()`: the device may have written to the footer since.
        let outcome = Outcome::from_byte(rq.data().verdict());

        rq.end(outcome.into());
    }

    fn poll(hw: ArcBorrow<'_, Queue<RequestQueue>>, batch: &mut IoCompletionBatch<Self>) -> usize {
        if !hw.may_have_used() {
            return 0;
        }
        let mut guard = hw.lock();
        let found = hw.handler().take_used(&mut guard, batch);
        let broken = guard.ring.is_broken();
        hw.took_all(&guard);
        drop(guard);

        if broken {
            hw.handler().recovery.suspect();
        }
        found
    }
}

/// Decides what becomes of a request that `add()` gave back.
#[cold]
fn refuse(
    recovery: &Arc<Recovery>,
    guard: &mut QueueGuard<'_, RequestQueue>,
    rq: Request<RequestPath>,
    e: Error,
) -> Refused<RequestPath> {
    // Only a completion makes room in the ring; without one on its way, the block layer has to
    // try again by itself. The same if memory is short.
    if e == ENOSPC && guard.ring.in_flight() > 0 {
        guard.state().stopped = true;
        rq.stop_queue();
        rq.refuse(Status::DEV_RESOURCE)
    } else if e == ENOSPC || e == ENOMEM {
        rq.refuse(Status::RESOURCE)
    } else if e == EIO {
        // The ring is broken: until it is repaired.
        recovery.suspect();
        rq.refuse(Status::RESOURCE)
    } else {
        rq.refuse(Status::IOERR)
    }
}

impl RequestQueue {
    /// Starts a request and writes its frame. Gives it back if it is not of a known kind, or if
    /// memory for its ranges is short.
    #[inline]
    fn prepare(
        &self,
        mut rq: IdleRequest<RequestPath>,
    ) -> Result<Request<RequestPath>, (IdleRequest<RequestPath>, Status)> {
        let Some(command) = Command::of(rq.op(), rq.driver_flag(), rq.sector()) else {
            return Err((rq, Status::NOTSUPP));
        };
        if self.recovery.is_leaving() && !self.may_repeat(command) {
            // The block layer tries again, until the device is back.
            return Err((rq, Status::RESOURCE));
        }
        if command.content() == Content::Payload && set_ranges(&mut rq, command).is_err() {
            return Err((rq, Status::RESOURCE));
        }
        let mut rq = rq.start();

        self.write_frame(&mut rq, command);
        Ok(rq)
    }

    /// Whether a command that is in flight when the device goes may go to it again without harm.
    #[cold]
    fn may_repeat(&self, command: Command) -> bool {
        if self.zones.is_zoned() {
            command.is_repeatable_on_zones()
        } else {
            command.is_repeatable()
        }
    }

    /// Writes header and footer.
    #[inline]
    fn write_frame(&self, rq: &mut Request<RequestPath>, command: Command) {
        let header = Header::new(self.little_endian, command, rq.ioprio(), rq.sector());

        rq.data()
            .set(header, wire::NO_FOOTER, command.footer(), command.content());
    }

    /// Takes what the device has done, into `batch`. Returns how many requests.
    #[inline]
    fn take_used(
        &self,
        guard: &mut QueueGuard<'_, Self>,
        batch: &mut IoCompletionBatch<RequestPath>,
    ) -> usize {
        let mut found = 0;

        while let Some((mut rq, used)) = guard.ring.get_buf() {
            let status = self.judge(&mut rq, used);

            found += 1;
            if core::mem::take(&mut guard.state().stopped) {
                rq.start_stopped_queues();
            }
            if rq.is_to_time_out() && guard.state().unnoticed.is_none() {
                guard.state().unnoticed = Some((rq, status));
            } else if let Some(rq) = rq.complete() {
                batch.add(rq, status);
            }
        }
        found
    }

    /// Judges the device's answer, by the one look at it; what comes of it is remembered for
    /// `complete()`.
    #[inline]
    fn judge(&self, rq: &mut Request<RequestPath>, used: usize) -> Status {
        let command = Command::of(rq.op(), rq.driver_flag(), rq.sector());
        let expected = command.map_or(0, |command| command.written(rq.len()));
        let footer = rq.data().footer();
        let mut outcome = wire::judge(wire::status(footer), used, expected, self.strict);

        match command {
            Some(Command::Discard) => rq.data().clear_payload(),
            Some(Command::ZoneAppend) if outcome == Outcome::Ok => {
                let at = wire::appended_at(footer);
                let zones = &self.zones;

                if !zones.holds_append(rq.sector(), at, rq.len()) || rq.set_sector(at).is_err() {
                    outcome = Outcome::Nonsense;
                }
            }
            _ => (),
        }
        if outcome == Outcome::Nonsense {
            self.recovery.nonsense(wire::status(footer), used, expected);
        }
        rq.data().set_verdict(outcome.to_byte());
        outcome.into()
    }
}

/// Puts the ranges of a discard or the like into the payload.
#[cold]
fn set_ranges(rq: &mut IdleRequest<RequestPath>, command: Command) -> Result {
    let unmap = command == Command::WriteZeroes && !rq.is_nounmap();

    rq.set_ranges(|range| Range::new(range, unmap))
}

/// Takes a plug's requests to one queue: `first` and those of `more` that follow it. One lock, one
/// kick. `false` if one cannot go now: the rest then goes one by one through `queue_rq()`, which
/// decides why not and, if the ring is full, stops the queue.
fn queue_batch(
    queue: &RequestQueueRef,
    first: IdleRequest<RequestPath>,
    more: &mut RequestList<'_, RequestPath>,
) -> bool {
    let mut next = Some(first);
    let mut room = true;
    let guard = queue.lock();

    while let Some(rq) = next {
        if guard.ring.num_free() == 0 {
            more.push_front(rq);
            room = false;
            break;
        }
        match queue.handler().prepare(rq) {
            Ok(rq) => {
                if let Err((rq, _)) = guard.ring.add(rq) {
                    rq.requeue();
                    room = false;
                    break;
                }
            }
            // `queue_rq()` will say why not.
            Err((rq, _)) => {
                more.push_front(rq);
                room = false;
                break;
            }
        }
        next = more.pop_if(|hw| core::ptr::eq(&*hw, &**queue));
    }
    Queue::kick(guard);
    room
}

impl Handler for RequestQueue {
    type Token = Request<RequestPath>;
    type State = State;

    const REPLAYS: bool = true;

    fn again(&self, rq: &mut Request<RequestPath>) -> bool {
        let Some(command) = Command::of(rq.op(), rq.driver_flag(), rq.sector()) else {
            return false;
        };

        // The header as well: a device that lost its mind may have written to it.
        self.write_frame(rq, command);
        command.is_repeatable()
    }

    fn used(queue: ArcBorrow<'_, Queue<Self>>) {
        let broken = queue.take_used(
            |guard, batch| queue.handler().take_used(guard, batch),
            |guard, batch: IoCompletionBatch<RequestPath>| {
                drop(guard);
                batch.end();
            },
        );
        if broken {
            queue.handler().recovery.suspect();
        }
    }

    fn silent(queue: &Queue<Self>, _seconds: u64) {
        queue.handler().recovery.suspect();
    }

    fn late(queue: &Queue<Self>, seconds: u64) {
        queue.handler().recovery.late(seconds);
    }

    fn cancelled(_queue: &Queue<Self>, rq: Request<RequestPath>) {
        rq.start_stopped_queues();
        let command = Command::of(rq.op(), rq.driver_flag(), rq.sector());
        rq.end(command.map_or(Status::IOERR, Command::unanswered));
    }
}
