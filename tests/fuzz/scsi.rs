// SPDX-License-Identifier: GPL-2.0

//! The SCSI mid-layer as far as the driver sees it: one host, its units, its commands; and what it
//! knows of each command: what was asked, what the device answered, how it ended.

mod cmnd;
mod host;
mod ladder;
mod target;
mod unit;
mod users;

pub use cmnd::{
    all_ended,
    count,
    dump,
    rerun,
    rests,
    softirq, //
};
pub use host::{
    change_depth,
    get,
    open_host_reset,
    rescue,
    write_state, //
};
pub use ladder::ioctl;
pub use target::{
    added,
    answer,
    detached,
    event,
    found,
    heard,
    lie,
    popped,
    wrote, //
};
pub use users::{
    poll,
    submit, //
};

use cmnd::{
    Io,
    Slot, //
};
use std::ptr::null_mut;
use storage::bindings as v;
use unit::Unit;

const ENXIO: i32 = -6;
const ENOMEM: i32 = -12;

/// What the host says of a command.
const DID_NO_CONNECT: i32 = 0x01 << 16;
const DID_BUS_BUSY: i32 = 0x02 << 16;
const DID_TIME_OUT: i32 = 0x03 << 16;
const DID_ERROR: i32 = 0x07 << 16;
const DID_RESET: i32 = 0x08 << 16;
const DID_IMM_RETRY: i32 = 0x0c << 16;
const DID_TRANSPORT_DISRUPTED: i32 = 0x0e << 16;

/// A command without data.
const NO_DATA: kernel::bindings::dma_data_direction =
    kernel::bindings::dma_data_direction::DMA_NONE;

/// Commands.
const TEST_UNIT_READY: u8 = 0x00;
const REQUEST_SENSE: u8 = 0x03;
const INQUIRY: u8 = 0x12;
const RESERVE: u8 = 0x16;
const START_STOP: u8 = 0x1b;
const READ_CAPACITY: u8 = 0x25;
const READ: u8 = 0x28;
const WRITE: u8 = 0x2a;
const SYNC_CACHE: u8 = 0x35;
const SERVICE_ACTION_IN: u8 = 0x9e;
const REPORT_LUNS: u8 = 0xa0;

/// The page of an INQUIRY that identifies a unit.
const IDENTIFICATION: u8 = 0x83;

#[derive(Default)]
pub struct Mid {
    host: Option<Host>,
    units: Vec<Unit>,
    slots: Vec<Slot>,
    ios: Vec<Io>,
    /// Commands that complete on another CPU.
    pub remote: bool,
    softirq: Vec<*mut v::scsi_cmnd>,
    /// What waits is to be tried again; and how often nothing of it was taken since something was.
    goes_on: bool,
    tries: u32,
    /// Error handling runs.
    handling: bool,
    /// The command that it gives to the driver just now.
    sends: Option<*mut v::scsi_cmnd>,
    /// Scans in the background.
    scans: u32,
    /// The units that the device has: target and number.
    pub stock: Vec<(u8, u16)>,
    /// Whether error handling has a deadline.
    pub deadline: bool,
    /// Programs ask who the units are.
    pub asks: bool,
    /// The ends of some commands go unnoticed (`fail_io_timeout`).
    pub forgets: bool,
    /// Units tell of a reset, each one once.
    pub tells: bool,
    /// Those that have to.
    resets: Vec<(u8, u16)>,
    /// The system knows the size of the disks.
    pub sized: bool,
    /// Commands have priorities.
    pub prefers: bool,
    /// What the device says that it does not have: tag and use of the command, and when.
    denied: Vec<(u64, u64, u64)>,
}

struct Host {
    shost: *mut v::Scsi_Host,
    refs: u32,
    hctxs: Vec<*mut kernel::bindings::blk_mq_hw_ctx>,
    /// Who has its file open.
    writers: u32,
}

static mut MID: Option<Mid> = None;

pub fn mid() -> &'static mut Mid {
    // SAFETY: One thread; borrowed for a moment only.
    unsafe { (*(&raw mut MID)).get_or_insert_with(Mid::default) }
}

/// The host, or null.
fn shost() -> *mut v::Scsi_Host {
    mid().host.as_ref().map_or(null_mut(), |host| host.shost)
}

/// The driver's functions.
fn template() -> &'static v::scsi_host_template {
    // SAFETY: There is a host; its template is static.
    unsafe { &*(*shost()).hostt }
}

/// All is over: each command has ended, nothing is left.
pub fn end() {
    let mid = mid();

    assert!(
        mid.ios.iter().all(Io::has_ended),
        "a command never came back"
    );
    assert!(mid.host.is_none(), "a host is left");
    assert!(mid.units.is_empty() && mid.slots.is_empty());
    assert!(mid.softirq.is_empty() && mid.scans == 0 && !mid.handling);
    *mid = Mid::default();
}

/// What those wait for who want a command, or the end of some, or that error handling goes on.
fn progress() -> usize {
    &raw const *mid() as usize
}
