// SPDX-License-Identifier: GPL-2.0

//! The pure files of virtio_scsi.

#[path = "../../drivers/scsi/virtio_scsi/limits.rs"]
pub mod limits;
#[path = "../../drivers/scsi/virtio_scsi/wire.rs"]
pub mod wire;
