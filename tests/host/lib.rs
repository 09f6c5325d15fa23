// SPDX-License-Identifier: GPL-2.0

//! The pure files of the drivers, each with its tests beside it.

#![allow(dead_code)]

#[path = "../../drivers/block/virtio_blk/flush.rs"]
mod flush;
#[path = "../../drivers/block/virtio_blk/limits.rs"]
mod limits;
#[path = "../../drivers/block/virtio_blk/names.rs"]
mod names;
#[path = "../../drivers/block/virtio_blk/wire.rs"]
mod wire;
#[path = "../../drivers/block/virtio_blk/zones.rs"]
mod zones;

mod scsi;

#[cfg(test)]
mod flush_test;
#[cfg(test)]
mod limits_test;
#[cfg(test)]
mod names_test;
#[cfg(test)]
mod scsi_limits_test;
#[cfg(test)]
mod scsi_wire_test;
#[cfg(test)]
mod wire_test;
#[cfg(test)]
mod zones_test;
