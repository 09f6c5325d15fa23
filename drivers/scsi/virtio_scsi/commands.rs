// SPDX-License-Identifier: GPL-2.0

//! The way of a command to the device and back.
//!
//! The token of a request queue is the command itself; its frame for the device is allocated with
//! it. Beside those there are a few of the driver's own.

use crate::{
    recovery::Recovery,
    waiter::Waiter,
    wire::{
        self,
        Address,
        Order,
        Protection,
        Request,
        Response,
        ResponseHead,
        Task, //
    },
    ScsiHost, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc,
        ArcBorrow, //
    },
};
use storage::{
    scsi::{
        cmnd::Direction,
        status,
        Command,
        CommandList,
        HostByte, //
    },
    tally::Tally,
    virtio::{
        self,
        buffer::BoxedFrame,
        either::Either,
        queue::{
            Handler,
            Queue,
            Ring, //
        },
    },
};

/// A command of the driver's own, without data.
type Question = BoxedFrame<Request, Response, Arc<Waiter>>;

/// What is in a request queue.
pub(crate) type Token = Either<Command<ScsiHost>, Question>;

/// All request queues of a host.
pub(crate) type RequestQueues = KVec<Arc<Queue<RequestQueue>>>;

/// A queue of commands.
pub(crate) struct RequestQueue {
    pub(crate) dev: ARef<virtio::Device>,
    pub(crate) order: Order,
    /// `VIRTIO_SCSI_F_T10_PI` was negotiated.
    pub(crate) protection: bool,
    /// Answers that the specification does not know.
    unknown: Tally,
    /// Answers that the mid-layer must not see.
    absurd: Tally,
    /// The last question was not answered in time, and is not yet.
    pub(crate) silent: Atomic<bool>,
    pub(crate) recovery: Arc<Recovery>,
}

impl RequestQueue {
    pub(crate) fn new(
        dev: ARef<virtio::Device>,
        order: Order,
        protection: bool,
        recovery: Arc<Recovery>,
    ) -> Self {
        Self {
            dev,
            order,
            protection,
            unknown: Tally::new(),
            absurd: Tally::new(),
            silent: Atomic::new(false),
            recovery,
        }
    }

    /// The counts of bad answers, for the counters.
    pub(crate) fn bad_answers(&self) -> [&Tally; 2] {
        [&self.unknown, &self.absurd]
    }

    /// How much of a header the device gets.
    #[inline]
    fn header_size(&self) -> usize {
        if self.protection {
            wire::REQUEST_PI_SIZE
        } else {
            wire::REQUEST_SIZE
        }
    }

    /// Writes the header; `false` if the command's device has no address.
    #[inline]
    fn prepare(&self, cmd: &mut Command<ScsiHost>) -> bool {
        let dev = cmd.device();
        let Some(address) = Address::new(dev.target(), dev.lun()) else {
            return false;
        };
        let task = Task {
            address,
            tag: cmd.tag().into(),
            priority: wire::priority(cmd.ioprio()),
        };
        let protection = self.protection.then(|| match cmd.direction() {
            Direction::ToDevice => Protection {
                out: cmd.protection_len(),
                into: 0,
            },
            Direction::FromDevice => Protection {
                out: 0,
                into: cmd.protection_len(),
            },
            Direction::None => Protection::default(),
        });
        let cdb = *cmd.cdb_field();

        cmd.data()
            .header_mut(self.header_size())
            .set(self.order, &task, &cdb, protection);
        cmd.data().footer_mut().reset();
        true
    }

    /// Takes the answer to a question of the driver's own.
    #[cold]
    fn answered(&self, mut question: Question) {
        let response = question.frame().footer_part::<ResponseHead>(0);

        self.silent.store(false, Relaxed);
        question
            .data()
            .tell(response.map_or(wire::RESPONSE_NONE, |head| head.response));
    }

    /// Judges the device's answer.
    #[inline]
    fn judge(&self, cmd: &mut Command<ScsiHost>) {
        let Some(head) = cmd.data().footer_part::<ResponseHead>(0) else {
            cmd.set_result(HostByte::ERROR, 0);
            return;
        };
        let verdict = wire::judge(self.order, &head);

        cmd.set_result(told(verdict.host, cmd), verdict.status);
        if verdict.host == HostByte::RESET && cmd.is_of_error_handling() {
            ask_again(cmd);
        }
        if verdict.residual != 0 {
            cmd.set_residual(verdict.residual);
            // A success of nothing: the mid-layer would try again without an end, and tell nobody.
            if verdict.is_success() && cmd.moved_no_block() {
                cmd.set_result(HostByte::ERROR, 0);
            }
        }
        if verdict.sense_len != 0 {
            cmd.take_sense(wire::SENSE_OFFSET, verdict.sense_len);
            // Who asked shall not hear of a reset that the driver made: REPORT ZONES that fails
            // costs a zoned disk its capacity. Who moves a tape must.
            if is_repeatable(cmd) && cmd.only_tells_of_reset() {
                cmd.set_result(HostByte::IMM_RETRY, 0);
            }
        }
        if verdict.unknown {
            self.warn_unknown(head.response);
        }
        if wire::asks_who(cmd.cdb_field()[0]) && verdict.is_success() {
            self.judge_description(cmd);
        }
    }

    /// Fails a question whose answer is one that the mid-layer must not see.
    #[cold]
    fn judge_description(&self, cmd: &mut Command<ScsiHost>) {
        let absurd = wire::is_absurd(cmd.cdb_field(), cmd.len() as usize, |at| cmd.peek(at));

        if cmd.is_passthrough() && absurd {
            cmd.set_result(HostByte::ERROR, 0);
            if let Some(n) = self.absurd.count() {
                dev_warn!(
                    self.dev,
                    "operation {:#x}: an answer that cannot be; error ({} times)\n",
                    cmd.cdb_field()[0],
                    n
                );
            }
        }
    }

    #[cold]
    fn warn_unknown(&self, response: u8) {
        if let Some(n) = self.unknown.count() {
            dev_warn!(
                self.dev,
                "unknown response {:#x}; I/O error ({} times)\n",
                response,
                n
            );
        }
    }
}

/// Gives a command to the device; one that it does not get comes back, with the error of
/// `Ring::add()`, or with [`EAGAIN`] if it would be kept and must not be.
#[inline]
pub(crate) fn submit(
    queue: &Queue<RequestQueue>,
    mut cmd: Command<ScsiHost>,
    is_last: bool,
) -> Result<(), (Command<ScsiHost>, Error)> {
    if wire::asks_who(cmd.cdb_field()[0]) && cmd.is_passthrough() {
        // A scan goes on as long as the device likes; whoever removes it waits for that.
        if queue.handler().recovery.is_removing() {
            end(cmd, HostByte::NO_CONNECT);
            return Ok(());
        }
        // The mid-layer's memory is not: what the device does not write, everybody could read.
        cmd.clear_data();
    }
    if !queue.handler().prepare(&mut cmd) {
        end(cmd, HostByte::BAD_TARGET);
        return Ok(());
    }

    let guard = queue.lock();
    // Error handling uses it again when it likes: not one to be kept for a device under repair.
    if !guard.ring.is_open() {
        if cmd.is_late() && guard.ring.is_held() {
            return Err((cmd, EAGAIN));
        }
        cmd.note_reset();
    }
    let result = guard.ring.add(Either::Left(cmd));
    // If it failed: those before it may wait for the kick.
    if is_last || result.is_err() {
        Queue::kick(guard);
    }
    match result {
        Err((Either::Left(cmd), e)) => Err((cmd, e)),
        _ => Ok(()),
    }
}

/// Asks logical unit 0 of a target by `cdb`, a command without data, and returns the response code.
/// May sleep, for so many seconds at most.
///
/// Fails with [`ETIMEDOUT`] if the device does not answer, and at once as long as it does not, and
/// as `Ring::add()` does.
pub(crate) fn ask(
    queue: &Queue<RequestQueue>,
    target: Address,
    cdb: &[u8; wire::CDB_SIZE],
    seconds: u32,
) -> Result<u8> {
    /// None that a command of the mid-layer has.
    const TAG: u64 = 1 << 63;
    let this = queue.handler();
    if this.silent.load(Relaxed) {
        return Err(ETIMEDOUT);
    }
    let waiter = Waiter::new()?;
    let mut question = Question::new(Request::default(), Response::default(), waiter.clone())?;
    let task = Task {
        address: target,
        tag: TAG,
        priority: 0,
    };

    question.frame().header_mut(this.header_size()).set(
        this.order,
        &task,
        cdb,
        this.protection.then(Protection::default),
    );
    let guard = queue.lock();
    guard
        .ring
        .add(Either::Right(question))
        .map_err(|(_, e)| e)?;
    Queue::kick(guard);
    let (answer, in_time) = waiter.wait(seconds, || {
        this.silent.store(true, Relaxed);
        drain(queue);
    });
    if answer.is_some() {
        // It came just when this was said.
        this.silent.store(false, Relaxed);
    }
    answer.ok_or(if in_time { ENODEV } else { ETIMEDOUT })
}

/// Ends a command that the device never saw.
#[cold]
pub(crate) fn end(mut cmd: Command<ScsiHost>, host: HostByte) {
    cmd.set_result(host, 0);
    cmd.done();
}

/// Has error handling ask once more what a reset ended, be it the driver's or one by the target: a
/// reset is a failure to it, of which the unit's end may come; of one that is busy it tries again.
#[cold]
fn ask_again(cmd: &mut Command<ScsiHost>) {
    cmd.set_result(HostByte::OK, status::BUSY);
}

/// What the host says of a command to who sent it. Who has another path is told at once that the
/// transport failed: the mid-layer would try five more times on this one.
#[inline]
fn told(host: HostByte, cmd: &Command<ScsiHost>) -> HostByte {
    if host == HostByte::TRANSPORT_DISRUPTED && cmd.has_other_path() {
        return HostByte::TRANSPORT_FAILFAST;
    }
    host
}

/// Takes the next command that the device has used; and the questions before it.
#[inline(always)]
fn pop(queue: &Queue<RequestQueue>, ring: &Ring<Token>) -> Option<Command<ScsiHost>> {
    loop {
        match ring.get_buf()?.0 {
            Either::Left(cmd) => return Some(cmd),
            Either::Right(question) => queue.handler().answered(question),
        }
    }
}

/// Takes what the device has used, whether or not it interrupted; returns how much.
pub(crate) fn drain(queue: &Queue<RequestQueue>) -> usize {
    let mut list = CommandList::default();
    let rcu = rcu::read_lock();
    let guard = queue.lock();

    while let Some(cmd) = pop(queue, &guard.ring) {
        list.push(cmd);
    }
    let broken = guard.ring.is_broken();
    queue.took_all(&guard);
    drop(guard);
    if broken {
        queue.handler().recovery.suspect();
    }
    list.done(&rcu, |cmd| queue.handler().judge(cmd))
}

/// The same on a polled queue, where mostly there is nothing.
#[inline]
pub(crate) fn poll(queue: &Queue<RequestQueue>) -> usize {
    if queue.may_have_used() {
        drain(queue)
    } else {
        0
    }
}

/// The same for all of them.
pub(crate) fn drain_all(queues: &[Arc<Queue<RequestQueue>>]) {
    for queue in queues {
        drain(queue);
    }
}

/// Whether a command may be sent again if nobody knows whether the device did it: the result is the
/// same. What the block layer asks for, is so; of what others do, that is known of questions, and
/// of a flush.
fn is_repeatable(cmd: &Command<ScsiHost>) -> bool {
    let [code, byte, ..] = *cmd.cdb_field();

    !cmd.is_passthrough() || wire::is_repeatable([code, byte])
}

impl Handler for RequestQueue {
    type Token = Token;
    type State = ();

    const REPLAYS: bool = true;

    /// What is late is left to error handling, which may use the command again.
    fn again(&self, token: &mut Token) -> bool {
        let Either::Left(cmd) = token else {
            return false;
        };

        cmd.data().footer_mut().reset();
        let again = !cmd.is_late() && is_repeatable(cmd);
        if again {
            cmd.forget_timeouts();
            cmd.note_reset();
        }
        again
    }

    /// What is late is error handling's, which wants it back.
    fn may_wait(&self, token: &Token) -> bool {
        !matches!(token, Either::Left(cmd) if cmd.is_late())
    }

    fn silent(queue: &Queue<Self>, _seconds: u64) {
        queue.handler().recovery.suspect();
    }

    fn late(queue: &Queue<Self>, _seconds: u64) {
        queue.handler().recovery.suspect();
    }

    fn used(queue: ArcBorrow<'_, Queue<Self>>) {
        let rcu = rcu::read_lock();
        let broken = queue.take_used(
            |guard, list: &mut CommandList<ScsiHost>| {
                let mut found = 0;

                while let Some(cmd) = pop(&queue, &guard.ring) {
                    list.push(cmd);
                    found += 1;
                }
                found
            },
            |guard, list| {
                drop(guard);
                list.done(&rcu, |cmd| queue.handler().judge(cmd));
            },
        );
        if broken {
            queue.handler().recovery.suspect();
        }
    }

    fn cancelled(queue: &Queue<Self>, token: Token) {
        match token {
            // Asked again, it waits for the device's return.
            Either::Left(mut cmd) if cmd.is_of_error_handling() => {
                ask_again(&mut cmd);
                cmd.done();
            }
            Either::Left(cmd) if is_repeatable(&cmd) && cmd.has_other_path() => {
                end(cmd, HostByte::TRANSPORT_FAILFAST)
            }
            // If the device is still there, the mid-layer tries again.
            Either::Left(cmd) if is_repeatable(&cmd) => end(cmd, HostByte::RESET),
            // Not this one, of which nobody knows whether it was done.
            Either::Left(cmd) => end(cmd, HostByte::TRANSPORT_MARGINAL),
            Either::Right(question) => {
                queue.handler().silent.store(false, Relaxed);
                question.data().give_up();
            }
        }
    }
}
