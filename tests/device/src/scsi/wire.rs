// SPDX-License-Identifier: GPL-2.0

//! What lies in the rings of a virtio-scsi device (version 1, little endian).

use std::fmt::{
    self,
    Write, //
};

pub const CONTROL: u16 = 0;
pub const EVENTS: u16 = 1;

/// Features: hotplug, parameter change, protection information.
pub const HOTPLUG: u64 = 1 << 1;
pub const CHANGE: u64 = 1 << 2;
pub const T10_PI: u64 = 1 << 3;

/// The sizes of the fields whose size the driver may choose; QEMU takes no others.
pub const CDB_SIZE: usize = 32;
pub const SENSE_SIZE: usize = 96;

const FIXED: usize = 19;
pub const RESPONSE_SIZE: usize = 12 + SENSE_SIZE;

/// Response codes.
pub const S_OK: u8 = 0;
pub const S_OVERRUN: u8 = 1;
pub const S_ABORTED: u8 = 2;
pub const S_BAD_TARGET: u8 = 3;
pub const S_RESET: u8 = 4;
pub const S_FUNCTION_SUCCEEDED: u8 = 10;
pub const S_FUNCTION_REJECTED: u8 = 11;
pub const S_INCORRECT_LUN: u8 = 12;

/// Events and their reasons.
pub const TRANSPORT_RESET: u32 = 1;
pub const PARAM_CHANGE: u32 = 3;
pub const RESET_RESCAN: u32 = 1;
pub const RESET_REMOVED: u32 = 2;
/// In the type of an event: others were before it, for which there was no buffer.
pub const MISSED: u32 = 1 << 31;
/// Additional sense code and qualifier of "capacity data has changed".
pub const CAPACITY_CHANGED: u32 = 0x092a;

/// Where a logical unit is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Address {
    pub target: u8,
    pub lun: u16,
}

impl Address {
    /// From a test's `TARGET:LUN`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no TARGET:LUN");
        let (target, lun) = text.split_once(':').ok_or_else(wrong)?;

        Ok(Self {
            target: target.parse().map_err(|_| wrong())?,
            lun: lun.parse().map_err(|_| wrong())?,
        })
    }

    /// Flat or peripheral, in a single level.
    pub fn from_wire(lun: [u8; 8]) -> Option<Self> {
        match lun {
            [1, target, high, low, 0, 0, 0, 0] if high == 0 || high & 0xc0 == 0x40 => Some(Self {
                target,
                lun: u16::from_be_bytes([high & 0x3f, low]),
            }),
            _ => None,
        }
    }

    /// In an event: as QEMU writes it, flat if it must be.
    pub fn to_wire(self) -> [u8; 8] {
        let [high, low] = self.lun.to_be_bytes();
        let method = if self.lun < 256 { 0 } else { 0x40 };

        [1, self.target, high | method, low, 0, 0, 0, 0]
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.target, self.lun)
    }
}

/// `N` bytes at `at`; the caller knows that they are there.
pub fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    from[at..at + N].try_into().expect("the length is N")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What comes before the data of a command.
#[derive(Debug)]
pub struct Header {
    pub size: usize,
    pub lun: [u8; 8],
    pub address: Option<Address>,
    pub tag: u64,
    pub attribute: u8,
    pub priority: u8,
    pub pi_out: u32,
    pub pi_in: u32,
    pub cdb: [u8; CDB_SIZE],
}

impl Header {
    pub fn parse(input: &[u8], protection: bool) -> Result<Self, String> {
        let at = FIXED + if protection { 8 } else { 0 };
        let size = at + CDB_SIZE;

        if input.len() < size {
            return Err(format!("a header of {} bytes", input.len()));
        }
        let lun = bytes(input, 0);
        let number = |at| match protection {
            true => u32::from_le_bytes(bytes(input, at)),
            false => 0,
        };
        Ok(Self {
            size,
            lun,
            address: Address::from_wire(lun),
            tag: u64::from_le_bytes(bytes(input, 8)),
            attribute: input[16],
            priority: input[17],
            pi_out: number(FIXED),
            pi_in: number(FIXED + 4),
            cdb: bytes(input, at),
        })
    }

    /// For the log.
    pub fn name(&self) -> String {
        self.address.map_or(hex(&self.lun), |at| at.to_string())
    }
}

/// Why a unit did not do a command: sense key, additional code and its qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sense(pub u8, pub u8, pub u8);

impl Sense {
    pub const MEDIUM_ERROR: Self = Self(3, 0x0c, 0);
    pub const INVALID_OPCODE: Self = Self(5, 0x20, 0);
    pub const OUT_OF_RANGE: Self = Self(5, 0x21, 0);
    pub const INVALID_FIELD: Self = Self(5, 0x24, 0);
    pub const NO_SUCH_UNIT: Self = Self(5, 0x25, 0);
    pub const MISCOMPARE: Self = Self(0xe, 0x1d, 0);
    pub const GUARD: Self = Self(0xb, 0x10, 1);
    pub const REFERENCE: Self = Self(0xb, 0x10, 3);

    /// Sense data in fixed format.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; 18];

        bytes[0] = 0x70;
        bytes[2] = self.0;
        bytes[7] = 10;
        bytes[12] = self.1;
        bytes[13] = self.2;
        bytes
    }
}

/// What comes before the data of an answer.
#[derive(Clone, Default, Debug)]
pub struct Response {
    pub sense: Vec<u8>,
    /// Bytes of sense data, if it is to be told wrong.
    pub sense_len: Option<u32>,
    pub residual: u32,
    pub status: u8,
    pub response: u8,
}

impl Response {
    pub fn check_condition(&mut self, sense: Sense) {
        self.status = 2;
        self.sense = sense.bytes();
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RESPONSE_SIZE);

        bytes.extend(
            self.sense_len
                .unwrap_or(self.sense.len() as u32)
                .to_le_bytes(),
        );
        bytes.extend(self.residual.to_le_bytes());
        bytes.extend([0, 0, self.status, self.response]);
        bytes.extend(&self.sense);
        bytes.resize(RESPONSE_SIZE, 0);
        bytes
    }
}

pub fn event(kind: u32, lun: [u8; 8], reason: u32) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &lun, &reason.to_le_bytes()].concat()
}
