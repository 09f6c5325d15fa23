// SPDX-License-Identifier: GPL-2.0

//! A SCSI host without hardware: disks of memory, one behind each target.
//!
//! Each command is served where it comes in, so none is ever in flight. `Target` is the SCSI disk,
//! `RamHost` what the mid-layer calls.

#![forbid(unsafe_code)]

use kernel::{
    faux,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};
use storage::scsi::{
    status,
    Command,
    Host,
    HostByte,
    HostTemplate,
    Limits,
    NewHost,
    Operations,
    Refused,
    SenseKey, //
};

storage::module_params! {
    "rust_scsi_ram_host":

    /// How many targets there are.
    static TARGETS: u32 = 2, "targets", 0o444, "Number of targets, 1 to 256 (default: 2)";
    /// The size of each.
    static SIZE_MIB: u32 = 16, "size_mib", 0o444,
        "Size of each disk in MiB, 1 to 65536 (default: 16)";
}

const MAX_TARGETS: u32 = 256;
const MAX_SIZE_MIB: u32 = 65_536;
const BLOCK_SHIFT: u32 = 9;

/// Operation codes: the first byte of a command descriptor block.
mod op {
    pub(super) const TEST_UNIT_READY: u8 = 0x00;
    pub(super) const INQUIRY: u8 = 0x12;
    pub(super) const MODE_SENSE_6: u8 = 0x1a;
    pub(super) const READ_CAPACITY_10: u8 = 0x25;
    pub(super) const READ_10: u8 = 0x28;
    pub(super) const WRITE_10: u8 = 0x2a;
    pub(super) const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub(super) const READ_16: u8 = 0x88;
    pub(super) const WRITE_16: u8 = 0x8a;
    pub(super) const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub(super) const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub(super) const REPORT_LUNS: u8 = 0xa0;
}

/// The service action of [`op::SERVICE_ACTION_IN_16`] that is READ CAPACITY(16).
const READ_CAPACITY_16: u8 = 0x10;

/// The wrong in a command: an additional sense code of [`SenseKey::IllegalRequest`].
#[derive(Clone, Copy)]
#[repr(u8)]
enum Wrong {
    Operation = 0x20,
    BlockAddress = 0x21,
    Field = 0x24,
}

/// A big-endian number of a command descriptor block; what it lacks is 0.
fn number(cdb: &[u8], at: usize, len: usize) -> u64 {
    cdb.iter()
        .skip(at)
        .take(len)
        .fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// A target with one logical unit, a disk.
#[pin_data]
struct Target {
    id: u32,
    #[pin]
    bytes: SpinLock<VVec<u8>>,
}

impl Target {
    fn new(id: u32) -> Result<Arc<Self>> {
        let bytes = VVec::from_elem(0, (SIZE_MIB.get() as usize) << 20, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                id,
                bytes <- new_spinlock!(bytes),
            }),
            GFP_KERNEL,
        )
    }

    /// Four digits, the same for the same target each time.
    fn serial(&self) -> [u8; 4] {
        [1000, 100, 10, 1].map(|unit| b'0' + (self.id / unit % 10) as u8)
    }

    fn blocks(&self) -> u64 {
        (self.bytes.lock().len() >> BLOCK_SHIFT) as u64
    }

    /// Gives the host `answer`, cut to the `allocated` bytes that the command asks for.
    fn answer(cmd: &mut Command<RamHost>, answer: &[u8], allocated: u64) {
        let len = answer.len().min(allocated as usize);
        let copied = cmd.copy_from(&answer[..len]);

        cmd.set_residual(cmd.len().saturating_sub(copied as u32));
    }

    fn inquiry(&self, cmd: &mut Command<RamHost>) -> Result<(), Wrong> {
        const STANDARD: [u8; 36] = *b"\x00\x00\x05\x02\x1f\x00\x00\x02Rust    RAM disk        1.0 ";
        const SUPPORTED: [u8; 7] = [0, 0x00, 0, 3, 0x00, 0x80, 0x83];
        /// One designator: ASCII, of the logical unit, by the vendor's name; the serial follows.
        const NAME: [u8; 20] = *b"\x00\x83\x00\x14\x02\x01\x00\x10Rust    RAM-";
        let (page, allocated) = (number(cmd.cdb(), 2, 1), number(cmd.cdb(), 3, 2));
        let is_vital = number(cmd.cdb(), 1, 1) & 1 != 0;
        let serial = self.serial();

        match (is_vital, page) {
            (false, 0) => Self::answer(cmd, &STANDARD, allocated),
            (true, 0x00) => Self::answer(cmd, &SUPPORTED, allocated),
            (true, 0x80) => {
                let mut answer = [0, 0x80, 0, 4, 0, 0, 0, 0];

                answer[4..].copy_from_slice(&serial);
                Self::answer(cmd, &answer, allocated);
            }
            (true, 0x83) => {
                let mut answer = [0; 24];

                answer[..20].copy_from_slice(&NAME);
                answer[20..].copy_from_slice(&serial);
                Self::answer(cmd, &answer, allocated);
            }
            _ => return Err(Wrong::Field),
        }
        Ok(())
    }

    /// One page: there is no cache that could lose something.
    fn mode_sense(&self, cmd: &mut Command<RamHost>) -> Result<(), Wrong> {
        const CACHING: u8 = 0x08;
        const ALL: u8 = 0x3f;
        let mut answer = [0; 24];

        if !matches!(number(cmd.cdb(), 2, 1) as u8 & 0x3f, CACHING | ALL) {
            return Err(Wrong::Field);
        }
        // The length of what follows; no block descriptors; the page, and its length.
        answer[0] = 23;
        answer[4..6].copy_from_slice(&[CACHING, 18]);
        let allocated = number(cmd.cdb(), 4, 1);
        Self::answer(cmd, &answer, allocated);
        Ok(())
    }

    fn capacity_10(&self, cmd: &mut Command<RamHost>) {
        let last = u32::try_from(self.blocks() - 1).unwrap_or(u32::MAX);
        let mut answer = [0; 8];

        answer[..4].copy_from_slice(&last.to_be_bytes());
        answer[4..].copy_from_slice(&(1u32 << BLOCK_SHIFT).to_be_bytes());
        Self::answer(cmd, &answer, 8);
    }

    fn capacity_16(&self, cmd: &mut Command<RamHost>) {
        let mut answer = [0; 32];

        answer[..8].copy_from_slice(&(self.blocks() - 1).to_be_bytes());
        answer[8..12].copy_from_slice(&(1u32 << BLOCK_SHIFT).to_be_bytes());
        let allocated = number(cmd.cdb(), 10, 4);
        Self::answer(cmd, &answer, allocated);
    }

    /// One logical unit: number 0.
    fn report_luns(&self, cmd: &mut Command<RamHost>) {
        let mut answer = [0; 16];

        answer[3] = 8;
        let allocated = number(cmd.cdb(), 6, 4);
        Self::answer(cmd, &answer, allocated);
    }

    /// Reads or writes `blocks` blocks from block `first`.
    fn transfer(&self, cmd: &mut Command<RamHost>, first: u64, blocks: u64) -> Result<(), Wrong> {
        let is_read = matches!(cmd.cdb().first(), Some(&op::READ_10 | &op::READ_16));
        let byte = |block: u64| usize::try_from(block.checked_mul(1 << BLOCK_SHIFT)?).ok();
        let begin = byte(first).ok_or(Wrong::BlockAddress)?;
        let end = first
            .checked_add(blocks)
            .and_then(byte)
            .ok_or(Wrong::BlockAddress)?;
        let mut bytes = self.bytes.lock();
        let range = bytes.get_mut(begin..end).ok_or(Wrong::BlockAddress)?;

        // An ioctl's buffer may be shorter.
        let copied = if is_read {
            cmd.copy_from(range)
        } else {
            cmd.copy_to(range)
        };
        drop(bytes);
        cmd.set_residual(cmd.len().saturating_sub(copied as u32));
        Ok(())
    }

    fn serve(&self, cmd: &mut Command<RamHost>) -> Result<(), Wrong> {
        let cdb = cmd.cdb();
        let ten = (number(cdb, 2, 4), number(cdb, 7, 2));
        let sixteen = (number(cdb, 2, 8), number(cdb, 10, 4));

        match cdb.first().copied().unwrap_or_default() {
            op::TEST_UNIT_READY | op::SYNCHRONIZE_CACHE_10 | op::SYNCHRONIZE_CACHE_16 => Ok(()),
            op::INQUIRY => self.inquiry(cmd),
            op::MODE_SENSE_6 => self.mode_sense(cmd),
            op::READ_CAPACITY_10 => {
                self.capacity_10(cmd);
                Ok(())
            }
            op::SERVICE_ACTION_IN_16 if number(cdb, 1, 1) as u8 & 0x1f == READ_CAPACITY_16 => {
                self.capacity_16(cmd);
                Ok(())
            }
            op::REPORT_LUNS => {
                self.report_luns(cmd);
                Ok(())
            }
            op::READ_10 | op::WRITE_10 => self.transfer(cmd, ten.0, ten.1),
            op::READ_16 | op::WRITE_16 => self.transfer(cmd, sixteen.0, sixteen.1),
            _ => Err(Wrong::Operation),
        }
    }
}

/// The SCSI driver.
struct RamHost;

static TEMPLATE: HostTemplate<RamHost> = HostTemplate::new();

#[vtable]
impl Operations for RamHost {
    type CommandData = ();
    type HostData = KVec<Arc<Target>>;

    const NAME: &'static CStr = c"Rust RAM host";
    const PROC_NAME: &'static CStr = c"rust_scsi_ram_host";

    fn template() -> &'static HostTemplate<Self> {
        &TEMPLATE
    }

    fn queue_command(
        targets: &Self::HostData,
        mut cmd: Command<Self>,
        _is_last: bool,
    ) -> Result<(), Refused<Self>> {
        let (id, lun) = (cmd.device().target(), cmd.device().lun());

        match targets.get(id as usize).filter(|_| lun == 0) {
            None => cmd.set_result(HostByte::BAD_TARGET, 0),
            Some(target) => match target.serve(&mut cmd) {
                Ok(()) => cmd.set_result(HostByte::OK, status::GOOD),
                Err(wrong) => cmd.set_sense(SenseKey::IllegalRequest, wrong as u8, 0),
            },
        }
        cmd.done();
        Ok(())
    }

    fn host_reset(_targets: &Self::HostData) -> Result {
        // Nothing is in flight.
        Ok(())
    }
}

/// The module is the host, and the device that is its parent.
struct RamHostModule {
    _host: Host<RamHost>,
    _parent: faux::Registration,
}

impl kernel::Module for RamHostModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let count = TARGETS.get();

        if !(1..=MAX_TARGETS).contains(&count) || !(1..=MAX_SIZE_MIB).contains(&SIZE_MIB.get()) {
            pr_err!("targets is 1 to {MAX_TARGETS}, size_mib is 1 to {MAX_SIZE_MIB}\n");
            return Err(EINVAL);
        }

        let mut targets = KVec::with_capacity(count as usize, GFP_KERNEL)?;
        for id in 0..count {
            targets.push(Target::new(id)?, GFP_KERNEL)?;
        }

        let limits = Limits {
            nr_hw_queues: 1,
            can_queue: 64,
            cmd_per_lun: 32,
            sg_tablesize: 128,
            // What is copied in one go, with a spin lock held: 128 KiB.
            max_sectors: 256,
            max_id: count,
            max_lun: 1,
            max_cmd_len: 16,
            ..Limits::default()
        };
        let parent = faux::Registration::new(c"rust_scsi_ram_host", None)?;
        let host = NewHost::new(&limits, Arc::new(targets, GFP_KERNEL)?)?
            .add_host(parent.as_ref().as_ref())?;

        host.host_ref().scan();
        Ok(Self {
            _host: host,
            _parent: parent,
        })
    }
}

module! {
    type: RamHostModule,
    name: "rust_scsi_ram_host",
    authors: ["The virtio-storage-rs developers"],
    description: "Sample: a SCSI host with disks of memory",
    license: "GPL",
}
