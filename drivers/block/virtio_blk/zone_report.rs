// SPDX-License-Identifier: GPL-2.0

//! What a disk's zones are like: asked of the device, and checked, as often as somebody wants to
//! know.

use crate::{
    disk::RequestDisk,
    zones, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};
use storage::{
    block::{
        gen_disk::Disk,
        mq,
        zoned::ZoneReport, //
    },
    compat::EOPNOTSUPP, //
};

/// Has the device report zones from `sector` on. Disks with zones are in request mode. May sleep.
pub(crate) fn report(
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
