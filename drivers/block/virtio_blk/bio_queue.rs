// SPDX-License-Identifier: GPL-2.0

//! A queue of bio mode: its commands, and the line of bios that wait for one.
//!
//! It has a fixed number of commands. A bio takes one, or waits in line: in the order of
//! arrival, moved on after completions and not by whoever wakes first. So there is no wake-up to
//! lose, and nobody is overtaken. Submitters sleep only to keep the line short.
//!
//! A completion interrupt ends bios. What that makes possible, the next step of a flush or a
//! command for the line, it adds as well, where the transport allows it; else that is for a work
//! item, or for a submitter if that comes first.

use crate::{
    bio_step::{
        BlkCommand,
        Progress, //
    },
    counters::Waits,
    gate::Gate,
    recovery::Recovery,
    wire::{
        self,
        Command,
        Header,
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
        Delta, //
    },
};
use storage::{
    block::{
        bio::{
            Bio,
            BioList, //
        },
        Status, //
    },
    joint::bio::BioCommand,
    virtio::queue::{
        Handler,
        Queue,
        QueueGuard, //
    },
};

/// How long to wait for memory that was short.
const PAUSE: Delta = Delta::from_millis(1);

/// A queue of bios.
#[pin_data]
pub(crate) struct BioQueue {
    pub(crate) little_endian: bool,
    pub(crate) strict: bool,
    /// An interrupt adds what it made possible.
    adds_in_interrupts: bool,
    pub(crate) recovery: Arc<Recovery>,
    /// The disk's flushes.
    pub(crate) gate: Arc<Gate>,
    /// Submitters who wait for the line to become shorter.
    #[pin]
    shorter: CondVar,
}

/// What the queue's lock protects beside the ring. The vectors never grow: all commands fit.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) free: KVec<BlkCommand>,
    /// Commands to be added: of a next step, or such that found no room; before the line.
    pub(crate) ready: KVec<BlkCommand>,
    /// The line of bios that wait for a command.
    pub(crate) line: BioList,
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
        adds_in_interrupts: bool,
        recovery: Arc<Recovery>,
        gate: Arc<Gate>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            little_endian,
            strict,
            adds_in_interrupts,
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

    /// Takes `first`, and the bios that `next` gives: one lock and one kick for all. Sleeps while
    /// the line is too long, if it may and none of the bios is one that must not wait.
    pub(crate) fn take_row(
        queue: &Arc<Queue<Self>>,
        first: Bio,
        mut next: impl FnMut() -> Option<Bio>,
        mut may_sleep: bool,
    ) {
        let this = queue.handler();
        let mut done = BioList::new();
        let mut guard = queue.lock();
        let mut taken = Some(first);

        if guard.state().waits() {
            this.refill(&mut guard, &mut done);
        }
        while let Some(bio) = taken {
            may_sleep &= !bio.is_nowait();
            this.take(&mut guard, bio, &mut done);
            taken = next();
        }
        let long = guard.state().is_long();

        if this.settle(guard, done) {
            Queue::defer(queue.as_arc_borrow(), &WORKQUEUE);
        }

        // Our bios are in the line already and will be served in their turn. Once is enough:
        // who is woken may submit more, and then waits again.
        if long && may_sleep {
            let mut guard = queue.lock();

            if guard.state().is_long() {
                guard.state().sleepers = true;
                guard.wait(&this.shorter);
            }
        }
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

    /// Moves on what waits: ready commands first, then the line. Not from every interrupt.
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

    /// From here on bios wait in the line, and flushes between their steps; to be followed by a
    /// [release](Self::release).
    pub(crate) fn hold(queue: &Queue<Self>) {
        queue.lock().state().held += 1;
    }

    /// Lets them go on, if nobody else holds them. Not here: a ring that is broken has to be
    /// repaired first, for which the device may have to be reset by who called this.
    pub(crate) fn release(queue: &Arc<Queue<Self>>) {
        queue.lock().state().held -= 1;
        Queue::defer(queue.as_arc_borrow(), &WORKQUEUE);
    }

    /// Whether nothing is in flight, nor waits to be.
    pub(crate) fn is_idle(queue: &Queue<Self>) -> bool {
        let mut guard = queue.lock();

        guard.ring.in_flight() == 0 && guard.state().is_empty()
    }
}

impl State {
    /// Something waits that may be possible now.
    fn waits(&self) -> bool {
        self.held == 0 && !self.is_empty()
    }

    /// The line is longer than it should be.
    fn is_long(&self) -> bool {
        self.line.len() > self.long
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
        let mut later = false;
        let broken = queue.take_used(
            |guard, done| this.take_used(guard, done),
            |mut guard, mut done| {
                let waits = guard.state().waits();

                if waits && this.adds_in_interrupts {
                    this.refill(&mut guard, &mut done);
                    later = this.settle(guard, done);
                } else {
                    drop(guard);
                    done.end_all();
                    later = waits;
                }
            },
        );
        if later {
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
