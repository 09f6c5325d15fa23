// SPDX-License-Identifier: GPL-2.0

//! A bio in bio mode, step by step: preflush, data, postflush, as far as its plan has them.

use crate::{
    bio_queue::BioQueue,
    flush::{
        Plan,
        Step, //
    },
    wire::{
        self,
        Command,
        Footer,
        Header,
        Outcome,
        Range, //
    },
};
use kernel::{
    prelude::*,
    time::{
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
        Op,
        Status,
        SECTOR_SHIFT, //
    },
    joint::bio::BoxedCommand,
    virtio::{
        frame::Content,
        queue::QueueGuard, //
    },
};

/// A command of a bio, and how far it is.
pub(crate) type BlkCommand = BoxedCommand<Header, Footer, Range, Progress>;

/// Where a command is.
#[derive(Default)]
pub(crate) struct Progress {
    plan: Plan,
    step: Option<Step>,
    /// What the step asks the device to do.
    pub(crate) asked: Option<Command>,
    /// When the bio's statistics began, in jiffies, if they did.
    started: Option<usize>,
    /// When the flush step began.
    flushing: Option<Instant<Monotonic>>,
    /// The flush step is at the gate, and whom it serves beside the bio.
    at_gate: bool,
    served: BioList,
}

impl BioQueue {
    /// Begins the first step of a bio.
    pub(crate) fn begin(
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
    pub(crate) fn issue(
        &self,
        inner: &mut QueueGuard<'_, Self>,
        mut command: BlkCommand,
        done: &mut BioList,
    ) {
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
    pub(crate) fn advance(
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
        if core::mem::take(&mut progress.at_gate) {
            self.open_gate(inner, progress, status, done);
        }
    }

    #[inline(never)]
    fn open_gate(
        &self,
        inner: &mut QueueGuard<'_, Self>,
        progress: &mut Progress,
        status: Status,
        done: &mut BioList,
    ) {
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
    pub(crate) fn finish(
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

    /// Judges the device's answer to the current step.
    pub(crate) fn judge(&self, command: &mut BlkCommand, used: usize) -> Status {
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
}
