// SPDX-License-Identifier: GPL-2.0

//! The watch over all queues of a device.
//!
//! While a queue has something in flight it is looked at about once a second. One that stood still
//! since the last look may have lost an interrupt or a notification, and is helped, see
//! `progress.rs`. The same look knows how long the oldest command waits, and tells the
//! administrator.
//!
//! It is delayed work, since some transports (VDUSE) take locks in a notification, and when a
//! buffer is given back, that no timer may. It is started by what is added to a queue that is not
//! watched, and ends when nothing is in flight; it never runs on an isolated CPU, and needs no
//! memory, which may wait for this very disk.

use super::Device;
use crate::{
    bindings,
    compat::{
        new_spinlock_irq,
        SpinLockIrq, //
    },
    tally::Tally, //
};
use kernel::{
    container_of,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    types::Opaque, //
};

/// The time between two looks, and that which a queue gets to answer help, or an interrupt to come.
/// A notification that got lost is found after two looks and one answer at most, an interrupt after
/// two looks and the four that have to confirm it: within two seconds.
const PERIOD_MS: u32 = 800;
const ANSWER_MS: u32 = 100;

/// When the administrator is told of a command that waits for the first time; then at twice that
/// age, and so on.
const LATE_SECONDS: u64 = 30;

/// From which age of a command on the driver is told: perhaps it is lost, though others are not.
pub(super) const SUSPECT_SECONDS: u64 = 2;

/// How a queue was helped.
pub(super) enum Help {
    /// So many commands were done, and the interrupt did not come.
    Taken(usize),
    /// The device went on when it was notified once more.
    Notified,
}

/// What a look at a queue found.
pub(super) struct Looked {
    /// Look again: something is in flight.
    pub(super) again: bool,
    /// Look soon: the queue was helped, or is about to be.
    pub(super) soon: bool,
    pub(super) helped: Option<Help>,
    /// How many commands wait at least so many seconds.
    pub(super) waiting: usize,
    pub(super) seconds: u64,
}

impl Looked {
    /// Nothing is in flight.
    pub(super) const IDLE: Self = Self {
        again: false,
        soon: false,
        helped: None,
        waiting: 0,
        seconds: 0,
    };
}

/// A queue, as the watch sees it.
pub(super) trait Look: Send + Sync {
    /// Looks at the queue, and helps it. Process context.
    ///
    /// # Safety
    ///
    /// `self` must be in an `Arc`.
    unsafe fn look(&self, now: Instant<Monotonic>) -> Looked;
}

/// What the administrator was told.
struct Told {
    /// At which age of the oldest command, in seconds, there is something to tell next.
    next: u64,
    /// How old it was when that was told last; 0 if all have ended since.
    last: u64,
    /// How often the device had been reset by then.
    resets: usize,
}

/// The watch over a device.
#[pin_data]
pub(super) struct Watch {
    dev: ARef<Device>,
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    told: SpinLockIrq<Told>,
    /// Held while they are looked at.
    #[pin]
    queues: Mutex<KVec<Arc<dyn Look>>>,
    label: SetOnce<CString>,
    resets: Atomic<usize>,
    taken: Tally,
    notified: Tally,
}

// SAFETY: Anybody may start the work.
unsafe impl Send for Watch {}
// SAFETY: See above.
unsafe impl Sync for Watch {}

impl Watch {
    pub(super) fn new(dev: ARef<Device>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            dev,
            // SAFETY: `slot` is valid, and pinned.
            work <- Opaque::ffi_init(|slot| unsafe {
                bindings::storage_watch_setup(slot, Some(Self::run));
            }),
            told <- new_spinlock_irq!(Told {
                next: LATE_SECONDS,
                last: 0,
                resets: 0,
            }),
            queues <- new_mutex!(KVec::new()),
            label: SetOnce::new(),
            resets: Atomic::new(0),
            taken: Tally::new(),
            notified: Tally::new(),
        }? Error)
    }

    /// Says which queues there are, before one is attached; or that there are none any more. May
    /// sleep.
    pub(super) fn set_queues(&self, queues: KVec<Arc<dyn Look>>) {
        let old = core::mem::replace(&mut *self.queues.lock(), queues);

        drop(old);
    }

    /// Says what the device is called in messages.
    pub(super) fn set_label(&self, label: CString) {
        self.label.populate(label);
    }

    /// What is in flight is about to be taken from the device and sent again: that it is young then
    /// is not to be taken for an answer. Any context.
    pub(super) fn begin_anew(&self) {
        self.resets.fetch_add(1, Relaxed);
    }

    /// Something was added to a queue that is not watched. Any context, with the queue's lock held:
    /// a look that has begun already then comes to the queue later.
    #[cold]
    pub(super) fn begin(&self) {
        self.start(PERIOD_MS, false);
    }

    fn start(&self, delay_ms: u32, again: bool) {
        // SAFETY: The work is set up; when it is disabled nothing happens.
        unsafe { bindings::storage_watch_start(self.work.get(), delay_ms, again) };
    }

    /// Ends the watch: when this returns, nobody looks, nor will. May sleep.
    pub(super) fn end(&self) {
        // SAFETY: The work is set up.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// May only be called by the work of a `Watch`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: The work is part of a `Watch`, which lives until `end()`.
        let this = unsafe {
            let work = container_of!(work, bindings::delayed_work, work);

            &*container_of!(Opaque::cast_from(work), Self, work)
        };
        // Before the look: one that sees what a reset did then differs from this.
        let resets = this.resets.load(Relaxed);
        let (again, soon, waiting, seconds) = this.look();

        this.tell(waiting, seconds, resets);
        if again {
            this.start(if soon { ANSWER_MS } else { PERIOD_MS }, true);
        }
    }

    /// Looks at all queues. Returns whether to look again, and soon; how many commands are late,
    /// and how old the oldest is in seconds.
    fn look(&self) -> (bool, bool, usize, u64) {
        let now = Instant::<Monotonic>::now();
        let (mut again, mut soon, mut waiting, mut seconds) = (false, false, 0, 0);

        for queue in self.queues.lock().iter() {
            // SAFETY: It is in an `Arc`.
            let looked = unsafe { queue.look(now) };

            again |= looked.again;
            soon |= looked.soon;
            if looked.seconds >= LATE_SECONDS {
                waiting += looked.waiting;
                seconds = seconds.max(looked.seconds);
            }
            match looked.helped {
                Some(Help::Taken(n)) => self.count_taken(n),
                Some(Help::Notified) => self.count_notified(),
                None => (),
            }
        }
        (again, soon, waiting, seconds)
    }

    fn label(&self) -> Label<'_> {
        Label(self.label.as_ref())
    }

    #[cold]
    fn count_taken(&self, n: usize) {
        if let Some(times) = self.taken.count() {
            dev_warn!(
                self.dev,
                "{}{} commands were done without an interrupt: it got lost ({} times)\n",
                self.label(),
                n,
                times
            );
        }
    }

    #[cold]
    fn count_notified(&self) {
        if let Some(times) = self.notified.count() {
            dev_warn!(
                self.dev,
                "{}a queue stood still until the device was notified again: \
                it seems that a notification got lost ({} times)\n",
                self.label(),
                times
            );
        }
    }

    /// Tells the administrator that commands are late, or that they were answered; `resets` is how
    /// often the device had been reset before they were looked at.
    fn tell(&self, waiting: usize, seconds: u64, resets: usize) {
        let mut told = self.told.lock();

        if waiting == 0 {
            let last = core::mem::take(&mut told.last);
            let same = told.resets == self.resets.load(Relaxed);

            told.next = LATE_SECONDS;
            drop(told);
            if last > 0 && same {
                dev_warn!(
                    self.dev,
                    "{}the commands that were late for {} s or longer have ended\n",
                    self.label(),
                    last
                );
            }
            return;
        }
        if seconds < told.next {
            return;
        }
        while told.next <= seconds {
            told.next *= 2;
        }
        told.last = seconds;
        told.resets = resets;
        drop(told);
        dev_warn!(
            self.dev,
            "{}slow storage: {} commands wait for the host's answer, the oldest for {} s\n",
            self.label(),
            waiting,
            seconds
        );
    }
}

/// What messages begin with.
struct Label<'a>(Option<&'a CString>);

impl kernel::fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        match self.0 {
            Some(label) => write!(f, "[{}] ", label.to_str().unwrap_or_default()),
            None => Ok(()),
        }
    }
}
