// SPDX-License-Identifier: GPL-2.0

//! The seat of a disk: what is known of a bound device, and the disk once it is there. Who takes
//! the device away, or brings it back, goes by this.

use crate::{
    bio_path::BioPath,
    choice::{
        Choice,
        Path,
        Why, //
    },
    counters::Counters,
    disk::{
        wait_until,
        AnyDisk,
        TICK, //
    },
    names::DiskIndex,
    params::UseBio,
    probe::Made,
    recovery::Recovery,
    RECOVERY_WORKQUEUE,
    SLOW_WORKQUEUE, //
};
use kernel::{
    debugfs::File,
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
        Instant,
        Monotonic, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use storage::{
    tally::Ration,
    virtio::{
        removal::{
            self,
            Removal,
            Remove,
            PATIENCE, //
        },
        restart::Condition,
        Device, //
    },
};

/// A disk in request mode whose path is not known yet, and what the operator wants, if that is.
type Unborn = (Made, Option<(UseBio, Why)>);

/// The disk that the system sees, and what goes with it.
pub(crate) struct Shown {
    pub(crate) disk: Arc<AnyDisk>,
    /// The disk is good without them.
    pub(crate) _counters: Option<Pin<KBox<File<Counters>>>>,
}

/// The seat of a disk: a bound device, with its number, what is known of it, and the disk, once it
/// is there.
#[pin_data]
pub(crate) struct BoundDisk {
    /// Free again with the last user of the disk.
    pub(crate) index: DiskIndex,
    pub(crate) recovery: Arc<Recovery>,
    /// Which path its I/O takes, and why.
    #[pin]
    pub(crate) choice: Mutex<Choice>,
    /// Emptied when the disk is removed: it refers to the seat, too.
    #[pin]
    pub(crate) slot: Mutex<Option<Shown>>,
    /// The same holds.
    #[pin]
    pub(crate) unborn: Mutex<Option<Unborn>>,
    /// The device is neither leaving nor away. Held by who makes a disk.
    #[pin]
    pub(crate) live: Mutex<bool>,
    /// Somebody waits for `live` to end that.
    pub(crate) ending: Atomic<bool>,
    #[pin]
    removal: Removal,
    /// The device is in another cache mode than the disk.
    pub(crate) cache_lost: Atomic<bool>,
    /// What the log may say of new sizes: a device can have one each time it interrupts.
    pub(crate) sizes: Ration,
    #[pin]
    birth: Work<BoundDisk, BIRTH>,
    #[pin]
    resize: Work<BoundDisk, RESIZE>,
    #[pin]
    watch: Work<BoundDisk, WATCH>,
}

/// Names of the kinds of work.
pub(crate) const RESIZE: u64 = 0;
const WATCH: u64 = 1;
pub(crate) const BIRTH: u64 = 2;

impl_has_work! {
    impl HasWork<Self, { BIRTH }> for BoundDisk { self.birth }
    impl HasWork<Self, { RESIZE }> for BoundDisk { self.resize }
    impl HasWork<Self, { WATCH }> for BoundDisk { self.watch }
}

impl BoundDisk {
    /// An empty seat for the disk of `dev`.
    pub(crate) fn new(dev: &Device<Bound>, index: DiskIndex) -> Result<Arc<Self>> {
        let recovery = Recovery::new(dev)?;

        Arc::pin_init(
            try_pin_init!(Self {
                index,
                choice <- new_mutex!(Choice {
                    path: Path::Request,
                    why: Why::Parameter,
                }),
                slot <- new_mutex!(None),
                unborn <- new_mutex!(None),
                live <- new_mutex!(true),
                ending: Atomic::new(false),
                removal <- Removal::new(),
                cache_lost: Atomic::new(false),
                sizes: Ration::new(),
                birth <- new_work!("virtio_blk::birth"),
                resize <- new_work!("virtio_blk::resize"),
                watch <- new_work!("virtio_blk::watch"),
                recovery,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The disk, if there is one.
    pub(crate) fn disk(&self) -> Option<Arc<AnyDisk>> {
        let slot = self.slot.lock();

        slot.as_ref().map(|shown| shown.disk.clone())
    }

    /// The device leaves, or goes away for a while: when this returns, nobody makes a disk, nor
    /// will. Who does may wait for the device, but not for ever: its I/O fails then.
    fn end_life(&self) {
        let since = Instant::<Monotonic>::now();
        let mut given_up = false;

        self.ending.store(true, Relaxed);
        loop {
            if let Some(mut live) = self.live.try_lock() {
                *live = false;
                return;
            }
            if !given_up && since.elapsed() > PATIENCE {
                self.recovery.give_up();
                given_up = true;
            }
            fsleep(TICK);
        }
    }

    /// The device is back.
    fn begin_life(&self, live: &mut bool) {
        self.recovery.set_leaving(false);
        self.ending.store(false, Relaxed);
        *live = true;
    }

    /// Resets the device because the operator wants it, see [`Recovery::demand`]. Waits first for
    /// others who have it; if they do not bring it back, that is done here. May sleep.
    pub(crate) fn reset(self: &Arc<Self>) -> Result {
        let mut taken = false;

        while !taken && self.recovery.wait_for_others()? {
            // Who has it may be taking the disk away, which waits for who writes to the file.
            let Some(mut live) = self.live.try_lock() else {
                fsleep(TICK);
                continue;
            };
            match self.recovery.binding.with(|dev| dev.take_from_others()) {
                Ok(()) => {
                    self.begin_life(&mut live);
                    taken = true;
                }
                // Somebody was quicker.
                Err(e) if e == EBUSY => (),
                Err(e) => return Err(e),
            }
        }
        let result = self.recovery.demand();
        if taken {
            SLOW_WORKQUEUE.enqueue::<_, RESIZE>(self.clone());
        }
        result
    }

    /// Removes the disk, and waits until nothing is in flight. A device that is gone, or does not
    /// answer, does not hold that up for ever: what is in flight then fails.
    pub(crate) fn remove(self: &Arc<Self>, dev: &Device<Bound>) {
        self.end_life();
        self.recovery.set_seat(None);

        if dev.condition() != Condition::Ready {
            dev.cancel_queues();
        }
        match self.disk().as_deref() {
            // blk-mq watches requests in flight by itself, see `timed_out()`, and waits for them.
            Some(AnyDisk::Request(disk)) => {
                self.recovery.set_impatient(true);
                removal::watched(self, || disk.remove());
            }
            Some(AnyDisk::Bio(disk)) => {
                let path = &disk.data().path;

                removal::watched(self, || {
                    disk.remove();
                    wait_until(path, BioPath::is_idle);
                });
            }
            None => (),
        }
        let shown = self.slot.lock().take();
        let unborn = self.unborn.lock().take();
        if unborn.is_some() {
            // Its reads may not have ended.
            dev.cancel_queues();
        }
        drop((shown, unborn));
    }

    /// Waits for what is in flight: the device goes away for a while. If it makes no progress, what
    /// it has not answered is sent again when it is back.
    pub(crate) fn quiesce(&self) {
        let mut completed = 0;
        let mut since = Instant::<Monotonic>::now();
        // By the queues' own locks: that of all of them is held while memory is waited for, which a
        // disk that is frozen must not do.
        let mut is_patient = |now: usize| {
            if now != completed {
                completed = now;
                since = Instant::now();
            }
            since.elapsed() < PATIENCE
        };
        self.end_life();

        match self.disk().as_deref() {
            Some(AnyDisk::Request(disk)) => {
                let look = || {
                    disk.data().path.poll_all();
                    is_patient(removal::progress(&disk.data().path.queues).0)
                };

                disk.drain(look, || self.recovery.set_leaving(true));
            }
            Some(AnyDisk::Bio(disk)) => {
                let path = &disk.data().path;

                path.hold();
                wait_until(path, |path| {
                    path.is_drained() || !is_patient(removal::progress(&path.queues).0)
                });
                path.release();
            }
            None => (),
        }
    }

    /// The device has something to tell: perhaps that it works no more. Any context.
    pub(crate) fn suspect(&self) {
        self.recovery.suspect();
    }

    /// Before I/O goes on, on a device that was reset.
    pub(crate) fn configure(&self, dev: &Device<Bound>) -> Result {
        if !self.recovery.configure(dev)? {
            self.cache_lost.store(true, Relaxed);
        }
        Ok(())
    }

    /// Goes on.
    pub(crate) fn resume(self: &Arc<Self>) {
        self.begin_life(&mut self.live.lock());
        self.recovery.came_back();
        // The device may be another one, as far as we know: its capacity, say.
        SLOW_WORKQUEUE.enqueue::<_, RESIZE>(self.clone());
        SLOW_WORKQUEUE.enqueue::<_, BIRTH>(self.clone());
    }
}

impl Remove for BoundDisk {
    fn removal(&self) -> &Removal {
        &self.removal
    }

    fn progress(&self) -> Option<(usize, bool)> {
        match &*self.disk()? {
            // What blk-mq could not send to a ring that is broken is not in flight, and has no
            // timeout: it comes again until the ring is repaired, or the device given up.
            AnyDisk::Request(disk) => {
                let queues = &disk.data().path.queues;
                let broken = queues.iter().any(|queue| queue.lock().ring.is_broken());

                Some((removal::progress(queues).0, broken))
            }
            AnyDisk::Bio(disk) => {
                let path = &disk.data().path;

                Some((removal::progress(&path.queues).0, !path.is_idle()))
            }
        }
    }

    fn give_up(&self) {
        self.recovery.give_up();
    }

    fn look_soon(self: Arc<Self>) {
        RECOVERY_WORKQUEUE.enqueue::<_, WATCH>(self);
    }
}

impl WorkItem<WATCH> for BoundDisk {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        removal::attend(this);
    }
}
