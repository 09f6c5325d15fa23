// SPDX-License-Identifier: GPL-2.0

//! The sysfs files of a disk.

use crate::{
    cache::is_writeback,
    disk::BlkDisk, //
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
};

/// The sysfs files.
pub(crate) struct Files<T>(PhantomData<T>);

impl<T: BlkDisk> Files<T> {
    pub(crate) const ALL: &'static [Attribute<T>] = &[
        Attribute::of::<Serial>(),
        Attribute::of::<CacheType>(),
        Attribute::of::<IoPath>(),
    ];
}

/// `serial`: up to 20 bytes that the host gave the disk; empty if the device has none.
struct Serial;

impl<T: BlkDisk> DiskAttribute<T> for Serial {
    const NAME: &'static CStr = c"serial";

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        let mut id = KVec::from_elem(0, bindings::VIRTIO_BLK_ID_BYTES as usize, GFP_KERNEL)?;

        match T::read_serial(disk, &mut id) {
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

/// `io_path`: "request" or "bio".
struct IoPath;

impl<T: BlkDisk> DiskAttribute<T> for IoPath {
    const NAME: &'static CStr = c"io_path";

    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result {
        let _ = disk;
        writeln!(to, "{}", T::PATH)?;
        Ok(())
    }
}
