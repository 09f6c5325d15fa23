// SPDX-License-Identifier: GPL-2.0

//! The sysfs files of a disk.

use crate::{
    cache::is_writeback,
    disk::BlkDisk,
    params::UseBio,
    wire::{
        self,
        Lifetime, //
    },
    SLOW_WORKQUEUE, //
};
use core::marker::PhantomData;
use kernel::{
    fmt,
    prelude::*, //
};
use storage::{
    bindings,
    block::{
        attribute::{
            Attribute,
            DiskAttribute, //
        },
        gen_disk::Disk, //
    },
    work::ModuleWorkqueue, //
};

/// The sysfs files.
pub(crate) struct Files<T>(PhantomData<T>);

impl<T: BlkDisk> Files<T> {
    pub(crate) const ALL: &'static [Attribute<T>] = &[
        Attribute::of::<Serial>(),
        Attribute::of::<CacheType>(),
        Attribute::of::<IoPath>(),
        Attribute::of::<IoPathReason>(),
        Attribute::of::<PreEolInfo>(),
        Attribute::of::<LifeTime>(),
        Attribute::of::<Reset>(),
        Attribute::of::<VectorsFile>(),
    ];
}

/// `serial`: up to 20 bytes that the host gave the disk; empty if the device has none.
struct Serial;

impl<T: BlkDisk> DiskAttribute<T> for Serial {
    const NAME: &'static CStr = c"serial";

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        let mut id = KVec::from_elem(0, bindings::VIRTIO_BLK_ID_BYTES as usize, GFP_KERNEL)?;

        match T::read(disk, wire::SERIAL, &mut id) {
            // Not supported? Then it is empty, as in the C driver.
            Err(e) if e == EIO => return Ok(()),
            ret => ret?,
        }
        for byte in id.iter().take_while(|byte| **byte != 0) {
            to.write_char(char::from(*byte))?;
        }
        Ok(())
    }
}

/// `cache_type`: "write back" or "write through", which root may change if the device lets it.
struct CacheType;

impl CacheType {
    const NAMES: [&'static str; 2] = ["write through", "write back"];
}

impl<T: BlkDisk> DiskAttribute<T> for CacheType {
    const NAME: &'static CStr = c"cache_type";

    fn is_writable(disk: &Disk<T>) -> bool {
        disk.data().recovery.cache.configurable
    }

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        let writeback = disk.data().recovery.binding.with(is_writeback)?;

        writeln!(to, "{}", Self::NAMES[usize::from(writeback)])?;
        Ok(())
    }

    fn store(disk: &Disk<T>, value: &[u8]) -> Result {
        let data = disk.data();
        let mode = Self::NAMES
            .iter()
            .position(|name| name.as_bytes() == value)
            .ok_or(EINVAL)?;

        data.recovery
            .cache
            .set(disk, &data.recovery.binding, mode == 1)
    }
}

/// `io_path`: "request" or "bio". Root changes it, by one of these or by "auto", if nobody has the
/// disk open.
struct IoPath;

impl<T: BlkDisk> DiskAttribute<T> for IoPath {
    const NAME: &'static CStr = c"io_path";

    fn is_writable(_disk: &Disk<T>) -> bool {
        true
    }

    fn removes_disk() -> Option<&'static ModuleWorkqueue> {
        Some(&SLOW_WORKQUEUE)
    }

    fn store(disk: &Disk<T>, value: &[u8]) -> Result {
        let seat = disk.data().seat.clone();

        seat.change(UseBio::of_path(value).ok_or(EINVAL)?)
    }

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        let _ = disk;
        writeln!(to, "{}", T::PATH)?;
        Ok(())
    }
}

/// `io_path_reason`: why it is that one, with what was measured.
struct IoPathReason;

impl<T: BlkDisk> DiskAttribute<T> for IoPathReason {
    const NAME: &'static CStr = c"io_path_reason";

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        let choice = *disk.data().seat.choice.lock();

        to.write_fmt(fmt!("{}\n", choice))?;
        Ok(())
    }
}

/// Asks the device how worn it is.
fn lifetime<T: BlkDisk>(disk: &Disk<T>) -> Result<Lifetime> {
    let mut answer = KVec::from_elem(0, Lifetime::SIZE, GFP_KERNEL)?;

    T::read(disk, wire::LIFETIME, &mut answer)?;
    Lifetime::parse(&answer).ok_or(EIO)
}

/// `pre_eol_info`: as eMMC devices have it.
struct PreEolInfo;

impl<T: BlkDisk> DiskAttribute<T> for PreEolInfo {
    const NAME: &'static CStr = c"pre_eol_info";

    fn is_visible(disk: &Disk<T>) -> bool {
        disk.data().has_lifetime
    }

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        writeln!(to, "{:#04x}", lifetime(disk)?.pre_eol_info)?;
        Ok(())
    }
}

/// `life_time`: as eMMC devices have it, types A and B.
struct LifeTime;

impl<T: BlkDisk> DiskAttribute<T> for LifeTime {
    const NAME: &'static CStr = c"life_time";

    fn is_visible(disk: &Disk<T>) -> bool {
        disk.data().has_lifetime
    }

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        let lifetime = lifetime(disk)?;

        writeln!(to, "{:#04x} {:#04x}", lifetime.typ_a, lifetime.typ_b)?;
        Ok(())
    }
}

/// `reset`: how often the device was reset since it was bound. Root resets it by writing 1.
struct Reset;

impl<T: BlkDisk> DiskAttribute<T> for Reset {
    const NAME: &'static CStr = c"reset";

    fn is_writable(_disk: &Disk<T>) -> bool {
        true
    }

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        writeln!(to, "{}", disk.data().recovery.resets())?;
        Ok(())
    }

    fn store(disk: &Disk<T>, value: &[u8]) -> Result {
        if value != b"1" {
            return Err(EINVAL);
        }
        disk.data().seat.reset()
    }
}

/// `vectors`: how many interrupt vectors the device has, and how its queues share them.
struct VectorsFile;

impl<T: BlkDisk> DiskAttribute<T> for VectorsFile {
    const NAME: &'static CStr = c"vectors";

    fn is_visible(disk: &Disk<T>) -> bool {
        disk.data().has_vectors
    }

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        let vectors = disk.data().recovery.binding.with(|dev| Ok(dev.vectors()))?;

        to.write_fmt(fmt!("{}\n", vectors.ok_or(ENXIO)?))?;
        Ok(())
    }
}
