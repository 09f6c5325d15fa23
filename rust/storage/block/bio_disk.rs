// SPDX-License-Identifier: GPL-2.0

//! Disks of bios: their I/O goes straight to the driver, without requests.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::{
    bio::Bio,
    gen_disk::{
        self,
        Disk,
        GenDiskBuilder,
        Kind,
        NewDisk,
        Sealed, //
    },
};
use crate::{
    bindings,
    compat::EOPNOTSUPP,
    work::ModuleWorkqueue, //
};
use kernel::{
    error::from_err_ptr,
    fmt,
    prelude::*,
    static_lock_class,
    sync::rcu,
    types::ForeignOwnable,
    ThisModule, //
};

/// The kind of a disk of bios.
pub struct Bios;

impl Sealed for Bios {}
impl Kind for Bios {}

/// What a driver does for its disks of bios, beside what all disks have.
///
/// C counterpart: `struct block_device_operations`.
#[vtable]
pub trait Operations: gen_disk::Operations<Kind = Bios> {
    /// Takes a bio. Process context, may sleep unless the bio says `nowait`.
    fn submit_bio(data: <Self::Data as ForeignOwnable>::Borrowed<'_>, bio: Bio);

    /// Ends what the device has done on the queue that `bio` names by its cookie
    /// ([`Bio::set_cookie`]). Returns how many bios it found. For disks with
    /// [`LimitsBuilder::poll`](super::limits::LimitsBuilder::poll); process context, must not
    /// sleep.
    fn poll_bio(data: <Self::Data as ForeignOwnable>::Borrowed<'_>, cookie: u32) -> usize {
        let _ = (data, cookie);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

impl GenDiskBuilder {
    /// Makes a disk of bios. The end of `workqueue`, of the driver's module, waits until it is
    /// freed. May sleep. Fails with [`EOPNOTSUPP`] for one of
    /// [zones](super::limits::LimitsBuilder::zoned): the block layer keeps writes to those in order
    /// for disks of requests only. C counterpart: `blk_alloc_disk()`.
    pub fn build_bio<T: Operations>(
        mut self,
        name: fmt::Arguments<'_>,
        module: &'static ThisModule,
        workqueue: &'static ModuleWorkqueue,
        data: T::Data,
    ) -> Result<NewDisk<T>> {
        let hold = workqueue.hold()?;
        if self.limits.is_zoned() {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: The limits are valid.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_alloc_disk(
                self.limits.as_mut(),
                bindings::NUMA_NO_NODE,
                static_lock_class!().as_ptr(),
            )
        })?;
        let fops = bindings::block_device_operations {
            submit_bio: Some(submit_bio_callback::<T>),
            poll_bio: if T::HAS_POLL_BIO {
                Some(poll_bio_callback::<T>)
            } else {
                None
            },
            ..gen_disk::fops::<T>(module)
        };

        self.finish(disk, fops, hold, None, name, data)
    }
}

/// # Safety
///
/// May only be called by the block layer, on a disk of `T`.
unsafe extern "C" fn submit_bio_callback<T: Operations>(bio: *mut bindings::bio) {
    // SAFETY: The block layer passes a valid bio of a disk of `T`, and the ownership of the bio.
    let (disk, bio) = unsafe {
        let disk = (*(*bio).bi_bdev).bd_disk;
        (Disk::<T>::from_raw(disk), Bio::from_raw(bio))
    };

    T::submit_bio(disk.data(), bio);
}

/// The type of `block_device_operations::poll_bio`.
type PollBio =
    unsafe extern "C" fn(*mut bindings::bio, *mut bindings::io_comp_batch, c_uint) -> c_int;

/// # Safety
///
/// May only be called by the block layer, on a disk of `T`.
unsafe extern "C" fn poll_bio_callback<T: Operations>(
    bio: *mut bindings::bio,
    _batch: *mut bindings::io_comp_batch,
    _flags: c_uint,
) -> c_int {
    // The bio may have ended meanwhile, and even be in use again, on another disk. It, the disk and
    // the disk's data are freed a grace period later only, see `gen_disk::free_disk_callback()`.
    let _rcu = rcu::read_lock();

    // SAFETY: See above. A bio on no disk has no block device; one on a disk of another driver has
    // another function here.
    let (disk, cookie) = unsafe {
        let Some(bdev) = (&raw const (*bio).bi_bdev).read_volatile().as_ref() else {
            return 0;
        };
        let disk = bdev.bd_disk;
        let poll_bio = (*(*disk).fops).poll_bio;
        if !poll_bio.is_some_and(|f| core::ptr::fn_addr_eq(f, poll_bio_callback::<T> as PollBio)) {
            return 0;
        }
        let cookie = &raw const (*bio).__bindgen_anon_1.bi_cookie;
        (Disk::<T>::from_raw(disk), cookie.read_volatile())
    };

    T::poll_bio(disk.data(), cookie) as c_int
}
