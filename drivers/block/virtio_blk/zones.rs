// SPDX-License-Identifier: GPL-2.0

//! The zones of a host-managed disk: the reports of a device, checked.
//!
//! Virtio specification, section "Block Device / Device Operation / Zoned".

use storage::{
    bindings::{
        self,
        virtio_blk_zone_descriptor as Descriptor,
        virtio_blk_zone_report as Report, //
    },
    block::zoned::{
        Zone,
        ZoneCondition,
        ZoneType, //
    },
};

use core::mem::offset_of;

/// Bytes before the first zone of a report.
pub(crate) const REPORT_HEADER: usize = size_of::<Report>();

/// Bytes of a zone in a report.
pub(crate) const DESCRIPTOR: usize = size_of::<Descriptor>();

/// Where zones lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ZoneMap {
    /// Sectors of a zone, a power of two; 0 if there are none.
    pub(crate) zone_sectors: u64,
    /// Sectors of the disk.
    pub(crate) capacity: u64,
}

impl ZoneMap {
    /// Whether the disk has zones.
    #[inline]
    pub(crate) fn is_zoned(&self) -> bool {
        self.zone_sectors > 0
    }

    /// Whether an append of `bytes` to the zone that begins at `zone` can have gone to sector `at`.
    pub(crate) fn holds_append(&self, zone: u64, at: u64, bytes: usize) -> bool {
        let end = zone.saturating_add(self.zone_sectors).min(self.capacity);

        at >= zone && at.saturating_add(bytes as u64 >> 9) <= end
    }

    /// The zone that begins at `start`, where one must begin.
    fn len_at(&self, start: u64) -> Option<u64> {
        let aligned = self.zone_sectors != 0 && start & (self.zone_sectors - 1) == 0;

        (aligned && start < self.capacity).then(|| self.zone_sectors.min(self.capacity - start))
    }
}

/// Why a report is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadZone {
    /// The zone does not begin where one must: the sector.
    Start(u64),
    /// Its type is unknown.
    Type(u8),
    /// Its state is unknown.
    State(u8),
    /// Its capacity is more than its size.
    Capacity(u64),
    /// Its state and its type do not go together.
    Mixed(u8, u8),
    /// Its write pointer is outside of it.
    WritePointer(u64),
}

/// How many zones `report` says that it holds, as far as there is room for them in it.
pub(crate) fn count(report: &[u8]) -> usize {
    let said = field(report, offset_of!(Report, nr_zones)).unwrap_or(0);
    let room = report.len().saturating_sub(REPORT_HEADER) / DESCRIPTOR;

    usize::try_from(said).unwrap_or(usize::MAX).min(room)
}

/// Reads zone `index` of a report, which must be the one that begins at `start`.
pub(crate) fn parse(
    map: &ZoneMap,
    report: &[u8],
    index: usize,
    start: u64,
) -> Result<Zone, BadZone> {
    let base = REPORT_HEADER + index * DESCRIPTOR;
    let zone = report.get(base..).unwrap_or(&[]);
    let byte = |at: usize| zone.get(at).copied().unwrap_or(0xff);
    let sectors = |at: usize| field(zone, at).unwrap_or(u64::MAX);

    let said = sectors(offset_of!(Descriptor, z_start));
    let len = map.len_at(start).filter(|_| said == start);
    let len = len.ok_or(BadZone::Start(said))?;
    let kind = match byte(offset_of!(Descriptor, z_type)) {
        kind if u32::from(kind) == bindings::VIRTIO_BLK_ZT_CONV => ZoneType::Conventional,
        kind if u32::from(kind) == bindings::VIRTIO_BLK_ZT_SWR => ZoneType::SequentialRequired,
        kind if u32::from(kind) == bindings::VIRTIO_BLK_ZT_SWP => ZoneType::SequentialPreferred,
        kind => return Err(BadZone::Type(kind)),
    };
    let state = byte(offset_of!(Descriptor, z_state));
    let condition = match u32::from(state) {
        bindings::VIRTIO_BLK_ZS_NOT_WP => ZoneCondition::NotWp,
        bindings::VIRTIO_BLK_ZS_EMPTY => ZoneCondition::Empty,
        bindings::VIRTIO_BLK_ZS_IOPEN => ZoneCondition::ImplicitOpen,
        bindings::VIRTIO_BLK_ZS_EOPEN => ZoneCondition::ExplicitOpen,
        bindings::VIRTIO_BLK_ZS_CLOSED => ZoneCondition::Closed,
        bindings::VIRTIO_BLK_ZS_RDONLY => ZoneCondition::ReadOnly,
        bindings::VIRTIO_BLK_ZS_FULL => ZoneCondition::Full,
        bindings::VIRTIO_BLK_ZS_OFFLINE => ZoneCondition::Offline,
        _ => return Err(BadZone::State(state)),
    };
    // Where writes go anywhere there is no write pointer; where they do not, one that is missing
    // would be taken for the device's number.
    if condition == ZoneCondition::NotWp && kind != ZoneType::Conventional {
        return Err(BadZone::Mixed(byte(offset_of!(Descriptor, z_type)), state));
    }
    let capacity = sectors(offset_of!(Descriptor, z_cap));
    if capacity == 0 || capacity > len {
        return Err(BadZone::Capacity(capacity));
    }
    let write_pointer = sectors(offset_of!(Descriptor, z_wp));
    let has_wp = matches!(
        condition,
        ZoneCondition::ImplicitOpen | ZoneCondition::ExplicitOpen | ZoneCondition::Closed
    );
    if has_wp && !(start..=start + capacity).contains(&write_pointer) {
        return Err(BadZone::WritePointer(write_pointer));
    }

    Ok(Zone {
        start,
        len,
        capacity,
        // Of an empty zone it is where it starts, whatever the device says; one without is as if
        // it was written.
        write_pointer: match condition {
            ZoneCondition::Empty => start,
            ZoneCondition::NotWp => start + len,
            _ => write_pointer,
        },
        kind,
        condition,
    })
}

/// The little-endian integer at byte `at`: a disk with zones is of version 1.
fn field(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;

    Some(u64::from_le_bytes(*bytes))
}
