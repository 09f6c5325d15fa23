// SPDX-License-Identifier: GPL-2.0

//! What to do with a device that works no more: look, wait, and only when loss is proven, or the
//! operator wants it, reset it and send again what it has not answered. What counts as proof, and
//! when such a device is given up, is in the library, see [`repair`].

use crate::{
    cache::CacheMode,
    params,
    seat::{
        BoundDisk,
        RESIZE, //
    },
    RECOVERY_WORKQUEUE,
    SLOW_WORKQUEUE, //
};
use kernel::{
    device::Bound,
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
        Delta, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use storage::{
    tally::Tally,
    virtio::{
        repair::{
            self,
            Repair,
            Repairs,
            Wish, //
        },
        restart::{
            Condition,
            Holder, //
        },
        state::Binding,
        Device, //
    },
};

/// Shared by all queues of a device.
#[pin_data]
pub(crate) struct Recovery {
    pub(crate) binding: Arc<Binding>,
    /// What a reset of the device forgets.
    #[pin]
    pub(crate) cache: CacheMode,
    /// Somebody waits for all I/O to end, which late I/O may not hold up for ever.
    impatient: Atomic<bool>,
    /// The device is about to go away for a while: nothing is sent that must not be sent twice.
    leaving: Atomic<bool>,
    /// The device is to be given up.
    doomed: Atomic<bool>,
    /// A command was late so often that the device is to be reset.
    overdue: Atomic<bool>,
    /// How many answers of the device were nonsense.
    nonsense: Tally,
    /// How often the device was reset.
    resets: Atomic<u32>,
    #[pin]
    repairs: Repairs,
    /// Who follows what changed while the device could not tell. Emptied when the disk is removed:
    /// it refers to this, too.
    #[pin]
    seat: Mutex<Option<Arc<BoundDisk>>>,
    #[pin]
    work: Work<Recovery>,
}

impl_has_work! {
    impl HasWork<Self> for Recovery { self.work }
}

/// What counts as a timeout, in seconds: that of a request.
const TIMEOUT: u64 = 30;

impl Recovery {
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Arc<Self>> {
        let cache = CacheMode::new(dev)?;

        Arc::pin_init(
            try_pin_init!(Self {
                binding: dev.binding(),
                cache <- cache,
                impatient: Atomic::new(false),
                leaving: Atomic::new(false),
                doomed: Atomic::new(false),
                overdue: Atomic::new(false),
                nonsense: Tally::new(),
                resets: Atomic::new(0),
                repairs <- Repairs::new(),
                seat <- new_mutex!(None),
                work <- new_work!("virtio_blk::recovery"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Tells, or with `None` forgets, whose device this is. May sleep.
    pub(crate) fn set_seat(&self, seat: Option<Arc<BoundDisk>>) {
        let old = core::mem::replace(&mut *self.seat.lock(), seat);

        drop(old);
    }

    /// Looks soon whether the device still works, and repairs it if not. Any context.
    pub(crate) fn suspect(self: &Arc<Self>) {
        RECOVERY_WORKQUEUE.enqueue(self.clone());
    }

    /// Gives the device up, soon. Any context.
    pub(crate) fn give_up(self: &Arc<Self>) {
        self.doomed.store(true, Relaxed);
        self.suspect();
    }

    /// Whether late I/O is given up, together with the device.
    pub(crate) fn set_impatient(&self, on: bool) {
        self.impatient.store(on, Relaxed);
    }

    /// Whether the device is about to go away for a while.
    pub(crate) fn set_leaving(&self, on: bool) {
        self.leaving.store(on, Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// I/O is in flight for longer than its timeout. Like the C driver, a device in use gets all
    /// the time that it takes. Any context.
    pub(crate) fn timed_out(self: &Arc<Self>) {
        if self.impatient.load(Relaxed) {
            self.give_up();
        }
    }

    /// The oldest I/O of a queue is in flight for so many seconds. Perhaps it is lost, though
    /// others are answered; or it is too late, if the operator says so. Any context.
    pub(crate) fn late(self: &Arc<Self>, seconds: u64) {
        let limit = params::TIMEOUTS.get();

        if limit > 0 && seconds >= u64::from(limit) * TIMEOUT {
            self.overdue.store(true, Relaxed);
        }
        self.suspect();
    }

    /// The device answered what it must not. Any context.
    #[cold]
    pub(crate) fn nonsense(&self, status: u8, used: usize, expected: usize) {
        if let Some(n) = self.nonsense.count() {
            dev_err!(
                self.binding.device(),
                "bad answer: status {:#x}, {} of {} bytes written; I/O error ({} times)\n",
                status,
                used,
                expected,
                n
            );
        }
    }

    /// The count of bad answers, for the counters.
    pub(crate) fn bad_answers(&self) -> &Tally {
        &self.nonsense
    }

    /// How often the device was reset since it was bound.
    pub(crate) fn resets(&self) -> u32 {
        self.resets.load(Relaxed)
    }

    /// Waits until nobody else has the device, who resets it or has it sleep, and starts it again;
    /// `true` if they do not. May sleep. Fails with [`ENXIO`] if the device was unbound.
    pub(crate) fn wait_for_others(&self) -> Result<bool> {
        const TICK: Delta = Delta::from_millis(100);

        loop {
            match self.binding.with(|dev| Ok(dev.holder()))? {
                Holder::Driver => return Ok(false),
                Holder::Overdue => return Ok(true),
                Holder::Others => fsleep(TICK),
            }
        }
    }

    /// Resets the device because the operator wants it, also one that was given up, or did not come
    /// back from sleep; sends again what it has not answered. May sleep. Fails with [`ENXIO`] if
    /// the device was unbound, or is away, with [`EBUSY`] if others take it just now.
    pub(crate) fn demand(self: &Arc<Self>) -> Result {
        self.binding.with(|dev| {
            let mut repairs = self.repairs.hold();

            if dev.condition() == Condition::Away {
                // Until it is back.
                self.suspect();
                return Err(ENXIO);
            }
            dev.end_sleep()?;
            self.doomed.store(false, Relaxed);
            repairs.forget();
            self.repair(dev, "the operator wants it")
                .inspect_err(|_| self.suspect())
        })
    }

    /// The device was reset by others, or slept, and should be back. May sleep.
    pub(crate) fn came_back(self: &Arc<Self>) {
        // Held until all is forgotten: what is half known gives a device up that is back.
        let mut repairs = self.repairs.hold();

        repairs.forget();
        self.doomed.store(false, Relaxed);
        // What was late was sent again, or has failed.
        self.overdue.store(false, Relaxed);
        drop(repairs);
        self.suspect();
    }

    /// Does `f`, by which the device starts over, and repairs nothing meanwhile. May sleep.
    pub(crate) fn paused<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let mut repairs = self.repairs.hold();

        repairs.forget();
        f()
    }

    /// Tells a device that was reset what it forgot, before I/O goes on. `false` if it does not
    /// take it.
    pub(crate) fn configure(&self, dev: &Device<Bound>) -> Result<bool> {
        let restored = self.cache.restore(dev)?;

        if !restored {
            dev_warn!(dev, "the device does not take its cache mode again\n");
        }
        Ok(restored)
    }
}

impl Repair for Recovery {
    const WAITS: &'static str = "I/O waits for it";
    const FAILS: &'static str = "all I/O to it fails";

    fn binding(&self) -> &Binding {
        &self.binding
    }

    fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    fn limit(&self) -> u32 {
        params::REPAIRS.get()
    }

    fn wish(&self) -> Wish {
        if self.doomed.load(Relaxed) {
            Wish::GiveUp
        } else if self.overdue.load(Relaxed) {
            Wish::Reset("I/O is late")
        } else {
            Wish::Nothing
        }
    }

    fn repair(&self, dev: &Device<Bound>, why: &str) -> Result {
        let (_, in_flight) = dev.counts();

        self.resets.fetch_add(1, Relaxed);
        dev_warn!(
            dev,
            "resetting the device, since {}; {} commands in flight are sent again\n",
            why,
            in_flight
        );
        let result = dev.restart(|| self.configure(dev)?.then_some(()).ok_or(EIO));
        // Afterwards: a device may take its time for a reset, and is late all the while.
        self.overdue.store(false, Relaxed);
        result.inspect_err(|e| {
            dev_err!(dev, "the device does not start again: {:?}\n", e);
        })?;
        // Nobody heard of a change while the device was reset, or if its interrupt got lost.
        if let Some(seat) = &*self.seat.lock() {
            SLOW_WORKQUEUE.enqueue::<_, RESIZE>(seat.clone());
        }
        Ok(())
    }
}

impl WorkItem for Recovery {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if repair::attend(&*this) {
            this.suspect();
        }
    }
}
