// SPDX-License-Identifier: GPL-2.0

//! Which path the I/O of a disk takes, and why.
//!
//! What bio mode gives up, merging, a scheduler and the rest of rq-qos, is worth something where
//! the medium is slow; what it saves, a fifth to a half of the guest's instructions an I/O, where
//! the medium is fast. The host does not say which it is: virtio-blk has no hint of it. So with
//! `use_bio=auto`, after the features ([`settled`]), the time of some reads decides ([`measure`]).
//!
//! Nothing else that the device says decides. With one queue bio mode saves most, with many it
//! still saves. A volatile cache costs bio mode the flushes that blk-mq joins, which are dear where
//! reads are slow, too.

use crate::{
    disk::RequestDisk,
    memory,
    params::{
        self,
        UseBio, //
    },
    wire, //
};
use kernel::{
    device::Bound,
    fmt,
    prelude::*,
    sync::atomic::Relaxed,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};
use storage::{
    block::{
        gen_disk::Disk,
        mq::request::{
            self,
            Reading, //
        },
        SECTOR_SHIFT, //
    },
    trace::Decision,
    virtio::Device, //
};

/// The path of a disk's I/O.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// Requests of blk-mq.
    Request,
    /// Bios go straight to the virtqueues.
    Bio,
}

impl Path {
    /// Its name in sysfs.
    pub(crate) const fn name(self) -> &'static CStr {
        match self {
            Self::Request => c"request",
            Self::Bio => c"bio",
        }
    }
}

/// Why a disk has its path.
#[derive(Clone, Copy)]
pub(crate) enum Why {
    /// The parameter `use_bio`.
    Parameter,
    /// The parameter `disks`, which names the address of the device, ...
    Address,
    /// ... or the serial number of the disk.
    Serial,
    /// It was written to `io_path`.
    Written,
    /// The device did not tell its serial number in so many milliseconds, by which it may be named.
    Nameless { ms: u32 },
    /// Writes to zones must stay in order, for which the block layer has its zone write plugs, for
    /// requests only (`disk_need_zone_resources()`).
    Zones,
    /// Most reads were fast: the slowest of the fast three quarters took so many microseconds.
    Fast { reads: usize, us: i64 },
    /// So many of the reads took longer than `limit` microseconds, more than a quarter.
    Slow {
        late: usize,
        reads: usize,
        limit: u32,
    },
    /// Only so many of the reads were answered in time.
    Silent {
        answered: usize,
        reads: usize,
        ms: u32,
    },
    /// The device could not be read.
    Unreadable,
}

/// A path, and why.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) path: Path,
    pub(crate) why: Why,
}

impl Why {
    /// For who traces: a word, and the count and the time in microseconds that `Choice` prints.
    fn traced(self) -> (&'static CStr, usize, i64) {
        match self {
            Self::Parameter => (c"parameter", 0, 0),
            Self::Address => (c"address", 0, 0),
            Self::Serial => (c"serial", 0, 0),
            Self::Written => (c"written", 0, 0),
            Self::Nameless { ms } => (c"nameless", 0, i64::from(ms) * 1000),
            Self::Zones => (c"zones", 0, 0),
            Self::Fast { reads, us } => (c"fast", reads, us),
            Self::Slow { late, limit, .. } => (c"slow", late, limit.into()),
            Self::Silent { answered, ms, .. } => (c"silent", answered, i64::from(ms) * 1000),
            Self::Unreadable => (c"unreadable", 0, 0),
        }
    }
}

impl Choice {
    /// Tells who traces that this is the choice for `disk`.
    pub(crate) fn trace(self, dev: &Device<Bound>, disk: &CStr) {
        dev.trace_decision(|| {
            let (reason, count, us) = self.why.traced();

            Decision {
                disk,
                path: self.path.name(),
                reason,
                count: count as u32,
                us: us.try_into().unwrap_or(u32::MAX),
            }
        });
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::Parameter => f.write_str("parameter use_bio"),
            Why::Address => f.write_str("parameter disks, by address"),
            Why::Serial => f.write_str("parameter disks, by serial number"),
            Why::Written => f.write_str("written to io_path"),
            Why::Nameless { ms } => {
                write!(
                    f,
                    "no serial number in {ms} ms, to find what is wanted of the disk"
                )
            }
            Why::Zones => {
                f.write_str("a disk of zones, whose writes only request mode keeps in order")
            }
            Why::Fast { reads, us } => {
                write!(
                    f,
                    "measured: of {reads} reads three in four took {us} us at most"
                )
            }
            Why::Slow { late, reads, limit } => {
                write!(
                    f,
                    "measured: {late} of up to {reads} reads took more than {limit} us"
                )
            }
            Why::Silent {
                answered,
                reads,
                ms,
            } => write!(
                f,
                "measured: {answered} of {reads} reads were answered in {ms} ms"
            ),
            Why::Unreadable => f.write_str("measured: the device cannot be read"),
        }
    }
}

/// The choice if the device need not be measured: it has zones, or the operator knows.
pub(crate) fn settled((wanted, why): (UseBio, Why), zoned: bool) -> Option<Choice> {
    if zoned {
        return Some(Choice {
            path: Path::Request,
            why: Why::Zones,
        });
    }
    let path = match wanted {
        UseBio::No => Path::Request,
        UseBio::Yes => Path::Bio,
        UseBio::Auto => return None,
    };
    Some(Choice { path, why })
}

/// What the operator wants of the disk of `dev`, if it can be told without its serial number.
pub(crate) fn wanted(dev: &Device<Bound>) -> Option<(UseBio, Why)> {
    let disks = params::DISKS.get();
    let address = dev.address().to_bytes();

    if memory::knows(address) {
        return None;
    }
    match disks.path_of(address) {
        Some(path) => Some((path, Why::Address)),
        None => disks
            .is_empty()
            .then(|| (params::USE_BIO.get(), Why::Parameter)),
    }
}

/// What the operator wants of the disk of this address and serial number: what was written last,
/// then what a parameter says of it, then what one says of all.
fn wanted_of(address: &[u8], serial: &[u8]) -> (UseBio, Why) {
    let disks = params::DISKS.get();

    if let Some(path) = memory::recall(address, serial) {
        (path, Why::Written)
    } else if let Some(path) = disks.path_of(address) {
        (path, Why::Address)
    } else if let Some(path) = disks.path_of(serial) {
        (path, Why::Serial)
    } else {
        (params::USE_BIO.get(), Why::Parameter)
    }
}

/// Chooses the path of `disk`, which nobody sees yet: as `known`, if the operator's wish is, else
/// by its serial number; by measurement if that is what is wanted. Sleeps, not for long.
pub(crate) fn find(
    dev: &Device<Bound>,
    disk: &Disk<RequestDisk>,
    known: Option<(UseBio, Why)>,
) -> Choice {
    let wanted = match known {
        Some(known) => known,
        None => match serial(disk) {
            Ok(serial) => wanted_of(dev.address().to_bytes(), &serial),
            Err(choice) => return choice,
        },
    };

    settled(wanted, false).unwrap_or_else(|| measure(disk))
}

/// Reads the serial number; empty if the device has none. If it does not tell in `auto_time` the
/// disk must stay in request mode, since the command is still under way.
fn serial(disk: &Disk<RequestDisk>) -> Result<KVec<u8>, Choice> {
    let ms = params::AUTO_TIME.get();
    let len = storage::bindings::VIRTIO_BLK_ID_BYTES as usize;
    let mut serial = KVec::new();

    let Ok(reading) = request::begin_in(disk, wire::SERIAL, len) else {
        return Ok(serial);
    };
    match Deadline::new(ms).wait(disk, &reading) {
        Ok(None) => Err(Choice {
            path: Path::Request,
            why: Why::Nameless { ms },
        }),
        Ok(Some(_)) => {
            let told = reading.data().unwrap_or_default();
            let told = told.split(|byte| *byte == 0).next().unwrap_or_default();
            // Without memory for 20 bytes it has none.
            let _ = serial.extend_from_slice(told, GFP_KERNEL);
            Ok(serial)
        }
        Err(_) => Ok(serial),
    }
}

/// The bytes of a read, or one logical block if that is more.
const READ_SIZE: u32 = 4096;

/// Up to one in so many reads may be late: the host was busy with something else.
const LATE_SHARE: usize = 4;

/// How often to look whether a read has ended.
const TICK: Delta = Delta::from_micros(50);

/// After how many looks in vain to look into the rings: the first interrupts of a device may be
/// lost.
const LOOKS: usize = 100;

/// Spreads the reads over the disk.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Chooses by the time that some reads take, one after the other, so that the host's queues have no
/// part in it. Bio mode for a device that answers three in four of them within `auto_latency`; a
/// host may be slow now and then, and a disk with a cache fast now and then.
///
/// Ends in `auto_time`, whatever the device does; then a read may still be under way, and the disk
/// must stay in request mode. Sleeps.
fn measure(disk: &Disk<RequestDisk>) -> Choice {
    let (path, why) = match try_measure(disk) {
        Ok(why @ Why::Fast { .. }) => (Path::Bio, why),
        Ok(why) => (Path::Request, why),
        Err(_) => (Path::Request, Why::Unreadable),
    };

    Choice { path, why }
}

fn try_measure(disk: &Disk<RequestDisk>) -> Result<Why> {
    let limit = params::AUTO_LATENCY.get();
    let reads = params::AUTO_READS.get().clamp(1, 1000) as usize;
    let ms = params::AUTO_TIME.get();
    let size = READ_SIZE.max(disk.logical_block_size());
    let sectors = u64::from(size >> SECTOR_SHIFT);
    let places = disk.capacity() / sectors;
    let mut deadline = Deadline::new(ms);
    let mut times = KVec::with_capacity(reads, GFP_KERNEL)?;
    let (mut late, mut place) = (0, 0u64);

    if places == 0 {
        return Err(EINVAL);
    }
    while times.len() < reads {
        let sector = place % places * sectors;
        let reading = request::begin_in(disk, wire::MEASURE | sector, size as usize)?;
        let Some(took) = deadline.wait(disk, &reading)? else {
            return Ok(Why::Silent {
                answered: times.len(),
                reads,
                ms,
            });
        };
        insert(&mut times, took.as_micros_ceil())?;
        // The time makes that other places than at the last start, which the host may remember.
        place = place.wrapping_add(STRIDE ^ took.as_nanos() as u64);
        late += usize::from(took.as_micros_ceil() > limit.into());
        if late > reads / LATE_SHARE {
            return Ok(Why::Slow { late, reads, limit });
        }
    }
    Ok(Why::Fast {
        reads,
        us: times[reads - 1 - reads / LATE_SHARE],
    })
}

/// Inserts a time where it belongs in a sorted list. (For core's own sorts see `virtio/replay.rs`.)
fn insert(times: &mut KVec<i64>, time: i64) -> Result {
    times.push(time, GFP_KERNEL)?;
    for i in (1..times.len()).rev() {
        if times[i - 1] <= times[i] {
            break;
        }
        times.swap(i - 1, i);
    }
    Ok(())
}

/// The end of the time that there is.
struct Deadline {
    began: Instant<Monotonic>,
    time: Delta,
}

impl Deadline {
    fn new(ms: u32) -> Self {
        Self {
            began: Instant::now(),
            time: Delta::from_millis(ms.into()),
        }
    }

    /// Waits until `reading` ended, and returns how long it took; `None` if time is over, or the
    /// device is about to go.
    fn wait(&mut self, disk: &Disk<RequestDisk>, reading: &Reading) -> Result<Option<Delta>> {
        let mut looks = 0;

        loop {
            if let Some(ended) = reading.ended() {
                return ended.map(Some);
            }
            if self.began.elapsed() > self.time || disk.data().seat.ending.load(Relaxed) {
                return Ok(None);
            }
            looks += 1;
            if looks % LOOKS == 0 {
                disk.data().path.look();
            }
            fsleep(TICK);
        }
    }
}
