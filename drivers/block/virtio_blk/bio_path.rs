// SPDX-License-Identifier: GPL-2.0

//! Bio mode: bios go straight to the virtqueues, without requests, tags or a scheduler.
//!
//! A queue has a fixed number of commands. A bio takes one, or waits in line: in the order of
//! arrival, moved on after completions and not by whoever wakes first. So there is no wake-up to
//! lose, and nobody is overtaken. Submitters sleep only to keep the line short.
//!
//! A completion interrupt ends bios, and no more: what it makes possible, the next step of a flush
//! or a command for the line, is added by a work item, or by a submitter if that comes first.

use crate::{
    counters::Waits,
    flush::{
        Plan,
        Step, //
    },
    gate::Gate,
    recovery::Recovery,
    wire::{
        self,
        Command,
        Footer,
        Header,
        Outcome,
        Range, //
    },
    WORKQUEUE,
};
use kernel::{
    alloc::NumaNode,
    new_condvar,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        CondVar, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};
use storage::{
    block::{
        bio::{
            Bio,
            BioList, //
        },
        plug,
        Op,
        Status,
        SECTOR_SHIFT, //
    },
    cpu_map::CpuMap,
    joint::bio::{
        BioCommand,
        BoxedCommand, //
    },
    virtio::{
        frame::Content, //
        queue::{
            Handler,
            Queue,
            QueueGuard, //
        },
    },
};

/// How long to wait for memory that was short.
const PAUSE: Delta = Delta::from_millis(1);

/// The path of a disk's bios: a queue for each CPU, as far as the device has them.
pub(crate) struct BioPath {
    /// Those that interrupt, then those that are polled.
    pub(crate) queues: KVec<Arc<Queue<BioQueue>>>,
    /// Which of them each CPU uses, and for bios that are polled for.
    pub(crate) map: Arc<CpuMap>,
    pub(crate) poll_map: Option<CpuMap>,
    pub(crate) gate: Arc<Gate>,
}

/// A queue of bios.
#[pin_data]
pub(crate) struct BioQueue {
    little_endian: bool,
    strict: bool,
    pub(crate) recovery: Arc<Recovery>,
    /// The disk's flushes.
    gate: Arc<Gate>,
    /// Submitters who wait for the line to become shorter.
    #[pin]
    shorter: CondVar,
}

/// A command of a bio, and how far it is.
type BlkCommand = BoxedCommand<Header, Footer, Range, Progress>;

/// Where a command is.
#[derive(Default)]
pub(crate) struct Progress {
    plan: Plan,
    step: Option<Step>,
    /// What the step asks the device to do.
    asked: Option<Command>,
    /// When the bio's statistics began, in jiffies, if they did.
    started: Option<usize>,
    /// When the flush step began.
    flushing: Option<Instant<Monotonic>>,
    /// The flush step is at the gate, and whom it serves beside the bio.
    at_gate: bool,
    served: BioList,
}

/// What the queue's lock protects beside the ring. The vectors never grow: all commands fit.
#[derive(Default)]
pub(crate) struct State {
    free: KVec<BlkCommand>,
    /// Commands to be added: of a next step, or such that found no room; before the line.
    ready: KVec<BlkCommand>,
    /// The line of bios that wait for a command.
    line: BioList,
    /// How many bios the line may have before their submitters sleep.
    long: usize,
    /// Somebody may sleep.
    sleepers: bool,
    /// So many want that nothing is added: the device is going to sleep, say.
    held: usize,
    /// For the counters.
    pub(crate) waits: Waits,
}

impl BioQueue {
    pub(crate) fn new(
        little_endian: bool,
        strict: bool,
        recovery: Arc<Recovery>,
        gate: Arc<Gate>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            little_endian,
            strict,
            recovery,
            gate,
            shorter <- new_condvar!("virtio_blk::BioQueue::shorter"),
        }? Error)
    }

    /// Gives `queue` its commands, in memory of `node`, where they are used. May sleep.
    pub(crate) fn allocate(queue: &Queue<Self>, depth: usize, node: NumaNode) -> Result {
        let mut free = KVec::with_capacity(depth, GFP_KERNEL)?;
        let ready = KVec::with_capacity(depth, GFP_KERNEL)?;

        for _ in 0..depth {
            let command = BioCommand::new(
                Header::default(),
                wire::NO_FOOTER,
                Range::default(),
                Progress::default(),
                node,
            )?;
            free.push(command, GFP_KERNEL)?;
        }

        let mut guard = queue.lock();
        let old = core::mem::replace(
            guard.state(),
            State {
                free,
                ready,
                line: BioList::new(),
                long: depth,
                ..State::default()
            },
        );
        drop(guard);
        drop(old);
        Ok(())
    }

    /// Takes a bio: a command for it, or a place in the line. Bios that end go to `done`.
    fn take(&self, inner: &mut QueueGuard<'_, Self>, mut bio: Bio, done: &mut BioList) {
        let State {
            ready, line, held, ..
        } = inner.state();

        if ready.is_empty() && line.is_empty() && *held == 0 {
            if let Some(command) = inner.state().free.pop() {
                self.begin(inner, command, bio, done);
                return;
            }
        }
        if bio.is_nowait() {
            inner.state().waits.refused += 1;
            bio.set_status(Status::AGAIN);
            done.push(bio);
        } else {
            let op = bio.op();
            let State { line, waits, .. } = inner.state();

            line.push(bio);
            waits.waited += 1;
            waits.longest = waits.longest.max(line.len());
            let waiting = line.len();
            inner.ring.trace_line(op.as_raw(), waiting as u32);
        }
    }

    /// Begins the first step of a bio.
    fn begin(
        &self,
        inner: &mut QueueGuard<'_, Self>,
        mut command: BlkCommand,
        mut bio: Bio,
        done: &mut BioList,
    ) {
        let plan = Plan {
            preflush: bio.is_preflush(),
            // Only an empty write is a flush and nothing else.
            data: !bio.is_empty() || bio.op() != Op::WRITE,
            fua: bio.is_fua(),
        };
        let is_shared = plan.preflush && !plan.data && !bio.is_polled();
        if is_shared {
            bio = match self.gate.wait(bio) {
                Ok(()) => {
                    let _ = inner.state().free.push_within_capacity(command);
                    return;
                }
                Err(bio) => bio,
            };
        }
        let (slot, progress) = command.as_mut().parts();

        // The driver's own commands are not the user's I/O. A flush is: as in blk-mq, a write of
        // nothing, beside the command that it takes.
        progress.started = if bio.op() != Op::DRV_IN {
            bio.start_accounting()
        } else {
            None
        };
        progress.plan = plan;
        progress.step = plan.next(None);
        progress.at_gate = is_shared;
        *slot = Some(bio);

        if progress.step.is_some() {
            self.issue(inner, command, done);
        } else {
            self.finish(inner, command, Status::OK, done);
        }
    }

    /// Adds the command of the current step to the ring.
    fn issue(&self, inner: &mut QueueGuard<'_, Self>, mut command: BlkCommand, done: &mut BioList) {
        let (slot, progress) = command.as_mut().parts();
        let Some(bio) = slot else { return };

        progress.asked = match progress.step {
            Some(Step::Data) => Command::of(bio.op(), bio.driver_flag(), bio.sector()),
            _ => {
                progress.flushing = Some(Instant::now());
                // Nobody else waits for who polls.
                if !bio.is_polled() {
                    if !core::mem::replace(&mut progress.at_gate, true) {
                        self.gate.enter();
                    }
                    self.gate.board(&mut progress.served);
                }
                Some(Command::Flush)
            }
        };
        let Some(asked) = progress.asked else {
            self.finish(inner, command, Status::NOTSUPP, done);
            return;
        };
        let header = Header::new(self.little_endian, asked, bio.ioprio(), bio.sector());
        let range = (asked.content() == Content::Payload).then(|| {
            let unmap = asked == Command::WriteZeroes && !bio.is_nounmap();
            Range::new((bio.sector(), bio.len() as u64 >> SECTOR_SHIFT), unmap)
        });

        let mut envelope = command.as_mut().envelope();
        envelope
            .as_mut()
            .set(header, wire::NO_FOOTER, asked.footer(), asked.content());
        if let Some(range) = range {
            envelope.set_payload(range);
        }

        match inner.ring.add(command) {
            Ok(()) => (),
            // A completion makes room, or gives memory back.
            Err((command, e)) if e == ENOSPC || e == ENOMEM => {
                let _ = inner.state().ready.push_within_capacity(command);
            }
            // The ring is broken: until it is repaired.
            Err((command, e)) if e == EIO => {
                let _ = inner.state().ready.push_within_capacity(command);
                self.recovery.suspect();
            }
            Err((command, _)) => self.finish(inner, command, Status::IOERR, done),
        }
    }

    /// Goes on after a step that ended with `status`: to the next step, or to the bio's end.
    fn advance(
        &self,
        inner: &mut QueueGuard<'_, Self>,
        mut command: BlkCommand,
        status: Status,
        done: &mut BioList,
    ) {
        let (slot, progress) = command.as_mut().parts();

        if let (Some(began), Some(bio)) = (progress.flushing.take(), &*slot) {
            bio.account_flush(began.elapsed().as_nanos() as u64);
        }
        self.leave_gate(inner, progress, status, done);
        let next = progress.plan.next(progress.step);
        if status == Status::OK && next.is_some() {
            progress.step = next;
            let _ = inner.state().ready.push_within_capacity(command);
        } else {
            self.finish(inner, command, status, done);
        }
    }

    /// Ends the bios that a flush step served beside its own, if it was one.
    #[inline]
    fn leave_gate(
        &self,
        inner: &mut QueueGuard<'_, Self>,
        progress: &mut Progress,
        status: Status,
        done: &mut BioList,
    ) {
        if !core::mem::take(&mut progress.at_gate) {
            return;
        }
        while let Some(mut bio) = progress.served.pop() {
            // Without its time, which there is no place to keep for.
            bio.end_accounting(bio.start_accounting());
            bio.set_status(status);
            done.push(bio);
        }
        // First in the line, for the others wait for it.
        if let Some(next) = self.gate.leave() {
            inner.state().line.push_front(next);
        }
    }

    /// Ends a bio and frees its command.
    #[inline]
    fn finish(
        &self,
        inner: &mut QueueGuard<'_, Self>,
        mut command: BlkCommand,
        status: Status,
        done: &mut BioList,
    ) {
        let (slot, progress) = command.as_mut().parts();

        progress.flushing = None;
        self.leave_gate(inner, progress, status, done);
        if let Some(mut bio) = slot.take() {
            bio.end_accounting(progress.started);
            bio.set_status(status);
            done.push(bio);
        }
        let _ = inner.state().free.push_within_capacity(command);
    }

    /// Moves on what waits: ready commands first, then the line. Not from an interrupt.
    fn refill(&self, inner: &mut QueueGuard<'_, Self>, done: &mut BioList) {
        if inner.state().held > 0 {
            return;
        }
        while let Some(command) = inner.state().ready.pop() {
            let left = inner.state().ready.len();

            self.issue(inner, command, done);
            // It came back: no room for the others either.
            if inner.state().ready.len() > left {
                break;
            }
        }
        while inner.state().ready.is_empty() && !inner.state().line.is_empty() {
            let Some(command) = inner.state().free.pop() else {
                break;
            };
            match inner.state().line.pop() {
                Some(bio) => self.begin(inner, command, bio, done),
                None => break,
            }
        }
    }

    /// Kicks what was added, ends what is done, wakes whom the line lets go. `true` if something
    /// waits for memory that no completion will give back: to be tried again after a while.
    fn settle(&self, mut guard: QueueGuard<'_, Self>, done: BioList) -> bool {
        let wake = guard.state().take_wake_up();
        let stuck = guard.ring.in_flight() == 0 && guard.state().waits();

        Queue::kick(guard);
        done.end_all();
        if wake {
            self.shorter.notify_all();
        }
        stuck
    }

    /// Takes what the device has done. Returns how many steps of bios.
    #[inline]
    fn take_used(&self, inner: &mut QueueGuard<'_, Self>, done: &mut BioList) -> usize {
        let mut found = 0;

        while let Some((mut command, used)) = inner.ring.get_buf() {
            let status = self.judge(&mut command, used);

            found += 1;
            self.advance(inner, command, status, done);
        }
        found
    }

    /// Judges the device's answer to the current step.
    fn judge(&self, command: &mut BlkCommand, used: usize) -> Status {
        let footer = command.as_mut().envelope().footer();
        let (slot, progress) = command.as_mut().parts();
        let (Some(asked), Some(bio)) = (progress.asked, slot) else {
            return Status::IOERR;
        };
        let expected = asked.written(bio.len());
        let outcome = wire::judge(wire::status(footer), used, expected, self.strict);

        if outcome == Outcome::Nonsense {
            self.recovery.nonsense(wire::status(footer), used, expected);
        }
        outcome.into()
    }

    /// Ends what the device has done on a queue that does not interrupt, and moves on what waits.
    /// Returns how many steps of bios it found. Process context.
    pub(crate) fn poll(queue: &Arc<Queue<Self>>) -> usize {
        // What waits moves on when something comes back, or by itself.
        if !queue.may_have_used() {
            return 0;
        }
        let this = queue.handler();
        let mut done = BioList::new();
        let mut guard = queue.lock();
        let found = this.take_used(&mut guard, &mut done);
        let broken = guard.ring.is_broken();
        queue.took_all(&guard);

        if guard.state().waits() {
            this.refill(&mut guard, &mut done);
        }
        if this.settle(guard, done) {
            Queue::defer(queue.as_arc_borrow(), &WORKQUEUE);
        }
        if broken {
            this.recovery.suspect();
        }
        found
    }
}

impl State {
    /// Something waits that may be possible now.
    fn waits(&self) -> bool {
        self.held == 0 && !self.is_empty()
    }

    /// Nothing waits.
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.line.is_empty()
    }

    /// Whether sleepers are to be woken: the line is short again.
    fn take_wake_up(&mut self) -> bool {
        self.line.len() <= self.long / 2 && core::mem::take(&mut self.sleepers)
    }
}

impl Handler for BioQueue {
    type Token = BlkCommand;
    type State = State;

    const REPLAYS: bool = true;

    fn again(&self, command: &mut BlkCommand) -> bool {
        let (slot, progress) = command.as_mut().parts();
        let (Some(bio), Some(asked)) = (slot, progress.asked) else {
            return false;
        };
        let header = Header::new(self.little_endian, asked, bio.ioprio(), bio.sector());

        // The header as well: a device that lost its mind may have written to it.
        command
            .as_mut()
            .envelope()
            .set(header, wire::NO_FOOTER, asked.footer(), asked.content());
        asked.is_repeatable()
    }

    fn used(queue: ArcBorrow<'_, Queue<Self>>) {
        let this = queue.handler();
        let mut done = BioList::new();
        let mut guard = queue.lock();
        let inner = &mut guard;

        loop {
            inner.ring.disable_cb();
            this.take_used(inner, &mut done);
            if inner.ring.enable_cb() {
                break;
            }
        }
        let broken = inner.ring.is_broken();
        let waits = inner.state().waits();
        drop(guard);

        done.end_all();
        if waits {
            Queue::defer(queue, &WORKQUEUE);
        }
        if broken {
            this.recovery.suspect();
        }
    }

    fn silent(queue: &Queue<Self>, _seconds: u64) {
        queue.handler().recovery.suspect();
    }

    fn late(queue: &Queue<Self>, seconds: u64) {
        queue.handler().recovery.late(seconds);
    }

    fn deferred(queue: &Queue<Self>) {
        let this = queue.handler();

        loop {
            let mut done = BioList::new();
            let mut guard = queue.lock();

            this.refill(&mut guard, &mut done);
            if !this.settle(guard, done) {
                break;
            }
            fsleep(PAUSE);
        }
    }

    fn cancelled(queue: &Queue<Self>, mut command: BlkCommand) {
        let mut done = BioList::new();
        let asked = command.as_mut().parts().1.asked;
        let status = asked.map_or(Status::IOERR, Command::unanswered);

        queue
            .handler()
            .finish(&mut queue.lock(), command, status, &mut done);
        done.end_all();
        // The ring is detached: whoever waits fails now.
        Self::deferred(queue);
    }
}

impl BioPath {
    /// Takes a bio of the disk, which may be larger than its limits.
    pub(crate) fn submit(this: &Arc<plug::Plugged<Self>>, bio: Bio) {
        let Some(mut bio) = bio.split_to_limits() else {
            return;
        };

        if let (true, Some(map)) = (bio.is_polled(), &this.poll_map) {
            bio.set_cookie(map.current() as u32);
        }
        if let Err(bio) = plug::add(this, bio) {
            let mut bios = BioList::new();

            bios.push(bio);
            this.submit_list(bios, false);
        }
    }

    /// Gives bios to this CPU's queue, or to those that they are polled on: one lock and one kick
    /// for those in a row that go to the same. Unless `atomic`, sleeps while the line is too long.
    pub(crate) fn submit_list(&self, mut bios: BioList, atomic: bool) {
        let here = self.map.current();

        while let Some(bio) = bios.pop() {
            let index = self.queue_of(&bio, here);
            let Some(queue) = self.queues.get(index) else {
                return;
            };
            // Who polls must not sleep: nobody else would make the line shorter.
            let mut may_sleep = !atomic && index == here;
            let this = queue.handler();
            let mut done = BioList::new();
            let mut guard = queue.lock();
            let mut next = Some(bio);

            if guard.state().waits() {
                this.refill(&mut guard, &mut done);
            }
            while let Some(bio) = next {
                may_sleep &= !bio.is_nowait();
                this.take(&mut guard, bio, &mut done);
                next = bios.pop_if(|bio| self.queue_of(bio, here) == index);
            }
            let long = guard.state().line.len() > guard.state().long;

            if this.settle(guard, done) {
                Queue::defer(queue.as_arc_borrow(), &WORKQUEUE);
            }

            // Our bios are in the line already and will be served in their turn. Once is enough:
            // who is woken may submit more, and then waits again.
            if long && may_sleep {
                let mut guard = queue.lock();

                if guard.state().line.len() > guard.state().long {
                    guard.state().sleepers = true;
                    guard.wait(&this.shorter);
                }
            }
        }
    }

    /// The queue of a bio that is submitted by a CPU whose queue is `here`.
    #[inline]
    fn queue_of(&self, bio: &Bio, here: usize) -> usize {
        if bio.is_polled() && self.poll_map.is_some() {
            bio.cookie() as usize
        } else {
            here
        }
    }

    /// Ends what the device has done on the polled queue `index`.
    pub(crate) fn poll(&self, index: usize) -> usize {
        self.queues.get(index).map_or(0, BioQueue::poll)
    }

    /// As [`Self::poll`], on all polled queues.
    pub(crate) fn poll_all(&self) {
        if let Some(map) = &self.poll_map {
            for queue in self.queues.iter().skip(map.first()) {
                BioQueue::poll(queue);
            }
        }
    }

    /// From here on bios wait in the line, and flushes between their steps; to be followed by a
    /// [release](Self::release).
    pub(crate) fn hold(&self) {
        for queue in &self.queues {
            queue.lock().state().held += 1;
        }
    }

    /// Lets them go on, if nobody else holds them. Not here: a ring that is broken has to be
    /// repaired first, for which the device may have to be reset by who called this.
    pub(crate) fn release(&self) {
        for queue in &self.queues {
            queue.lock().state().held -= 1;
            Queue::defer(queue.as_arc_borrow(), &WORKQUEUE);
        }
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_drained(&self) -> bool {
        self.queues
            .iter()
            .all(|queue| queue.lock().ring.in_flight() == 0)
    }

    /// Whether nothing is in flight, nor waits to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.queues.iter().all(|queue| {
            let mut guard = queue.lock();

            guard.ring.in_flight() == 0 && guard.state().is_empty()
        }) && self.gate.is_idle()
    }

    /// How much the device has done so far.
    pub(crate) fn completed(&self) -> usize {
        self.queues.iter().fold(0, |sum, queue| {
            sum.wrapping_add(queue.lock().ring.completed())
        })
    }
}

impl plug::Batch for BioPath {
    fn submit_batch(&self, bios: BioList, atomic: bool) {
        self.submit_list(bios, atomic);
    }
}
