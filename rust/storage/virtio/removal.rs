// SPDX-License-Identifier: GPL-2.0

//! The removal of a disk or a host: what is in flight is waited for as long as the device does
//! something.
//!
//! Who removes it waits for each command, and a command has the time that its sender gave it: an
//! hour, say, to format a disk. So somebody else has to look, and gives a device up that does
//! nothing for half a minute.

use super::queue::{
    Handler,
    Queue, //
};
use kernel::{
    new_mutex,
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
};

/// How long to wait for a device that does nothing.
pub const PATIENCE: Delta = Delta::from_secs(30);

/// How often to look.
const TICK: Delta = Delta::from_millis(5);

/// As how long the time between two looks counts at most: a machine that stands still has the
/// device's time stand still.
const LONGEST: Delta = Delta::from_secs(1);

/// What a driver knows of what is being removed.
pub trait Remove {
    /// How its removal goes.
    fn removal(&self) -> &Removal;

    /// How much the device has done, and whether it has to do more; `None` once there is nothing
    /// to look after. May sleep, but not for long.
    fn progress(&self) -> Option<(usize, bool)>;

    /// The device did nothing for [`PATIENCE`]: gives it up. May sleep, but not for long.
    fn give_up(&self);

    /// Has a work item call [`attend`] soon. Needs no memory.
    fn look_soon(self: Arc<Self>);
}

/// How a removal goes.
#[pin_data]
pub struct Removal {
    /// Somebody waits for its end.
    waiting: Atomic<bool>,
    /// Somebody looks.
    attended: Atomic<bool>,
    #[pin]
    seen: Mutex<Seen>,
}

/// What the last look saw.
struct Seen {
    completed: usize,
    at: Instant<Monotonic>,
    /// For how long the device does nothing.
    still: Delta,
}

impl Seen {
    fn new(completed: usize) -> Self {
        Self {
            completed,
            at: Instant::now(),
            still: Delta::ZERO,
        }
    }
}

impl Removal {
    /// It has not begun.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting: Atomic::new(false),
            attended: Atomic::new(false),
            seen <- new_mutex!(Seen::new(0)),
        })
    }

    /// Whether the device does nothing for too long.
    fn is_over(&self, completed: usize, waits: bool) -> bool {
        let mut seen = self.seen.lock();

        if completed != seen.completed || !waits {
            *seen = Seen::new(completed);
            return false;
        }
        let passed = seen.at.elapsed();

        seen.at = Instant::now();
        seen.still += passed.min(LONGEST);
        if seen.still < PATIENCE {
            return false;
        }
        // Somebody may reset it, and it may be as silent again.
        *seen = Seen::new(completed);
        true
    }
}

/// How many tokens the device has given back so far on these queues, and how many it has.
pub fn progress<H: Handler>(queues: &[Arc<Queue<H>>]) -> (usize, usize) {
    queues.iter().fold((0, 0), |(done, here), queue| {
        let guard = queue.lock();

        (
            done.wrapping_add(guard.ring.completed()),
            here + guard.ring.in_flight(),
        )
    })
}

/// Does `remove`, which waits for I/O, but for none of a device that does nothing. May sleep.
pub fn watched<T: Remove>(this: &Arc<T>, remove: impl FnOnce()) {
    const MOST: usize = 20;
    let removal = this.removal();

    *removal.seen.lock() = Seen::new(0);
    removal.waiting.store(true, Relaxed);
    removal.attended.store(true, Relaxed);
    this.clone().look_soon();
    remove();
    removal.waiting.store(false, Relaxed);
    // Who looks has what was removed, and so its number, say: who binds the device again at once
    // gets the same one. Not for ever: there may be no worker to end it.
    for _ in 0..MOST {
        if !removal.attended.load(Relaxed) {
            break;
        }
        fsleep(TICK);
    }
}

/// Looks once, since others need the one worker that there is without memory, by which a device is
/// given up in the end. For a work item, see [`Remove::look_soon`]. May sleep.
pub fn attend<T: Remove>(this: Arc<T>) {
    let removal = this.removal();

    if let Some((completed, waits)) = this.progress() {
        if removal.is_over(completed, waits) {
            this.give_up();
        }
        fsleep(TICK);
        if removal.waiting.load(Relaxed) {
            this.look_soon();
            return;
        }
    }
    removal.attended.store(false, Relaxed);
}
