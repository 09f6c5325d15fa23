// SPDX-License-Identifier: GPL-2.0

//! Zones of a disk that must be written in order.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use crate::{
    bindings,
    compat::EOPNOTSUPP, //
};
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// How a zone may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneType {
    /// Anywhere.
    Conventional,
    /// Only at its write pointer.
    SequentialRequired,
    /// Best at its write pointer.
    SequentialPreferred,
}

/// What a zone's state is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneCondition {
    /// It has no write pointer.
    NotWp,
    /// Nothing is written.
    Empty,
    /// Opened by a write.
    ImplicitOpen,
    /// Opened by a command.
    ExplicitOpen,
    /// Closed, and partly written.
    Closed,
    /// It can only be read.
    ReadOnly,
    /// All is written, or it was finished.
    Full,
    /// It can neither be read nor written.
    Offline,
}

/// A zone; positions and sizes in sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zone {
    /// The first sector.
    pub start: u64,
    /// The size.
    pub len: u64,
    /// How much of it can be written.
    pub capacity: u64,
    /// The write pointer, if there is one.
    pub write_pointer: u64,
    /// How it may be written.
    pub kind: ZoneType,
    /// Its state.
    pub condition: ZoneCondition,
}

/// Who asked for zones.
///
/// What C's users of reports take for granted is checked here: file systems count zones into arrays
/// of as many as they asked for, or as the disk has, and the block layer takes a write pointer for
/// the place of a zone.
pub struct ZoneReport<'a> {
    disk: *mut bindings::gendisk,
    args: *mut bindings::blk_report_zones_args,
    /// Where the next zone begins.
    next: u64,
    count: u32,
    most: u32,
    _p: PhantomData<&'a ()>,
}

impl ZoneReport<'_> {
    /// A report of `most` zones at most, the first of which is that of `sector`.
    ///
    /// # Safety
    ///
    /// Both pointers must be valid for the life of the result.
    pub(crate) unsafe fn new(
        disk: *mut bindings::gendisk,
        args: *mut bindings::blk_report_zones_args,
        sector: u64,
        most: u32,
    ) -> Self {
        // SAFETY: By this function's safety requirements.
        let (size, _) = unsafe { zones_of(&*disk) };

        Self {
            disk,
            args,
            next: sector & !size.wrapping_sub(1),
            count: 0,
            most,
            _p: PhantomData,
        }
    }

    /// Reports the next zone. Fails with [`EINVAL`] if it is not that, does not begin on the disk,
    /// is more than was asked for, is larger than the zones of the disk, or has no write pointer
    /// but must be written in order, or if its capacity or its write pointer goes beyond it; or if
    /// the block layer refuses it, or its user wants no more.
    ///
    /// May sleep. C counterpart: `disk_report_zone()`.
    pub fn add(&mut self, zone: Zone) -> Result {
        // Such a kernel has nobody to ask for a report, nor the function for it.
        if !cfg!(CONFIG_BLK_DEV_ZONED) {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: By the requirements of `new()`.
        let (size, capacity) = unsafe { zones_of(&*self.disk) };
        let has_wp = matches!(
            zone.condition,
            ZoneCondition::ImplicitOpen | ZoneCondition::ExplicitOpen | ZoneCondition::Closed
        );
        if self.count == self.most
            || zone.start != self.next
            || zone.start >= capacity
            || !(1..=size).contains(&zone.len)
            || !(1..=zone.len).contains(&zone.capacity)
            || (zone.condition == ZoneCondition::NotWp && zone.kind != ZoneType::Conventional)
            || (has_wp && !(0..=zone.len).contains(&zone.write_pointer.wrapping_sub(zone.start)))
        {
            return Err(EINVAL);
        }
        let kind = match zone.kind {
            ZoneType::Conventional => bindings::blk_zone_type_BLK_ZONE_TYPE_CONVENTIONAL,
            ZoneType::SequentialRequired => bindings::blk_zone_type_BLK_ZONE_TYPE_SEQWRITE_REQ,
            ZoneType::SequentialPreferred => bindings::blk_zone_type_BLK_ZONE_TYPE_SEQWRITE_PREF,
        };
        let (cond, wp) = match zone.condition {
            ZoneCondition::NotWp => (
                bindings::blk_zone_cond_BLK_ZONE_COND_NOT_WP,
                Some(zone.start.saturating_add(zone.len)),
            ),
            ZoneCondition::Empty => (
                bindings::blk_zone_cond_BLK_ZONE_COND_EMPTY,
                Some(zone.start),
            ),
            ZoneCondition::ImplicitOpen => (bindings::blk_zone_cond_BLK_ZONE_COND_IMP_OPEN, None),
            ZoneCondition::ExplicitOpen => (bindings::blk_zone_cond_BLK_ZONE_COND_EXP_OPEN, None),
            ZoneCondition::Closed => (bindings::blk_zone_cond_BLK_ZONE_COND_CLOSED, None),
            ZoneCondition::ReadOnly => (
                bindings::blk_zone_cond_BLK_ZONE_COND_READONLY,
                Some(u64::MAX),
            ),
            ZoneCondition::Full => (
                bindings::blk_zone_cond_BLK_ZONE_COND_FULL,
                Some(zone.start.saturating_add(zone.len)),
            ),
            ZoneCondition::Offline => (
                bindings::blk_zone_cond_BLK_ZONE_COND_OFFLINE,
                Some(u64::MAX),
            ),
        };
        let mut raw = bindings::blk_zone {
            start: zone.start,
            len: zone.len,
            wp: wp.unwrap_or(zone.write_pointer),
            type_: kind as u8,
            cond: cond as u8,
            capacity: zone.capacity,
            ..Default::default()
        };

        // SAFETY: By the requirements of `new()`.
        to_result(unsafe {
            bindings::disk_report_zone(self.disk, &mut raw, self.count, self.args)
        })?;
        self.next += size;
        self.count += 1;
        Ok(())
    }

    /// How many zones were reported.
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// The size of the zones of a disk, a power of two or 0, and the disk's capacity; in sectors.
fn zones_of(disk: &bindings::gendisk) -> (u64, u64) {
    // SAFETY: A disk has a queue and a first block device as long as it lives.
    let (size, capacity) = unsafe {
        (
            u64::from((*disk.queue).limits.chunk_sectors),
            (*disk.part0).bd_nr_sectors,
        )
    };

    (if size.is_power_of_two() { size } else { 0 }, capacity)
}

/// Whether the data of a zone append of `sector` can have gone to `at`: it lies in the same zone of
/// the disk. The block layer takes the place where an I/O was as an index of its zones.
pub(crate) fn in_same_zone(disk: &bindings::gendisk, sector: u64, at: u64) -> bool {
    let (size, capacity) = zones_of(disk);

    (sector ^ at) < size && at < capacity
}
