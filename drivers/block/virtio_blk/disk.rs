// SPDX-License-Identifier: GPL-2.0

//! The disk: what is the same in both modes.

use crate::{
    attributes::Files,
    bio_path::BioPath,
    choice::{
        Choice,
        Path,
        Why, //
    },
    counters::Counters,
    limits,
    names::DiskIndex,
    params::UseBio,
    probe::Made,
    recovery::Recovery,
    request_path::{
        self,
        RequestPath, //
    },
    zones::{
        self,
        ZoneMap, //
    },
    RECOVERY_WORKQUEUE,
    SLOW_WORKQUEUE, //
};
use kernel::{
    debugfs::File,
    device::Bound,
    impl_has_work, new_mutex, new_work,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
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
    block::{
        attribute::Attribute,
        bio,
        bio_disk::{
            self,
            Bios, //
        },
        gen_disk::{
            self,
            Disk,
            GenDisk,
            Geometry,
            Requests, //
        },
        mq,
        plug::Plugged,
        zoned::ZoneReport,
        SizeString, //
    },
    compat::EOPNOTSUPP,
    config_field,
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

/// What lives as long as somebody has the disk open.
pub(crate) struct Shared<P> {
    pub(crate) seat: Arc<BoundDisk>,
    pub(crate) recovery: Arc<Recovery>,
    /// The path of the I/O.
    pub(crate) path: Arc<P>,
    pub(crate) zones: Arc<ZoneMap>,
    /// Bytes of a report of zones at most.
    pub(crate) report_size: usize,
    /// From the device, if it has one.
    pub(crate) geometry: Option<Geometry>,
    /// The device tells how worn it is.
    pub(crate) has_lifetime: bool,
    /// The device takes interrupt vectors of the machine.
    pub(crate) has_vectors: bool,
}

/// What the two kinds of disk differ in.
pub(crate) trait BlkDisk: gen_disk::Operations<Data = Arc<Shared<Self::Path>>> {
    /// The path of the I/O.
    type Path: Send + Sync;

    /// Its name.
    const PATH: &'static str;

    /// Reads the serial number, or the wear ([`wire::LIFETIME`](crate::wire::LIFETIME)), by a
    /// command of the driver itself. May sleep.
    fn read(disk: &Disk<Self>, what: u64, to: &mut KVec<u8>) -> Result;

    /// Waits until all that is in flight has ended; what comes meanwhile is held back. May sleep.
    fn drain(disk: &Disk<Self>);
}

/// A disk in request mode.
pub(crate) struct RequestDisk;

impl BlkDisk for RequestDisk {
    type Path = request_path::Queues;

    const PATH: &'static str = "request";

    fn read(disk: &Disk<Self>, what: u64, to: &mut KVec<u8>) -> Result {
        mq::request::execute_in(disk, false, what, to)
    }

    fn drain(disk: &Disk<Self>) {
        let look = || {
            disk.data().path.poll_all();
            true
        };

        disk.drain(look, || ());
    }
}

#[vtable]
impl gen_disk::Operations for RequestDisk {
    type Kind = Requests<RequestPath>;
    type Data = Arc<Shared<request_path::Queues>>;

    const ATTRIBUTES: &'static [Attribute<Self>] = Files::ALL;

    fn report_zones(
        disk: &Disk<Self>,
        sector: u64,
        nr_zones: u32,
        report: &mut ZoneReport<'_>,
    ) -> Result<u32> {
        report_zones(disk, sector, nr_zones, report)
    }

    fn geometry(disk: &Disk<Self>) -> Result<Geometry> {
        Ok(geometry(disk))
    }
}

/// A disk in bio mode.
pub(crate) struct BioDisk;

impl BlkDisk for BioDisk {
    type Path = Plugged<BioPath>;

    const PATH: &'static str = "bio";

    fn read(disk: &Disk<Self>, what: u64, to: &mut KVec<u8>) -> Result {
        bio::execute_in(disk, false, what, to, |bio| {
            let mut bios = bio::BioList::new();

            bios.push(bio);
            disk.data().path.submit_list(bios, false);
        })
    }

    fn drain(disk: &Disk<Self>) {
        let path = &disk.data().path;

        path.hold();
        wait_until(path, BioPath::is_drained);
        path.release();
    }
}

#[vtable]
impl gen_disk::Operations for BioDisk {
    type Kind = Bios;
    type Data = Arc<Shared<Plugged<BioPath>>>;

    const ATTRIBUTES: &'static [Attribute<Self>] = Files::ALL;

    fn geometry(disk: &Disk<Self>) -> Result<Geometry> {
        Ok(geometry(disk))
    }
}

#[vtable]
impl bio_disk::Operations for BioDisk {
    fn submit_bio(data: ArcBorrow<'_, Shared<Plugged<BioPath>>>, bio: bio::Bio) {
        BioPath::submit(&data.path, bio);
    }

    fn poll_bio(data: ArcBorrow<'_, Shared<Plugged<BioPath>>>, cookie: u32) -> usize {
        data.path.poll(cookie as usize)
    }
}

/// Disks with zones are in request mode.
fn report_zones(
    disk: &Disk<RequestDisk>,
    sector: u64,
    nr_zones: u32,
    report: &mut ZoneReport<'_>,
) -> Result<u32> {
    let data = disk.data();
    let map = &*data.zones;
    let mut start = sector & !map.zone_sectors.checked_sub(1).ok_or(EOPNOTSUPP)?;
    let mut buf = report_buffer(data.report_size, nr_zones)?;
    // The disk may have become smaller.
    let end = map.capacity.min(disk.capacity());

    while report.count() < nr_zones && start < end {
        buf.fill(0);
        mq::request::execute_in(disk, true, start, &mut buf)?;

        let count = zones::count(&buf);
        if count == 0 {
            break;
        }
        for index in 0..count {
            if report.count() == nr_zones || start >= end {
                break;
            }
            let zone = zones::parse(map, &buf, index, start).map_err(|bad| {
                dev_err!(
                    data.recovery.binding.device(),
                    "zone at sector {}: bad report: {:?}\n",
                    start,
                    bad
                );
                EIO
            })?;
            report.add(zone)?;
            start += zone.len;
        }
    }
    match report.count() {
        0 => Err(EINVAL),
        count => Ok(count),
    }
}

fn geometry<T: BlkDisk>(disk: &Disk<T>) -> Geometry {
    // As sd has it, and the C driver.
    disk.data().geometry.unwrap_or(Geometry {
        heads: 1 << 6,
        sectors: 1 << 5,
        cylinders: (disk.capacity() >> 11) as u16,
    })
}

/// Memory for a report of `nr_zones` zones, or of fewer.
fn report_buffer(max: usize, nr_zones: u32) -> Result<KVec<u8>> {
    let wanted = zones::REPORT_HEADER + (nr_zones as usize).saturating_mul(zones::DESCRIPTOR);
    let mut size = wanted.min(max);

    while size > PAGE_SIZE {
        if let Ok(buf) = KVec::from_elem(0, size, GFP_KERNEL | __GFP_NOWARN) {
            return Ok(buf);
        }
        size /= 2;
    }
    Ok(KVec::from_elem(0, size, GFP_KERNEL)?)
}

/// A disk that the system sees.
pub(crate) enum AnyDisk {
    /// In request mode.
    Request(GenDisk<RequestDisk>),
    /// In bio mode.
    Bio(GenDisk<BioDisk>),
}

impl AnyDisk {
    pub(crate) fn name(&self) -> &CStr {
        match self {
            Self::Request(disk) => disk.name(),
            Self::Bio(disk) => disk.name(),
        }
    }
}

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
    sizes: Ration,
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

/// How often it looks.
pub(crate) const TICK: Delta = Delta::from_millis(5);
/// Between two looks at a device that is away.
const AWAY_TICK: Delta = Delta::from_millis(100);

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

    /// Gives the disk the capacity that the device has now. Waits for memory, which may wait for
    /// I/O: so nothing is held that a repair or a reset of the device needs.
    fn follow_capacity<T: BlkDisk>(&self, disk: &Disk<T>, capacity: u64) {
        let dev = self.recovery.binding.device();

        match limits::check_capacity(capacity) {
            // Something else changed.
            Ok(capacity) if capacity == disk.capacity() => (),
            Ok(capacity) => match disk.set_capacity(capacity) {
                _ if !self.sizes.allows() => (),
                Ok(()) => announce(disk, dev, capacity, "new size: "),
                Err(_) => dev_err!(dev, "a disk of zones cannot grow; the old size stays\n"),
            },
            Err(_) if !self.sizes.allows() => (),
            Err(refusal) => dev_err!(dev, "{}; the old size stays\n", refusal),
        }
    }
}

/// Says how large the disk is, in the C driver's words.
pub(crate) fn announce<T: BlkDisk>(disk: &Disk<T>, dev: &Device, capacity: u64, what: &str) {
    let size = disk.logical_block_size();
    let blocks = capacity.div_ceil(u64::from(size >> 9));

    dev_notice!(
        dev,
        "[{}] {}{} {}-byte logical blocks ({}/{})\n",
        disk.name(),
        what,
        blocks,
        size,
        SizeString::new(blocks, size, false),
        SizeString::new(blocks, size, true)
    );
}

/// Waits until `done`. Who polled for the ends of bios may not do so any more.
fn wait_until(path: &BioPath, mut done: impl FnMut(&BioPath) -> bool) {
    while !done(path) {
        path.poll_all();
        fsleep(TICK);
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

/// Follows a change of the capacity, and of the cache mode after a reset.
impl WorkItem<RESIZE> for BoundDisk {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut live = this.live.lock();
        let binding = &this.recovery.binding;

        let capacity = loop {
            if !*live {
                return;
            }
            match binding.with(ask_capacity) {
                Ok(None) => {
                    drop(live);
                    fsleep(AWAY_TICK);
                    live = this.live.lock();
                }
                // Fails if the device was unbound, too; there is nothing to do then.
                told => break told.inspect_err(|_| this.recovery.suspect()).ok().flatten(),
            }
        };
        let disk = this.disk();
        let Some(disk) = disk.as_deref() else {
            return;
        };
        // Of this disk: who makes another one in its place holds `live`, and asks again.
        let lost = this.cache_lost.xchg(false, Relaxed);
        // The rest waits for memory or I/O. Who takes `live` gives the device up for that in the
        // end.
        drop(live);
        if let Some(capacity) = capacity {
            match disk {
                AnyDisk::Request(disk) => this.follow_capacity(disk, capacity),
                AnyDisk::Bio(disk) => this.follow_capacity(disk, capacity),
            }
        }
        if lost {
            let (cache, binding) = (&this.recovery.cache, &this.recovery.binding);
            let followed = match disk {
                AnyDisk::Request(disk) => cache.follow(disk, binding),
                AnyDisk::Bio(disk) => cache.follow(disk, binding),
            };
            // For the next time: after a repair, say.
            if followed.is_err() {
                this.cache_lost.store(true, Relaxed);
            }
        }
    }
}

/// The capacity that the device says it has, see [`steady`].
fn ask_capacity(dev: &Device<Bound>) -> Result<Option<u64>> {
    steady(dev, || {
        dev.read_config(config_field!(virtio_blk_config, capacity))
    })
}

/// What `ask` reads of the device; `None` while it is away: it answers anything then. Fails if it
/// has to be brought back. May sleep.
pub(crate) fn steady<R: PartialEq>(
    dev: &Device<Bound>,
    ask: impl Fn() -> Result<R>,
) -> Result<Option<R>> {
    let first = ask();

    match dev.condition() {
        Condition::Ready => (),
        Condition::Away => return Ok(None),
        _ => return Err(EIO),
    }
    // It may have been away for one of the two.
    let again = ask()?;

    Ok((first? == again).then_some(again))
}
