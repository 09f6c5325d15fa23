// SPDX-License-Identifier: GPL-2.0

//! A RAM disk of bios, /dev/rbram0: the smallest user of the block layer without requests.

#![forbid(unsafe_code)]

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        Mutex, //
    },
};
use storage::{
    block::{
        bio::Bio,
        bio_disk::{
            self,
            Bios, //
        },
        gen_disk::{
            self,
            Disk,
            GenDisk,
            GenDiskBuilder,
            Geometry, //
        },
        limits::LimitsBuilder,
        Op,
        Status,
        SECTOR_SHIFT, //
    },
    work::{
        ModuleWorkqueue,
        ModuleWorkqueueGuard, //
    },
};

/// The module's end waits for it, and so for the last user of the disk.
static WORKQUEUE: ModuleWorkqueue = ModuleWorkqueue::new();

storage::module_params! {
    "rust_bio_ram_disk":

    /// The size.
    static SIZE_MIB: u32 = 64, "size_mib", 0o444, "Size of the disk in MiB (default: 64)";
}

/// The memory of the disk.
#[pin_data]
struct Memory {
    #[pin]
    bytes: Mutex<VVec<u8>>,
}

/// The block device operations.
struct RamDisk;

#[vtable]
impl gen_disk::Operations for RamDisk {
    type Kind = Bios;
    type Data = Arc<Memory>;

    fn geometry(_disk: &Disk<Self>) -> Result<Geometry> {
        Err(ENOTTY)
    }
}

#[vtable]
impl bio_disk::Operations for RamDisk {
    fn submit_bio(memory: ArcBorrow<'_, Memory>, bio: Bio) {
        let started = bio.start_accounting();
        let begin = (bio.sector() as usize) << SECTOR_SHIFT;
        let mut bytes = memory.bytes.lock();

        // The block layer has checked the range; a disk that trusts nobody checks it again.
        let status = match (bio.op(), bytes.get_mut(begin..begin + bio.len())) {
            (Op::READ, Some(range)) => {
                bio.copy_from(range);
                Status::OK
            }
            (Op::WRITE, Some(range)) => {
                bio.copy_to(range);
                Status::OK
            }
            (_, Some(_)) => Status::NOTSUPP,
            (_, None) => Status::IOERR,
        };
        drop(bytes);

        bio.end_accounting(started);
        bio.end(status);
    }
}

/// The module is the disk. Its fields go in this order when it is unloaded.
struct RamDiskModule {
    _disk: GenDisk<RamDisk>,
    _workqueue: ModuleWorkqueueGuard,
}

impl kernel::Module for RamDiskModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let workqueue = WORKQUEUE.create(c"rbram")?;
        let size = (SIZE_MIB.get() as usize) << 20;
        let bytes = VVec::from_elem(0, size, GFP_KERNEL)?;
        let memory = Arc::pin_init(
            pin_init!(Memory {
                bytes <- new_mutex!(bytes),
            }),
            GFP_KERNEL,
        )?;
        let disk = GenDiskBuilder::new(LimitsBuilder::new(), (size >> SECTOR_SHIFT) as u64)
            .build_bio(fmt!("rbram0"), module, &WORKQUEUE, memory)?;

        Ok(Self {
            _disk: disk.add_disk(None)?,
            _workqueue: workqueue,
        })
    }
}

module! {
    type: RamDiskModule,
    name: "rust_bio_ram_disk",
    authors: ["The virtio-storage-rs developers"],
    description: "Sample: a RAM disk of bios",
    license: "GPL",
}
