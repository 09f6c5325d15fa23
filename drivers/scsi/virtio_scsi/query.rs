// SPDX-License-Identifier: GPL-2.0

//! QUERY TASK: whether the device still has what it does not answer.
//!
//! A command that is late is slow, or the device has lost it. The device knows: what it has, it
//! says that it has. That it has none proves a loss only of a command that it has taken from the
//! ring, as its event index tells before the question, and not answered after it, and only if it
//! says so twice: some take commands first, and note what they have then. And it is asked about all
//! that is old: the reset of a device that waits for its storage stops some hosts (QEMU) until that
//! answers, so as long as it has one of them, the others wait, too.
//!
//! Questions are asked one at a time, when a command's time is over, but seldom: while all is only
//! slow, after three quarters of the time that it took already. A device that has no event index is
//! not asked, nor one that did not answer, or not what was asked.

use crate::{
    commands::{
        self,
        RequestQueues, //
    },
    recovery::Recovery,
    tmf::{
        self,
        ControlQueue, //
    },
    wire::Address,
    ScsiHost,
    REPAIRS, //
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use storage::{
    scsi::{
        HostRef,
        Late, //
    },
    virtio::queue::Queue, //
};

/// From how many seconds on a command is old. More than a question takes.
const OLD: u32 = 3;

/// How long to wait between the two rounds of questions, and for a device to take what is in a
/// ring: one that polls says so seldom.
const PAUSE: Delta = Delta::from_secs(1);
const TAKES: Delta = Delta::from_secs(2);

/// How often to look whether that is over.
const TICK: Delta = Delta::from_millis(20);

/// The longest time without questions; and how long none was needed, for the device to be believed.
const MOST_SECONDS: u32 = 3600;
const MOST: Delta = Delta::from_secs(MOST_SECONDS as i64);

/// Asks whether the device has what is late.
#[pin_data]
pub(crate) struct Query {
    control: Arc<Queue<ControlQueue>>,
    requests: Arc<RequestQueues>,
    recovery: Arc<Recovery>,
    /// How late the command is that is suspected, in seconds.
    seconds: Atomic<u32>,
    #[pin]
    course: Mutex<Course>,
    #[pin]
    work: Work<Query>,
}

impl_has_work! {
    impl HasWork<Self> for Query { self.work }
}

#[derive(Default)]
struct Course {
    round: Option<Round>,
    /// No questions for so long.
    rest: Option<(Instant<Monotonic>, Delta)>,
    /// How often the device was reset for what it said, since it last said that it has something,
    /// or since nothing was late for long: perhaps it never does.
    resets: u32,
}

/// A round of questions about all that is old.
struct Round {
    is_second: bool,
    /// When it began, or begins.
    since: Instant<Monotonic>,
    pause: Delta,
    /// The commands up to this number were asked about.
    last: Option<u32>,
}

/// A command to ask about.
struct Task {
    tag: u32,
    queue: usize,
    address: Address,
}

/// When to go on.
enum Next {
    /// When a command is late.
    Never,
    /// When the others had their turn.
    Soon,
    /// After a moment.
    Later,
}

impl Course {
    /// No more questions for now; what is late waits for so many seconds.
    fn end(&mut self, seconds: u32) -> Next {
        let ms = (i64::from(seconds.min(MOST_SECONDS)) * 750) << self.resets.min(10);
        let rest = Delta::from_millis(ms);

        self.round = None;
        self.rest = Some((Instant::now(), if rest < MOST { rest } else { MOST }));
        Next::Never
    }
}

impl Query {
    pub(crate) fn new(
        control: Arc<Queue<ControlQueue>>,
        requests: Arc<RequestQueues>,
        recovery: Arc<Recovery>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                control,
                requests,
                recovery,
                seconds: Atomic::new(0),
                course <- new_mutex!(Course::default()),
                work <- new_work!("virtio_scsi::query"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// A command is late for so many seconds: has the device asked about it soon, if it is not too
    /// soon. Any context.
    pub(crate) fn suspect(self: &Arc<Self>, seconds: u32) {
        if !self.recovery.is_mute() {
            self.seconds.store(seconds, Relaxed);
            REPAIRS.enqueue(self.clone());
        }
    }

    /// One step: asks one question at most. May sleep.
    fn step(&self, course: &mut Course) -> Next {
        let seconds = self.seconds.load(Relaxed);
        let Some(host) = self.recovery.host() else {
            return Next::Never;
        };

        if self.recovery.is_removing() || self.recovery.is_mute() {
            course.round = None;
            return Next::Never;
        }
        let Some(round) = &mut course.round else {
            if let Some((since, delta)) = course.rest {
                if since.elapsed() < delta {
                    return Next::Never;
                }
                if since.elapsed() > MOST {
                    course.resets = 0;
                }
            }
            course.round = Some(Round {
                is_second: false,
                since: Instant::now(),
                pause: Delta::ZERO,
                last: None,
            });
            return Next::Soon;
        };
        if round.since.elapsed() < round.pause {
            return Next::Later;
        }
        let task = match self.next(host, round.last) {
            Ok(Some(task)) => task,
            Ok(None) if round.last.is_none() => return course.end(seconds),
            Ok(None) if !round.is_second => {
                course.round = Some(Round {
                    is_second: true,
                    since: Instant::now(),
                    pause: PAUSE,
                    last: None,
                });
                return Next::Later;
            }
            Ok(None) => {
                if self.tell_lost(host) {
                    course.resets += 1;
                    self.recovery.lose();
                }
                return course.end(seconds);
            }
            // Error handling has one, and knows what to do.
            Err(_) => return course.end(seconds),
        };
        match self.has_taken(&task) {
            Some(true) => round.last = Some(task.tag),
            Some(false) if round.since.elapsed() - round.pause < TAKES => return Next::Later,
            _ => return course.end(seconds),
        }
        match tmf::is_in_task_set(&self.control, task.tag, task.address) {
            Ok(Some(true)) => {
                self.tell_slow(host, &task);
                course.resets = 0;
                course.end(seconds)
            }
            Ok(Some(false)) => {
                self.note_missing(host, &task);
                Next::Soon
            }
            Ok(None) => {
                dev_info!(
                    self.recovery.binding.device(),
                    "the device does not tell whether it has what is late: it is waited for\n"
                );
                self.recovery.set_mute();
                course.end(seconds)
            }
            Err(_) => course.end(seconds),
        }
    }

    /// The next command that is old, by its number, after `last`. Fails if error handling has one,
    /// or if the host goes.
    fn next(&self, host: &HostRef, last: Option<u32>) -> Result<Option<Task>> {
        let mut next: Option<Task> = None;
        let mut is_handled = false;

        host.for_each_command(|late: &Late<'_, ScsiHost>| {
            let (tag, dev) = (late.tag(), late.device());
            let is_next = last.is_none_or(|last| tag > last)
                && next.as_ref().is_none_or(|next| tag < next.tag);

            is_handled |= late.is_of_error_handling();
            if is_next && late.age() >= OLD {
                next = Address::new(dev.target(), dev.lun()).map(|address| Task {
                    tag,
                    queue: late.queue(),
                    address,
                });
            }
            !is_handled
        })?;
        if is_handled {
            return Err(EBUSY);
        }
        Ok(next)
    }

    /// Whether the device has taken all that is in the command's ring; `None` if it is under
    /// repair.
    fn has_taken(&self, task: &Task) -> Option<bool> {
        let guard = self.requests.get(task.queue)?.lock();
        let works = guard.ring.is_open() && !guard.ring.is_broken();

        works.then(|| guard.ring.is_all_taken())
    }

    /// The device has no such command: unless it has just answered that.
    fn note_missing(&self, host: &HostRef, task: &Task) {
        commands::drain_all(&self.requests);
        // Fails if the host goes, and its commands with it.
        let _ = host.for_each_command(|late: &Late<'_, ScsiHost>| {
            let is_one = late.tag() == task.tag;

            // Not another one, that has its number by now.
            if is_one && late.age() >= OLD {
                late.note_missing();
            }
            !is_one
        });
    }

    /// Tells the administrator which command is lost, if there is one still.
    fn tell_lost(&self, host: &HostRef) -> bool {
        let mut first = None;
        let mut lost = 0;

        // Fails if the host goes, and its commands with it.
        let _ = host.for_each_command(|late: &Late<'_, ScsiHost>| {
            if late.missing() > 1 {
                let dev = late.device();

                lost += 1;
                first.get_or_insert((dev.target(), dev.lun(), late.tag(), late.age()));
            }
            true
        });
        let Some((target, lun, tag, age)) = first else {
            return false;
        };
        if let Some(dev) = host.device(target, lun) {
            dev_warn!(
                dev.as_device(),
                "a command was lost: not answered for {} s, and the device says that it has no \
                such command (tag {:#x}; {} in all)\n",
                age,
                tag,
                lost
            );
        }
        true
    }

    /// Tells the administrator that it is the storage that is slow.
    fn tell_slow(&self, host: &HostRef, task: &Task) {
        if let Some(dev) = host.device(task.address.target.into(), task.address.lun.into()) {
            dev_info!(
                dev.as_device(),
                "the device says that it has what it does not answer: it is slow, nothing is lost\n"
            );
        }
    }
}

impl WorkItem for Query {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let next = this.step(&mut this.course.lock());

        match next {
            Next::Never => return,
            Next::Soon => (),
            // Not for longer: that of another device must have its turn, see `repair::attend()`.
            Next::Later => fsleep(TICK),
        }
        REPAIRS.enqueue(this);
    }
}
