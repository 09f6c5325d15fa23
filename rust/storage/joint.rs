// SPDX-License-Identifier: GPL-2.0

//! What joins virtqueues with the layers that know nothing of them: requests, bios and SCSI
//! commands as tokens, with the frame around their data.

pub mod bio;
pub mod request;
pub mod scsi;
