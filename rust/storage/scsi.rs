// SPDX-License-Identifier: GPL-2.0

//! Abstractions for SCSI low-level drivers: hosts, commands, devices, error handling.
//!
//! A command is an owned object, see [`Command`]: the mid-layer lends it to the driver, the driver
//! gives it to a queue as a token, gets it back and finishes it.
//!
//! The library is linked into modules that have nothing to do with SCSI. So what calls the
//! mid-layer is generic or `#[inline]`: else these modules would depend on `scsi_mod`.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

pub mod cmnd;
pub mod device;
pub mod host;
mod ladder;
pub mod operations;
pub mod template;

pub use cmnd::{
    Command,
    CommandList,
    Late, //
};
pub use device::{
    Device,
    Found,
    NewDevice, //
};
pub use host::{
    Host,
    HostRef,
    Limits,
    NewHost, //
};
pub use operations::{
    Operations,
    QueueMaps,
    Refused, //
};
pub use template::HostTemplate;

use crate::bindings;

// The types of the SCSI headers contain types of the kernel crate's bindings.
const _: () = {
    assert!(size_of::<bindings::scsi_cmnd>() == bindings::SIZEOF_SCSI_CMND);
    assert!(size_of::<bindings::scsi_device>() == bindings::SIZEOF_SCSI_DEVICE);
    assert!(size_of::<bindings::Scsi_Host>() == bindings::SIZEOF_SCSI_HOST);
    assert!(size_of::<bindings::scsi_host_template>() == bindings::SIZEOF_SCSI_HOST_TEMPLATE);
};

/// The bytes of sense data that a command has room for.
pub const SENSE_BUFFER_SIZE: usize = bindings::SCSI_SENSE_BUFFERSIZE as usize;

/// What the host, rather than the target, says of a command. C counterpart: `enum
/// scsi_host_status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostByte(u8);

impl HostByte {
    /// No error: the status byte counts.
    pub const OK: Self = Self(bindings::scsi_host_status_DID_OK as u8);
    /// There is no connection to the target: no retry.
    pub const NO_CONNECT: Self = Self(bindings::scsi_host_status_DID_NO_CONNECT as u8);
    /// The bus was busy: tried again.
    pub const BUS_BUSY: Self = Self(bindings::scsi_host_status_DID_BUS_BUSY as u8);
    /// No such target.
    pub const BAD_TARGET: Self = Self(bindings::scsi_host_status_DID_BAD_TARGET as u8);
    /// The command was aborted.
    pub const ABORT: Self = Self(bindings::scsi_host_status_DID_ABORT as u8);
    /// An error of the host.
    pub const ERROR: Self = Self(bindings::scsi_host_status_DID_ERROR as u8);
    /// Tried again at once, however often.
    pub const IMM_RETRY: Self = Self(bindings::scsi_host_status_DID_IMM_RETRY as u8);
    /// A reset ended the command: tried again.
    pub const RESET: Self = Self(bindings::scsi_host_status_DID_RESET as u8);
    /// The transport failed: tried again.
    pub const TRANSPORT_DISRUPTED: Self =
        Self(bindings::scsi_host_status_DID_TRANSPORT_DISRUPTED as u8);
    /// The transport failed: not tried again by the mid-layer, for whoever sent the command to
    /// decide.
    pub const TRANSPORT_MARGINAL: Self =
        Self(bindings::scsi_host_status_DID_TRANSPORT_MARGINAL as u8);
    /// The transport failed, and there may be another path: no retry on this one.
    pub const TRANSPORT_FAILFAST: Self =
        Self(bindings::scsi_host_status_DID_TRANSPORT_FAILFAST as u8);

    /// The result of a command with this host byte and the target's `status`.
    #[inline]
    pub(crate) fn with_status(self, status: u8) -> i32 {
        (i32::from(self.0) << 16) | i32::from(status)
    }
}

/// The class of an error, in sense data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SenseKey {
    /// The medium has an error.
    MediumError = 3,
    /// The target has an error.
    HardwareError = 4,
    /// The command, or a parameter of it, is one that the target does not know.
    IllegalRequest = 5,
    /// The command touches what is protected.
    DataProtect = 7,
}

/// The SAM status of a command: what the target says.
pub mod status {
    /// The command did what it should.
    pub const GOOD: u8 = 0;
    /// The target can do nothing for the moment.
    pub const BUSY: u8 = 8;
    /// Another initiator has reserved the device.
    pub const RESERVATION_CONFLICT: u8 = 0x18;
}
