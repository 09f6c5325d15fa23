// SPDX-License-Identifier: GPL-2.0

//! When to reset a device that works no more, how often, and when to give it up.
//!
//! Proof is a broken ring, or what the device's status says ([`Condition`]). A device that is away
//! is waited for. One that needs repair after repair, and neither answers anything between them nor
//! lasts for a while, is given up: all that it has in flight fails, and what comes later. The rest
//! is the driver's, see [`Repair`].

use super::{
    restart::Condition,
    state::Binding,
    Device, //
};
use kernel::{
    device::Bound,
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        MutexGuard, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// How often to look for a device that is away, in milliseconds.
const LOOK_MS: u32 = 100;

/// How often to look whether a ring has room, and whether somebody waits for the end of all this.
const TICK: Delta = Delta::from_millis(20);

/// The most to wait between repairs.
const MOST_MS: u32 = 10_000;

/// How long a device has to last after a repair for that to be a good one, though it may have had
/// nothing to answer: a disk that nobody uses, say.
const LASTS: Delta = Delta::from_secs(60);

/// A device that works no more so soon after a repair waits for the next one, [`LOOK_MS`] twice,
/// however much it did between them: else it could have itself reset at any speed.
const SOON: Delta = Delta::from_secs(1);

/// What a driver wants to be done with its device, whatever that says of itself.
pub enum Wish {
    /// Nothing: it is repaired if it works no more.
    Nothing,
    /// To leave it alone.
    Leave,
    /// To reset it also if it seems to work; why, for the log.
    Reset(&'static str),
    /// To give it up, soon.
    GiveUp,
}

/// What a driver knows of a device that is to be repaired.
pub trait Repair {
    /// What the log says of a device that is away: what waits for it.
    const WAITS: &'static str;

    /// What the log says of one that is given up: what fails.
    const FAILS: &'static str;

    /// The device.
    fn binding(&self) -> &Binding;

    /// How its repairs go.
    fn repairs(&self) -> &Repairs;

    /// How many repairs in a row may be for nothing, until the device is given up; 0 for any.
    fn limit(&self) -> u32;

    /// What is wanted now. Any context.
    fn wish(&self) -> Wish;

    /// Says so, and [restarts](Device::restart) the device. If that fails it is tried again. May
    /// sleep; the repairs are [held](Repairs::hold).
    fn repair(&self, dev: &Device<Bound>, why: &str) -> Result;

    /// The device was given up; what it has in flight is about to be cancelled. The same context.
    fn given_up(&self) {}
}

/// How the repairs of a device go.
#[pin_data]
pub struct Repairs {
    /// Who resets the device has this.
    #[pin]
    course: Mutex<Course>,
}

#[derive(Default)]
struct Course {
    /// How many there were since the device last made progress, and how much it had done then.
    futile: u32,
    completed: usize,
    /// When the last one was over, if that succeeded.
    repaired: Option<Instant<Monotonic>>,
    /// The device was given up.
    given_up: bool,
    /// The next repair was put off already.
    waited: bool,
    /// The log says that the device is away.
    away: bool,
    /// When there is nothing to be done for a while.
    rest: Option<(Instant<Monotonic>, Delta)>,
}

impl Course {
    /// Whether there is nothing to be done yet.
    fn rests(&self) -> bool {
        self.rest
            .is_some_and(|(since, delta)| since.elapsed() < delta)
    }

    /// There is nothing to be done for so many milliseconds.
    fn rest_for(&mut self, ms: u32) -> Next {
        self.rest = Some((Instant::now(), Delta::from_millis(ms.into())));
        Next::Later
    }
}

/// As long as this lives, nobody else repairs the device.
pub struct Held<'a>(MutexGuard<'a, Course>);

impl Held<'_> {
    /// Begins anew, also with a device that was given up.
    pub fn forget(&mut self) {
        *self.0 = Course::default();
    }
}

impl Repairs {
    /// There were none yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            course <- new_mutex!(Course::default()),
        })
    }

    /// Waits until nobody repairs the device, and keeps others from it. May sleep.
    pub fn hold(&self) -> Held<'_> {
        Held(self.course.lock())
    }
}

/// When to look again.
enum Next {
    /// When something happens.
    Never,
    /// At once.
    Now,
    /// When the others had their turn.
    Later,
}

/// Looks at the device, and does what it needs. `true` if this is to be called again, until the
/// device works, is given up or unbound. For a work item that runs when the device is suspected to
/// work no more, and enqueues itself in that case: it may rest for a moment here, but that of
/// another device must have its turn where there is no memory but for one worker, however long this
/// one is away. May sleep.
#[must_use]
pub fn attend<T: Repair>(this: &T) -> bool {
    loop {
        // Fails if the device was unbound, which cancelled everything as well.
        match this.binding().with(|dev| Ok(look(this, dev))) {
            Ok(Next::Now) => (),
            Ok(Next::Later) => break,
            _ => return false,
        }
    }
    // Neither a removal nor the end of the module waits longer than that for this.
    fsleep(TICK);
    true
}

/// Looks once.
fn look<T: Repair>(this: &T, dev: &Device<Bound>) -> Next {
    let mut course = this.repairs().course.lock();

    if course.given_up {
        return Next::Never;
    }
    let wish = this.wish();
    match wish {
        Wish::Nothing | Wish::Reset(_) => (),
        Wish::Leave => {
            // The watch asks again, once a second: what is to give the device up must have its turn
            // where there is no memory but for one worker.
            go_on(dev);
            return Next::Never;
        }
        Wish::GiveUp => return give_up(this, dev, &mut course),
    }
    if course.rests() {
        return Next::Later;
    }
    // Of a device that is reset since it answers nothing, time tells nothing.
    let is_late = matches!(wish, Wish::Reset(_));
    let why = match (dev.condition(), wish) {
        (Condition::Asleep, _) => return Next::Never,
        (Condition::Away, _) => {
            if !core::mem::replace(&mut course.away, true) {
                dev_err!(dev, "the device is not there; {}\n", T::WAITS);
            }
            // That it answered nothing to the last repair is no wonder.
            course.futile = 0;
            course.waited = false;
            return course.rest_for(LOOK_MS);
        }
        (Condition::Lost, _) => "it works no more",
        (Condition::Ready, Wish::Reset(why)) => why,
        (Condition::Ready, _) => {
            course.away = false;
            return go_on(dev);
        }
    };
    let (completed, _) = dev.counts();

    let since = course.repaired.take();
    let soon = since.is_some_and(|since| since.elapsed() < SOON);
    let lasted = !is_late && since.is_some_and(|since| since.elapsed() > LASTS);
    if completed != course.completed || lasted {
        course.futile = 0;
        course.completed = completed;
    }
    let limit = this.limit();
    if limit > 0 && course.futile >= limit {
        return give_up(this, dev, &mut course);
    }
    course.away = false;
    // The first one is done at once.
    let pauses = course.futile.max(soon.into());
    if pauses > 0 && !core::mem::replace(&mut course.waited, true) {
        return course.rest_for((LOOK_MS << pauses.min(10)).min(MOST_MS));
    }
    course.waited = false;
    course.futile += 1;
    if this.repair(dev, why).is_ok() {
        course.repaired = Some(Instant::now());
    }
    Next::Now
}

/// Goes on with what a repair has to send again, and the device had no room for.
fn go_on(dev: &Device<Bound>) -> Next {
    if dev.condition() == Condition::Ready && !dev.replay_rest() {
        return Next::Later;
    }
    Next::Never
}

fn give_up<T: Repair>(this: &T, dev: &Device<Bound>, course: &mut Course) -> Next {
    course.given_up = true;
    dev_err!(
        dev,
        "the device works no more: it is reset, and {}\n",
        T::FAILS
    );
    this.given_up();
    dev.cancel_queues();
    Next::Never
}
