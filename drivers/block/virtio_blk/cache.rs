// SPDX-License-Identifier: GPL-2.0

//! The mode of the device's write cache, which the device and the block layer must see alike: in a
//! disk that counts as write-through no flush reaches the driver.
//!
//! A reset of the device forgets what was written to `cache_type`; so it is written again.

use crate::{
    capacity,
    disk::BlkDisk, //
};
use kernel::{
    device::Bound,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
};
use storage::{
    bindings,
    block::gen_disk::Disk,
    config_field,
    virtio::{
        state::Binding,
        Device, //
    },
};

/// Whether the device has a volatile write cache that is in use.
pub(crate) fn is_writeback(dev: &Device<Bound>) -> Result<bool> {
    let wce = dev.read_config_feature::<u8>(
        bindings::VIRTIO_BLK_F_CONFIG_WCE,
        config_field!(virtio_blk_config, wce),
    )?;

    // A device whose cache cannot be configured has one if it can be flushed.
    Ok(wce.map_or_else(
        || dev.has_feature(bindings::VIRTIO_BLK_F_FLUSH),
        |wce| wce != 0,
    ))
}

/// The cache mode of a disk.
#[pin_data]
pub(crate) struct CacheMode {
    /// The device lets it be changed.
    pub(crate) configurable: bool,
    /// What the device was told last, or said itself. Changed while the device is bound only.
    writeback: Atomic<bool>,
    /// Held while device and block layer are brought to the same mode, or a disk is made in it.
    /// Waits for I/O, so nobody that I/O waits for may take it.
    #[pin]
    changing: Mutex<()>,
}

impl CacheMode {
    pub(crate) fn new(dev: &Device<Bound>) -> Result<impl PinInit<Self>> {
        let writeback = is_writeback(dev)?;
        let configurable = dev.has_feature(bindings::VIRTIO_BLK_F_CONFIG_WCE);

        Ok(pin_init!(Self {
            configurable,
            writeback: Atomic::new(writeback),
            changing <- new_mutex!(()),
        }))
    }

    /// The mode that the device was in last.
    pub(crate) fn is_writeback(&self) -> bool {
        self.writeback.load(Relaxed)
    }

    /// Does `f`, which makes a disk in this mode and [restores](Self::restore) the device's;
    /// meanwhile nobody notes another. May wait for I/O of the disk that there was before.
    pub(crate) fn unchanged<R>(&self, f: impl FnOnce() -> R) -> R {
        let _changing = self.changing.lock();

        f()
    }

    /// Changes the mode of device and disk. Waits for I/O.
    pub(crate) fn set<T: BlkDisk>(
        &self,
        disk: &Disk<T>,
        binding: &Binding,
        writeback: bool,
    ) -> Result {
        if !self.configurable {
            return Err(EPERM);
        }
        let _changing = self.changing.lock();

        // Flushes begin before the device may need them, and end after.
        if writeback {
            disk.set_write_cache(true)?;
        }
        let now = binding.with(|dev| {
            self.tell(dev, writeback)?;
            self.note(dev)?.ok_or(EIO)
        })?;
        if now && writeback {
            return Self::flush_rest(disk);
        }
        Self::show(disk, now)
    }

    /// Writes the mode to a device that was reset, before I/O goes on. `false` if it does not take
    /// it: [`Self::follow`] is to be called then. The device must stay bound so long, and not be
    /// told otherwise meanwhile: see [`Binding::with`].
    pub(crate) fn restore(&self, dev: &Device<Bound>) -> Result<bool> {
        let wanted = self.is_writeback();

        if !self.configurable {
            return Ok(true);
        }
        self.tell(dev, wanted)?;
        Ok(is_writeback(dev)? == wanted)
    }

    /// Has the block layer see the mode that the device is in. Fails with [`EAGAIN`] if that is
    /// away. Waits for I/O.
    pub(crate) fn follow<T: BlkDisk>(&self, disk: &Disk<T>, binding: &Binding) -> Result {
        let _changing = self.changing.lock();

        let now = binding.with(|dev| self.note(dev))?.ok_or(EAGAIN)?;
        Self::show(disk, now)
    }

    /// Has the block layer see that mode. Waits for I/O.
    fn show<T: BlkDisk>(disk: &Disk<T>, writeback: bool) -> Result {
        if writeback {
            disk.set_write_cache(true)?;
            return Self::flush_rest(disk);
        }
        // A write is safe without a flush if the device was in this mode from its submission to its
        // end (specification, "Device Operation"). Others may be in the cache, and from here on
        // nobody sends a flush: who calls fsync for them would be told a lie.
        Self::flush_rest(disk)?;
        disk.set_write_cache(false)
    }

    /// Flushes what was sent while the cache was in the other mode: if it is on now, the block
    /// layer took FUA from that. Writes that wait for room, in bio mode's line, or for the queue,
    /// come too late for this flush; only the block layer could tell them from others.
    fn flush_rest<T: BlkDisk>(disk: &Disk<T>) -> Result {
        T::drain(disk);
        disk.flush()
    }

    /// Writes a mode to the device, which need not take it.
    fn tell(&self, dev: &Device<Bound>, writeback: bool) -> Result {
        dev.write_config(config_field!(virtio_blk_config, wce), u8::from(writeback))
    }

    /// Reads which mode the device is in, and keeps it. `None` if it is away: what it says then
    /// would be a cache that needs no flush.
    fn note(&self, dev: &Device<Bound>) -> Result<Option<bool>> {
        let now = capacity::steady(dev, || is_writeback(dev))?;

        if let Some(now) = now {
            self.writeback.store(now, Relaxed);
        }
        Ok(now)
    }
}
