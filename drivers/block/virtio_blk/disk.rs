// SPDX-License-Identifier: GPL-2.0

//! The disk: what is the same in both modes.

use crate::{
    attributes::Files,
    bio_path::BioPath,
    recovery::Recovery,
    request_path::{
        self,
        RequestPath, //
    },
    seat::BoundDisk,
    zone_report,
    zones::ZoneMap, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    time::{
        delay::fsleep,
        Delta, //
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
    virtio::Device,
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
        zone_report::report(disk, sector, nr_zones, report)
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

fn geometry<T: BlkDisk>(disk: &Disk<T>) -> Geometry {
    // As sd has it, and the C driver.
    disk.data().geometry.unwrap_or(Geometry {
        heads: 1 << 6,
        sectors: 1 << 5,
        cylinders: (disk.capacity() >> 11) as u16,
    })
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

/// How often to look.
pub(crate) const TICK: Delta = Delta::from_millis(5);

/// Waits until `done`. Who polled for the ends of bios may not do so any more.
pub(crate) fn wait_until(path: &BioPath, mut done: impl FnMut(&BioPath) -> bool) {
    while !done(path) {
        path.poll_all();
        fsleep(TICK);
    }
}
