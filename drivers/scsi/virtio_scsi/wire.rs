// SPDX-License-Identifier: GPL-2.0

//! The wire format: what a virtio-scsi device reads and writes around the data.
//!
//! Virtio specification, section "SCSI Host Device".

use storage::{
    bindings,
    scsi::{
        status,
        HostByte, //
    },
};

/// The size of the field for the command descriptor block, as the driver configures the device.
pub(crate) const CDB_SIZE: usize = 32;

/// The size of the field for sense data, as the driver configures the device.
pub(crate) const SENSE_SIZE: usize = 96;

/// Bytes of the two lengths of protection information.
const PI_SIZE: usize = 8;

/// Bytes of a request's header without and with the lengths of protection information.
pub(crate) const REQUEST_SIZE: usize = 19 + CDB_SIZE;
pub(crate) const REQUEST_PI_SIZE: usize = REQUEST_SIZE + PI_SIZE;

/// The number of a logical unit: its target, and its number there as Linux writes it, which is
/// that of the address on the wire with the addressing method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    pub(crate) target: u8,
    pub(crate) lun: u16,
}

impl Address {
    /// From the numbers of the mid-layer; `None` if there is no such address.
    #[inline]
    pub(crate) fn new(target: u32, lun: u64) -> Option<Self> {
        match (u8::try_from(target), u16::try_from(lun)) {
            // The upper two bits are the method: peripheral (0) or flat (1).
            (Ok(target), Ok(lun)) if lun < 0x8000 => Some(Self { target, lun }),
            _ => None,
        }
    }

    /// The address in a request: in flat format, as the C driver writes it.
    #[inline]
    pub(crate) fn to_wire(self) -> [u8; 8] {
        let [high, low] = self.lun.to_be_bytes();

        [1, self.target, high | 0x40, low, 0, 0, 0, 0]
    }

    /// The address in an event, in peripheral or flat format; `None` if it is neither.
    pub(crate) fn from_wire(lun: [u8; 8]) -> Option<Self> {
        match lun {
            [1, target, high, low, 0, 0, 0, 0] if high == 0 || high & 0xc0 == 0x40 => Some(Self {
                target,
                lun: u16::from_be_bytes([high, low]),
            }),
            _ => None,
        }
    }
}

/// When the device may start a command relative to others: at any time. The mid-layer asks for no
/// other task attribute any more (`ORDERED`, `HEAD OF QUEUE`).
const TASK_ATTRIBUTE: u8 = bindings::VIRTIO_SCSI_S_SIMPLE as u8;

/// The SAM command priority for an I/O priority of Linux: 1 is the highest, 15 the lowest, 0 means
/// none.
#[inline]
pub(crate) const fn priority(ioprio: u16) -> u8 {
    const RT: u16 = 1;
    const IDLE: u16 = 3;

    match ioprio >> 13 {
        RT => 1 + (ioprio & 7) as u8,
        IDLE => 15,
        _ => 0,
    }
}

/// The lengths of the protection information of a command, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Protection {
    pub(crate) out: u32,
    pub(crate) into: u32,
}

/// What the header says of a command beside the command itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) address: Address,
    pub(crate) tag: u64,
    pub(crate) priority: u8,
}

/// The byte order of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Order {
    pub(crate) little_endian: bool,
}

impl Order {
    #[inline]
    fn u64(self, value: u64) -> [u8; 8] {
        if self.little_endian {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        }
    }

    #[inline]
    fn u32(self, value: u32) -> [u8; 4] {
        if self.little_endian {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        }
    }

    /// The CPU's form of a number that the device wrote.
    #[inline]
    pub(crate) fn native(self, value: u32) -> u32 {
        if self.little_endian {
            u32::from_le(value)
        } else {
            u32::from_be(value)
        }
    }
}

storage::device_readable! {
    /// The header of a command: `struct virtio_scsi_cmd_req`, or `struct virtio_scsi_cmd_req_pi`
    /// if `VIRTIO_SCSI_F_T10_PI` was negotiated. All fields are bytes, since the former ends with
    /// the 51st.
    #[derive(Clone, Copy)]
    pub(crate) struct Request {
        lun: [u8; 8],
        tag: [u8; 8],
        task_attr: u8,
        prio: u8,
        crn: u8,
        rest: [u8; PI_SIZE + CDB_SIZE],
    }
}

impl Default for Request {
    fn default() -> Self {
        Self {
            lun: [0; 8],
            tag: [0; 8],
            task_attr: 0,
            prio: 0,
            crn: 0,
            rest: [0; PI_SIZE + CDB_SIZE],
        }
    }
}

impl Request {
    /// Writes the header of `cdb`, which zeroes fill up. A device with `VIRTIO_SCSI_F_T10_PI` gets
    /// `protection`.
    #[inline]
    pub(crate) fn set(
        &mut self,
        order: Order,
        task: &Task,
        cdb: &[u8; CDB_SIZE],
        protection: Option<Protection>,
    ) {
        self.lun = task.address.to_wire();
        self.tag = order.u64(task.tag);
        self.task_attr = TASK_ATTRIBUTE;
        self.prio = task.priority;
        self.crn = 0;
        match protection {
            // The device gets no more than that.
            None => self.rest[..CDB_SIZE].copy_from_slice(cdb),
            Some(protection) => {
                self.rest[..4].copy_from_slice(&order.u32(protection.out));
                self.rest[4..PI_SIZE].copy_from_slice(&order.u32(protection.into));
                self.rest[PI_SIZE..].copy_from_slice(cdb);
            }
        }
    }
}

storage::device_writable! {
    /// The answer to a command (`struct virtio_scsi_cmd_resp`).
    pub(crate) struct Response {
        sense_len: u32,
        resid: u32,
        status_qualifier: u16,
        status: u8,
        response: u8,
        sense: [u8; SENSE_SIZE],
    }
}

impl Default for Response {
    fn default() -> Self {
        Self {
            sense_len: 0,
            resid: 0,
            status_qualifier: 0,
            status: 0,
            response: RESPONSE_NONE,
            sense: [0; SENSE_SIZE],
        }
    }
}

storage::device_writable! {
    /// What comes before the sense data in a [`Response`].
    pub(crate) struct ResponseHead {
        pub(crate) sense_len: u32,
        pub(crate) resid: u32,
        pub(crate) status_qualifier: u16,
        pub(crate) status: u8,
        pub(crate) response: u8,
    }
}

/// Where the sense data begins in a [`Response`].
pub(crate) const SENSE_OFFSET: usize = core::mem::offset_of!(Response, sense);

/// A response code that no device writes: what an answer is set to before a command is added.
pub(crate) const RESPONSE_NONE: u8 = 0xff;

impl Response {
    /// Forgets the answer to the last command.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.sense_len = 0;
        self.resid = 0;
        self.status = 0;
        self.response = RESPONSE_NONE;
    }
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub(crate) host: HostByte,
    pub(crate) status: u8,
    /// Bytes of data that were not moved, as the device says: not checked.
    pub(crate) residual: u32,
    /// Bytes of sense data, not more than there is room for.
    pub(crate) sense_len: usize,
    /// The response code is one that the specification does not know.
    pub(crate) unknown: bool,
}

impl Verdict {
    /// Whether the command did what it should.
    #[inline]
    pub(crate) fn is_success(&self) -> bool {
        self.host == HostByte::OK && self.status == status::GOOD
    }
}

/// Judges the device's answer. The used length does not count: some devices (vhost-scsi) leave it
/// at zero.
#[inline]
pub(crate) fn judge(order: Order, head: &ResponseHead) -> Verdict {
    let mut verdict = Verdict {
        host: HostByte::OK,
        status: head.status,
        residual: order.native(head.resid),
        sense_len: (order.native(head.sense_len) as usize).min(SENSE_SIZE),
        unknown: false,
    };

    verdict.host = match u32::from(head.response) {
        bindings::VIRTIO_SCSI_S_OK => HostByte::OK,
        bindings::VIRTIO_SCSI_S_OVERRUN => HostByte::ERROR,
        bindings::VIRTIO_SCSI_S_ABORTED => HostByte::ABORT,
        bindings::VIRTIO_SCSI_S_BAD_TARGET => HostByte::BAD_TARGET,
        bindings::VIRTIO_SCSI_S_RESET => HostByte::RESET,
        bindings::VIRTIO_SCSI_S_BUSY => HostByte::BUS_BUSY,
        bindings::VIRTIO_SCSI_S_TRANSPORT_FAILURE => HostByte::TRANSPORT_DISRUPTED,
        bindings::VIRTIO_SCSI_S_TARGET_FAILURE => HostByte::BAD_TARGET,
        bindings::VIRTIO_SCSI_S_NEXUS_FAILURE => {
            verdict.status = status::RESERVATION_CONFLICT;
            HostByte::OK
        }
        bindings::VIRTIO_SCSI_S_FAILURE => HostByte::ERROR,
        _ => {
            verdict.unknown = true;
            HostByte::ERROR
        }
    };
    verdict
}

/// Operation codes of questions whose answers the mid-layer believes.
const INQUIRY: u8 = 0x12;
const REPORT_LUNS: u8 = 0xa0;

/// The page of an INQUIRY that identifies the unit: a list of designators.
const IDENTIFICATION_PAGE: u8 = 0x83;

/// Designators of a unit at most: the specifications of SCSI know of a dozen.
const MAX_DESIGNATORS: usize = 255;

/// Bytes of a list of logical units at most, each of which has 8: all that a target can have.
const MAX_UNIT_LIST: u32 = 8 * 0x8001;

/// Whether a command asks what the device is, and which units it has.
#[inline]
pub(crate) const fn asks_who(operation_code: u8) -> bool {
    matches!(operation_code, INQUIRY | REPORT_LUNS)
}

/// Whether the answer to such a question, of `len` bytes at most, is one that the mid-layer must
/// not see; `peek` reads four bytes of it.
///
/// It allocates as much as a list of units says that it has, and computes that in 32 bits; and it
/// reads designators as long as they say, beyond the page.
pub(crate) fn is_absurd(cdb: &[u8; CDB_SIZE], len: usize, peek: impl Fn(usize) -> [u8; 4]) -> bool {
    match *cdb {
        [REPORT_LUNS, ..] => len >= 4 && u32::from_be_bytes(peek(0)) > MAX_UNIT_LIST,
        [INQUIRY, vital, IDENTIFICATION_PAGE, ..] if vital & 1 != 0 && len >= 4 => {
            let len = len.min(usize::from(u16::from_be_bytes([cdb[3], cdb[4]])));
            let [_, _, high, low] = peek(0);
            let end = 4 + usize::from(u16::from_be_bytes([high, low]));
            let mut at = 4;

            // Without all of the page it is only asked how long it is.
            if end > len {
                return false;
            }
            for _ in 0..=MAX_DESIGNATORS {
                if at >= end {
                    return at > end;
                }
                at += 4 + usize::from(peek(at)[3]);
            }
            true
        }
        _ => false,
    }
}

/// A task management function (`VIRTIO_SCSI_T_TMF_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    /// Aborts the command with this tag.
    AbortTask(u64),
    /// Asks whether the device has the command with this tag.
    QueryTask(u64),
    /// Resets the logical unit.
    ResetUnit,
    /// Resets all logical units of the target, for this host.
    ResetNexus,
}

storage::device_readable! {
    /// A request on the control queue (`struct virtio_scsi_ctrl_tmf_req`).
    #[derive(Clone, Copy, Default)]
    pub(crate) struct ControlRequest {
        kind: [u8; 4],
        subtype: [u8; 4],
        lun: [u8; 8],
        tag: [u8; 8],
    }
}

/// The answer to it (`struct virtio_scsi_ctrl_tmf_resp`): a response code.
pub(crate) type ControlResponse = u8;

impl ControlRequest {
    /// The request of `function` for the logical unit at `address`.
    pub(crate) fn new(order: Order, function: Function, address: Address) -> Self {
        let (subtype, tag) = match function {
            Function::AbortTask(tag) => (bindings::VIRTIO_SCSI_T_TMF_ABORT_TASK, tag),
            Function::QueryTask(tag) => (bindings::VIRTIO_SCSI_T_TMF_QUERY_TASK, tag),
            Function::ResetUnit => (bindings::VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0),
            Function::ResetNexus => (bindings::VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, 0),
        };

        Self {
            kind: order.u32(bindings::VIRTIO_SCSI_T_TMF),
            subtype: order.u32(subtype),
            lun: address.to_wire(),
            tag: order.u64(tag),
        }
    }
}

/// Whether a task management function did what it should.
pub(crate) const fn function_succeeded(response: ControlResponse) -> bool {
    matches!(
        response as u32,
        bindings::VIRTIO_SCSI_S_OK | bindings::VIRTIO_SCSI_S_FUNCTION_SUCCEEDED
    )
}

/// Whether the device has the command that it was asked about; `None` if it does not say.
pub(crate) const fn is_in_task_set(response: ControlResponse) -> Option<bool> {
    match response as u32 {
        bindings::VIRTIO_SCSI_S_FUNCTION_SUCCEEDED => Some(true),
        // FUNCTION COMPLETE.
        bindings::VIRTIO_SCSI_S_OK => Some(false),
        _ => None,
    }
}

/// Whether what a program, or a driver of the kernel, sends has the same result if it is sent
/// twice: a question that takes nothing away, or a flush. Neither a reservation, nor what moves a
/// tape. By the operation code and the byte after it, where some commands have a service action:
/// those of one code ask, or change something.
pub(crate) const fn is_repeatable([operation_code, byte]: [u8; 2]) -> bool {
    let service_action = byte & 0x1f;

    match operation_code {
        // TEST UNIT READY, INQUIRY, MODE SENSE, READ CAPACITY, SYNCHRONIZE CACHE, LOG SENSE,
        // PERSISTENT RESERVE IN, REPORT LUNS.
        0x00 | 0x12 | 0x1a | 0x25 | 0x35 | 0x4d | 0x5a | 0x5e | 0x91 | 0xa0 => true,
        // ZONING IN: REPORT ZONES, REPORT REALMS, REPORT ZONE DOMAINS, ZONE QUERY; not ZONE
        // ACTIVATE.
        0x95 => matches!(service_action, 0x00 | 0x06 | 0x07 | 0x09),
        // SERVICE ACTION IN(16): READ CAPACITY, GET LBA STATUS, REPORT REFERRALS, GET STREAM
        // STATUS, GET PHYSICAL ELEMENT STATUS; not STREAM CONTROL, BACKGROUND CONTROL, REMOVE
        // ELEMENT AND TRUNCATE, RESTORE ELEMENTS AND REBUILD.
        0x9e => matches!(service_action, 0x10 | 0x12 | 0x13 | 0x16 | 0x17),
        // MAINTENANCE IN: REPORT IDENTIFYING INFORMATION, TARGET PORT GROUPS, ALIASES, SUPPORTED
        // OPERATION CODES, SUPPORTED TASK MANAGEMENT FUNCTIONS, PRIORITY, TIMESTAMP.
        0xa3 => matches!(service_action, 0x05 | 0x0a..=0x0f),
        _ => false,
    }
}

/// Whether a response says that there is no such target.
pub(crate) const fn is_bad_target(response: u8) -> bool {
    response as u32 == bindings::VIRTIO_SCSI_S_BAD_TARGET
}

/// The size of an event (`struct virtio_scsi_event`).
pub(crate) const EVENT_SIZE: usize = 16;

/// What an event says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Happening {
    /// Nothing: the device only says that events were missed.
    Nothing,
    /// A logical unit may have come.
    Added(Address),
    /// A logical unit went.
    Removed(Address),
    /// A logical unit was reset.
    Reset(Address),
    /// Something about a logical unit changed: additional sense code and its qualifier.
    Changed(Address, u8, u8),
    /// Something that this driver did not ask for, or does not know.
    Unknown(u32, u32),
}

/// An event, and whether others were missed before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    pub(crate) missed: bool,
    pub(crate) what: Happening,
}

impl Event {
    /// Reads an event. A buffer that is too short is an unknown one.
    pub(crate) fn parse(order: Order, bytes: &[u8]) -> Self {
        let word = |at: usize| match bytes.get(at..at + 4) {
            Some(&[a, b, c, d]) => order.native(u32::from_ne_bytes([a, b, c, d])),
            _ => 0,
        };
        let kind = word(0);
        let reason = word(12);
        let mut lun = [0; 8];

        if let Some(field) = bytes.get(4..12) {
            lun.copy_from_slice(field);
        }
        let unknown = Happening::Unknown(kind, reason);
        let address = Address::from_wire(lun);
        let what = match kind & !bindings::VIRTIO_SCSI_T_EVENTS_MISSED {
            bindings::VIRTIO_SCSI_T_NO_EVENT => Happening::Nothing,
            bindings::VIRTIO_SCSI_T_TRANSPORT_RESET => match (reason, address) {
                (bindings::VIRTIO_SCSI_EVT_RESET_RESCAN, Some(address)) => {
                    Happening::Added(address)
                }
                (bindings::VIRTIO_SCSI_EVT_RESET_REMOVED, Some(address)) => {
                    Happening::Removed(address)
                }
                (bindings::VIRTIO_SCSI_EVT_RESET_HARD, Some(address)) => Happening::Reset(address),
                _ => unknown,
            },
            bindings::VIRTIO_SCSI_T_PARAM_CHANGE => match address {
                Some(address) => Happening::Changed(address, reason as u8, (reason >> 8) as u8),
                None => unknown,
            },
            _ => unknown,
        };

        Self {
            missed: kind & bindings::VIRTIO_SCSI_T_EVENTS_MISSED != 0,
            what,
        }
    }
}
