// SPDX-License-Identifier: GPL-2.0

//! Generic disk abstraction: what disks of blk-mq requests and those of bios have in common, and
//! the former. See [`bio_disk`](super::bio_disk) for the latter.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::{
    attribute::{
        self,
        Attribute, //
    },
    limits::LimitsBuilder,
    mq::{
        self,
        tag_set::{
            AnyTagSet,
            TagSet, //
        },
    },
    zoned::ZoneReport, //
};
use crate::{
    bindings,
    compat::{
        synchronize_rcu,
        EOPNOTSUPP, //
    },
    work::{
        Hold,
        ModuleWorkqueue, //
    },
};
use core::{
    ffi::c_void,
    fmt::Write,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    device,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    fmt,
    prelude::*,
    static_lock_class,
    str::NullTerminatedFormatter,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
    ThisModule, //
};

/// How often [`Disk::drain`] looks, in jiffies.
const LOOK_AFTER: usize = 2;

/// How often who drops a disk that could not be added looks.
const PAUSE: Delta = Delta::from_millis(5);

/// Cylinders, heads and sectors for old partitioning tools.
#[derive(Clone, Copy)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads.
    pub heads: u8,
    /// Sectors of a track.
    pub sectors: u8,
}

/// Keeps others from adding kinds of disk.
mod sealed {
    pub trait Sealed {}
}
pub(super) use sealed::Sealed;

/// What a disk is of: [`Requests`] or [`Bios`](super::bio_disk::Bios).
pub trait Kind: Sealed + 'static {}

/// The kind of a disk of blk-mq requests, of the driver `M`.
pub struct Requests<M: mq::Operations>(PhantomData<M>);

impl<M: mq::Operations> Sealed for Requests<M> {}
impl<M: mq::Operations> Kind for Requests<M> {}

/// What a driver does for its disks. C counterpart: `struct block_device_operations`.
#[vtable]
pub trait Operations: Sized + 'static {
    /// What the disk is of. One of bios also needs [`bio_disk::Operations`].
    ///
    /// [`bio_disk::Operations`]: super::bio_disk::Operations
    type Kind: Kind;

    /// The disk's private data. It lives as long as somebody has the disk open, which may be
    /// longer than the device.
    type Data: ForeignOwnable + Send + Sync;

    /// The driver's sysfs files of the disk.
    const ATTRIBUTES: &'static [Attribute<Self>] = &[];

    /// Reports up to `nr_zones` zones from that of `sector` on to `report`; returns how many.
    /// For zoned disks; process context, may sleep.
    fn report_zones(
        disk: &Disk<Self>,
        sector: u64,
        nr_zones: u32,
        report: &mut ZoneReport<'_>,
    ) -> Result<u32> {
        let _ = (disk, sector, nr_zones, report);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Returns the disk's geometry (`HDIO_GETGEO`).
    fn geometry(disk: &Disk<Self>) -> Result<Geometry>;
}

/// A disk that exists, seen from a callback.
///
/// # Invariants
///
/// A valid `struct gendisk` whose `private_data` points to a [`Private`] of `T`.
#[repr(transparent)]
pub struct Disk<T: Operations>(Opaque<bindings::gendisk>, PhantomData<T>);

impl<T: Operations> Disk<T> {
    /// # Safety
    ///
    /// `disk` must be a disk that [`GenDiskBuilder`] made for `T`, valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(disk: *mut bindings::gendisk) -> &'a Self {
        // SAFETY: `Self` is a transparent wrapper; by this function's safety requirements.
        unsafe { &*disk.cast() }
    }

    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::gendisk {
        self.0.get()
    }

    pub(crate) fn queue(&self) -> *mut bindings::request_queue {
        // SAFETY: The disk is valid by the type invariant.
        unsafe { (*self.as_raw()).queue }
    }

    /// The driver's data.
    #[inline]
    pub fn data(&self) -> <T::Data as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the type invariant.
        unsafe { T::Data::borrow((*self.private()).data.cast()) }
    }

    #[inline]
    fn private(&self) -> *mut Private<T> {
        // SAFETY: The disk is valid by the type invariant.
        unsafe { (*self.as_raw()).private_data.cast() }
    }

    /// The disk's name, such as "vda".
    pub fn name(&self) -> &CStr {
        // SAFETY: The name is null-terminated and does not change.
        unsafe { CStr::from_char_ptr((*self.as_raw()).disk_name.as_ptr()) }
    }

    /// The capacity in sectors.
    pub fn capacity(&self) -> u64 {
        // SAFETY: The disk is valid, and its first block device lives as long as it.
        unsafe { (*(*self.as_raw()).part0).bd_nr_sectors }
    }

    /// Changes the capacity in sectors; on a disk in use, with a message and an uevent. [`EINVAL`]
    /// if it goes beyond the zones that were [read](NewDisk::revalidate_zones): the block layer has
    /// memory for those, and takes any sector of the disk for an index of it.
    ///
    /// May sleep. C counterpart: `set_capacity_and_notify()`.
    pub fn set_capacity(&self, sectors: u64) -> Result {
        // SAFETY: The disk and its queue are valid by the type invariant.
        #[cfg(CONFIG_BLK_DEV_ZONED)]
        unsafe {
            let zones = u64::from((*self.as_raw()).nr_zones);
            let zone = u64::from((*self.queue()).limits.chunk_sectors);
            if zones > 0 && sectors > zones.saturating_mul(zone) {
                return Err(EINVAL);
            }
        }
        // SAFETY: The disk is valid by the type invariant.
        unsafe { bindings::set_capacity_and_notify(self.as_raw(), sectors) };
        Ok(())
    }

    /// The logical block size in bytes.
    pub fn logical_block_size(&self) -> u32 {
        // SAFETY: The disk and its queue are valid by the type invariant.
        unsafe { (*self.queue()).limits.logical_block_size }
    }

    /// Says whether the device has a volatile write cache, with the queue frozen meanwhile.
    ///
    /// May sleep. C counterpart: `queue_limits_commit_update_frozen()`.
    pub fn set_write_cache(&self, on: bool) -> Result {
        let q = self.queue();

        // SAFETY: The queue is valid; the update is committed, which ends it, below.
        to_result(unsafe {
            bindings::mutex_lock(&raw mut (*q).limits_lock);
            let mut lim = (*q).limits;
            LimitsBuilder::set_feature(&mut lim, bindings::BLK_FEAT_WRITE_CACHE, on);
            bindings::queue_limits_commit_update_frozen(q, &mut lim)
        })
    }

    /// Writes the device's volatile cache back; nothing is done if the disk counts as one without.
    /// Fails with [`ENXIO`] if the disk was not added, or as the device does.
    ///
    /// May sleep. C counterpart: `blkdev_issue_flush()`.
    pub fn flush(&self) -> Result {
        // SAFETY: The disk and its queue are valid, and its first block device lives as long as it.
        // The bios of a disk of bios go to blk-mq, which it has nothing of, before it is added.
        to_result(unsafe {
            let part0 = (*self.as_raw()).part0;
            let flags = (&raw const (*part0).__bd_flags.counter).read_volatile() as u32;

            if (*self.queue()).mq_ops.is_null() && flags & bindings::BD_HAS_SUBMIT_BIO == 0 {
                return Err(ENXIO);
            }
            bindings::blkdev_issue_flush(part0)
        })
    }
}

impl<M: mq::Operations, T: Operations<Kind = Requests<M>>> Disk<T> {
    /// Waits until the driver has no request, and holds back what comes meanwhile; calls `drained`
    /// before it lets go. Calls `look` while it waits, which says whether to wait on: who polled
    /// for the end of requests may be frozen, and the device may never answer.
    ///
    /// May sleep. C counterparts: `blk_mq_freeze_queue()`, `blk_mq_unfreeze_queue()`.
    pub fn drain(&self, mut look: impl FnMut() -> bool, drained: impl FnOnce()) {
        let q = self.queue();

        // SAFETY: The disk and its queue are valid; the freeze ends below, in this task.
        unsafe {
            bindings::blk_freeze_queue_start(q);
            while bindings::blk_mq_freeze_queue_wait_timeout(q, LOOK_AFTER) == 0 && look() {}
            drained();
            bindings::blk_mq_unfreeze_queue_nomemrestore(q);
        }
    }
}

/// A builder of [`NewDisk`].
pub struct GenDiskBuilder {
    pub(super) limits: LimitsBuilder,
    major: u32,
    first_minor: u32,
    minors: u32,
    capacity: u64,
    read_only: bool,
}

impl GenDiskBuilder {
    /// A disk of `limits` and `capacity` in sectors.
    pub fn new(limits: LimitsBuilder, capacity: u64) -> Self {
        Self {
            limits,
            major: 0,
            first_minor: 0,
            minors: 0,
            capacity,
            read_only: false,
        }
    }

    /// Fixed device numbers; without them the block layer gives some.
    pub fn device_numbers(mut self, major: u32, first_minor: u32, minors: u32) -> Self {
        self.major = major;
        self.first_minor = first_minor;
        self.minors = minors;
        self
    }

    /// Nobody may write to the disk.
    pub fn read_only(mut self, on: bool) -> Self {
        self.read_only = on;
        self
    }

    /// Makes a disk of requests. The end of `workqueue`, of the driver's module, waits until it is
    /// freed. May sleep. C counterpart: `blk_mq_alloc_disk()`.
    pub fn build_mq<T: Operations<Kind = Requests<M>>, M: mq::Operations>(
        mut self,
        name: fmt::Arguments<'_>,
        module: &'static ThisModule,
        workqueue: &'static ModuleWorkqueue,
        tag_set: Arc<TagSet<M>>,
        data: T::Data,
    ) -> Result<NewDisk<T>> {
        let hold = workqueue.hold()?;
        // SAFETY: The tag set and the limits are valid.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                tag_set.as_raw(),
                self.limits.as_mut(),
                core::ptr::null_mut(),
                static_lock_class!().as_ptr(),
            )
        })?;

        self.finish(disk, fops::<T>(module), hold, Some(tag_set), name, data)
    }

    /// Fits out a new `disk` of `T`.
    pub(super) fn finish<T: Operations>(
        self,
        disk: *mut bindings::gendisk,
        fops: bindings::block_device_operations,
        hold: Hold,
        tag_set: Option<Arc<dyn AnyTagSet>>,
        name: fmt::Arguments<'_>,
        data: T::Data,
    ) -> Result<NewDisk<T>> {
        // The block layer uses it until the disk is put, also on errors.
        let _tag_set = tag_set.clone();
        let private = attribute::Groups::new::<T>().and_then(|groups| {
            let private = Private::<T> {
                data: data.into_foreign().cast(),
                fops,
                groups,
                retired: Atomic::new(false),
                _tag_set: tag_set,
                _hold: hold,
                _p: PhantomData,
            };
            Ok(KBox::new(private, GFP_KERNEL)?)
        });
        let private = private.inspect_err(|_| {
            // SAFETY: The disk is new and was not added.
            unsafe { bindings::put_disk(disk) };
        })?;
        let private = KBox::into_raw(private);

        // SAFETY: The disk is new, and nobody else sees it; `private` outlives it.
        unsafe {
            (*disk).private_data = private.cast();
            (*disk).fops = &raw const (*private).fops;
            (*disk).major = self.major as c_int;
            (*disk).first_minor = self.first_minor as c_int;
            (*disk).minors = self.minors as c_int;
        }

        // INVARIANT: `private_data` was set above.
        let new_disk = NewDisk {
            // SAFETY: The allocation of the disk succeeded.
            disk: unsafe { NonNull::new_unchecked(disk) },
            _p: PhantomData,
        };

        // SAFETY: As above.
        let disk_name = unsafe { &mut (*disk).disk_name };
        NullTerminatedFormatter::new(disk_name)
            .ok_or(EINVAL)?
            .write_fmt(name)?;

        // SAFETY: The disk is valid.
        unsafe {
            bindings::set_disk_ro(disk, self.read_only);
            bindings::set_capacity(disk, self.capacity);
        }
        Ok(new_disk)
    }
}

/// What `gendisk::private_data` points to.
struct Private<T: Operations> {
    data: *mut c_void,
    fops: bindings::block_device_operations,
    groups: attribute::Groups,
    /// Nobody may open the disk any more. Changed under its `open_mutex`.
    retired: Atomic<bool>,
    _tag_set: Option<Arc<dyn AnyTagSet>>,
    /// Last: what goes before may sleep, see [`Hold`].
    _hold: Hold,
    _p: PhantomData<T>,
}

impl<T: Operations> Drop for Private<T> {
    fn drop(&mut self) {
        // SAFETY: `data` comes from `into_foreign()`, and the disk that used it is gone.
        drop(unsafe { T::Data::from_foreign(self.data.cast()) });
    }
}

/// A disk that the driver owns and that was not added yet.
///
/// # Invariants
///
/// `disk` is a valid `struct gendisk`, see [`Disk`], and the driver's reference to it.
pub struct NewDisk<T: Operations> {
    disk: NonNull<bindings::gendisk>,
    _p: PhantomData<T>,
}

// SAFETY: A disk may be added and put in any thread; `T::Data` is `Send`.
unsafe impl<T: Operations> Send for NewDisk<T> {}
// SAFETY: The methods on shared references are those of `Disk`, which the block layer serializes.
unsafe impl<T: Operations> Sync for NewDisk<T> {}

impl<T: Operations> Deref for NewDisk<T> {
    type Target = Disk<T>;

    #[inline]
    fn deref(&self) -> &Disk<T> {
        // SAFETY: By the type invariant.
        unsafe { Disk::from_raw(self.disk.as_ptr()) }
    }
}

impl<T: Operations> NewDisk<T> {
    /// Shows the disk to the system, as a child of `parent` if it has one. It is read at once:
    /// partitions. One that cannot be added is gone: the block layer knows no second try.
    ///
    /// May sleep. C counterpart: `device_add_disk()`.
    pub fn add_disk(self, parent: Option<&device::Device<device::Bound>>) -> Result<GenDisk<T>> {
        let parent = parent.map_or(core::ptr::null(), core::ptr::from_ref);

        // SAFETY: The disk is valid and was not added, by its type; `device::Device` is a
        // transparent wrapper; the groups live as long as the disk.
        to_result(unsafe {
            let groups = &raw const (*self.private()).groups;
            bindings::device_add_disk(parent.cast_mut().cast(), self.as_raw(), (*groups).as_ptr())
        })?;
        // INVARIANT: The disk was added just now.
        Ok(GenDisk {
            removed: Atomic::new(false),
            disk: self,
        })
    }

    /// Reads what the zones of a zoned disk are like, once. Fails with [`EOPNOTSUPP`] if it has
    /// none, or does not [report](Operations::report_zones) them, and with [`EBUSY`] if they were
    /// read: to what the block layer keeps for each, fewer zones would be fatal. May sleep.
    ///
    /// The disk is the caller's alone meanwhile, and keeps its capacity, whatever who reports the
    /// zones sets.
    ///
    /// C counterpart: `blk_revalidate_disk_zones()`.
    #[cfg(CONFIG_BLK_DEV_ZONED)]
    pub fn revalidate_zones(&mut self) -> Result {
        let disk = self.as_raw();

        // SAFETY: The disk and its queue are valid by the type invariant.
        let (features, zones) = unsafe { ((*self.queue()).limits.features, (*disk).nr_zones) };
        if !T::HAS_REPORT_ZONES || features & bindings::BLK_FEAT_ZONED == 0 {
            return Err(EOPNOTSUPP);
        }
        if zones != 0 {
            return Err(EBUSY);
        }
        let capacity = self.capacity();
        // Who reports the zones sees the disk, too, and may have it grow beyond those that there is
        // room for.
        // SAFETY: The disk is valid and zoned, and has the operation for that.
        to_result(unsafe {
            let ret = bindings::blk_revalidate_disk_zones(disk);
            bindings::set_capacity(disk, capacity);
            ret
        })
    }

    /// Such a kernel knows no zones.
    #[cfg(not(CONFIG_BLK_DEV_ZONED))]
    pub fn revalidate_zones(&mut self) -> Result {
        Err(EOPNOTSUPP)
    }
}

impl<T: Operations> Drop for NewDisk<T> {
    fn drop(&mut self) {
        let disk = self.as_raw();
        let private = self.private();

        // SAFETY: The disk is valid. `GD_ADDED` is set where adding cannot fail any more, and stays
        // set when the disk is removed.
        let was_added = unsafe { (*disk).state & (1 << bindings::GD_ADDED) != 0 };
        if !was_added {
            // Requests of the driver itself may not have ended. The block layer waits for them only
            // when it removes a disk.
            // SAFETY: The queue is valid; the freeze ends below, in this task.
            unsafe {
                let q = self.queue();
                if !(*q).mq_ops.is_null() {
                    bindings::blk_freeze_queue_start(q);
                    bindings::blk_mq_freeze_queue_wait(q);
                    bindings::blk_mq_unfreeze_queue_nomemrestore(q);
                }
            }
            // When it was being added, and that failed half-way, somebody may have found it: who
            // reads /proc/diskstats, say. There are no new ones; but the last one frees the disk,
            // and takes leave of the tag set then.
            // SAFETY: The disk is valid, and its first block device with it.
            while unsafe {
                let kobj = &raw const (*(*disk).part0).bd_device.kobj;
                (&raw const (*kobj).kref.refcount.refs.counter).read_volatile() > 1
            } {
                fsleep(PAUSE);
            }
        }
        // SAFETY: This is the driver's reference.
        unsafe { bindings::put_disk(disk) };

        // Else `free_disk`, now or when the last one closes the disk.
        if !was_added {
            // SAFETY: `private` comes from `KBox::into_raw()`, and the disk was freed.
            drop(unsafe { KBox::from_raw(private) });
        }
    }
}

/// A disk that was added, until it is dropped or [removed](Self::remove).
///
/// # Invariants
///
/// The disk was added, and `removed` is set if it was removed since.
pub struct GenDisk<T: Operations> {
    removed: Atomic<bool>,
    disk: NewDisk<T>,
}

impl<T: Operations> Deref for GenDisk<T> {
    type Target = Disk<T>;

    #[inline]
    fn deref(&self) -> &Disk<T> {
        &self.disk
    }
}

impl<T: Operations> GenDisk<T> {
    /// Takes the disk away from the system: waits for those who submit I/O, later ones fail.
    /// Those who have it open keep it, and its data, until they close it. The second time, nothing
    /// happens.
    ///
    /// May sleep. C counterpart: `del_gendisk()`.
    pub fn remove(&self) {
        if !self.removed.xchg(true, Relaxed) {
            // SAFETY: The disk was added, by the type invariant, and is removed once.
            unsafe { bindings::del_gendisk(self.as_raw()) };
        }
    }

    /// Refuses, with [`EBUSY`], who wants to open the disk from now on: it is about to be
    /// [removed](Self::remove). Fails, and does nothing, with [`EBUSY`] if somebody has it open, or
    /// one of its partitions, or is about to, or closes it just now: that may take I/O, which this
    /// does not wait for.
    pub fn retire(&self) -> Result {
        let disk = self.as_raw();

        // SAFETY: The disk is valid; its first block device lives as long as it. Openers are
        // counted with the lock held.
        unsafe {
            if bindings::mutex_trylock(&raw mut (*disk).open_mutex) == 0 {
                return Err(EBUSY);
            }
            let openers = (&raw const (*(*disk).part0).bd_openers.counter).read_volatile();
            if openers == 0 {
                (*self.private()).retired.store(true, Relaxed);
            }
            bindings::mutex_unlock(&raw mut (*disk).open_mutex);
            match openers {
                0 => Ok(()),
                _ => Err(EBUSY),
            }
        }
    }

    /// All I/O fails from now on: the device is lost. Wakes those who wait to submit.
    ///
    /// C counterpart: `blk_mark_disk_dead()`.
    pub fn mark_dead(&self) {
        // SAFETY: The disk is valid.
        unsafe { bindings::blk_mark_disk_dead(self.as_raw()) };
    }
}

impl<T: Operations> Drop for GenDisk<T> {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The operations that all disks of `T` have.
pub(super) fn fops<T: Operations>(
    module: &'static ThisModule,
) -> bindings::block_device_operations {
    bindings::block_device_operations {
        owner: module.as_ptr(),
        report_zones: if T::HAS_REPORT_ZONES {
            Some(report_zones_callback::<T>)
        } else {
            None
        },
        open: Some(open_callback::<T>),
        getgeo: Some(getgeo_callback::<T>),
        free_disk: Some(free_disk_callback::<T>),
        ..Default::default()
    }
}

/// # Safety
///
/// May only be called by the block layer, on a disk of `T`.
unsafe extern "C" fn report_zones_callback<T: Operations>(
    disk: *mut bindings::gendisk,
    sector: u64,
    nr_zones: c_uint,
    args: *mut bindings::blk_report_zones_args,
) -> c_int {
    from_result(|| {
        // SAFETY: The block layer passes a valid disk of `T`, and arguments that live as long as
        // the call.
        let (disk, mut report) = unsafe {
            (
                Disk::<T>::from_raw(disk),
                ZoneReport::new(disk, args, sector, nr_zones),
            )
        };
        let said = T::report_zones(disk, sector, nr_zones, &mut report)?;

        // Who asked has no more than that.
        Ok(said.min(report.count()).min(c_int::MAX as u32) as c_int)
    })
}

/// # Safety
///
/// May only be called by the block layer, on a disk of `T`, with its `open_mutex` held.
unsafe extern "C" fn open_callback<T: Operations>(
    disk: *mut bindings::gendisk,
    _mode: bindings::blk_mode_t,
) -> c_int {
    // SAFETY: The block layer passes a valid disk of `T`.
    let retired = unsafe { (*Disk::<T>::from_raw(disk).private()).retired.load(Relaxed) };

    if retired {
        EBUSY.to_errno()
    } else {
        0
    }
}

/// # Safety
///
/// May only be called by the block layer, on a disk of `T`.
unsafe extern "C" fn getgeo_callback<T: Operations>(
    disk: *mut bindings::gendisk,
    geo: *mut bindings::hd_geometry,
) -> c_int {
    from_result(|| {
        // SAFETY: The block layer passes a valid disk of `T`.
        let geometry = T::geometry(unsafe { Disk::from_raw(disk) })?;

        // SAFETY: ... and a valid `geo`.
        unsafe {
            bindings::storage_set_geometry(
                geo,
                geometry.cylinders,
                geometry.heads,
                geometry.sectors,
            )
        };
        Ok(0)
    })
}

/// # Safety
///
/// May only be called by the block layer, on a disk of `T`.
unsafe extern "C" fn free_disk_callback<T: Operations>(disk: *mut bindings::gendisk) {
    // For `bio_disk::poll_bio_callback()`, which may have come by a bio that has left the disk.
    synchronize_rcu();

    // From where its hold is dropped to the end nothing sleeps.
    // SAFETY: The disk is of `T`, was added, and its last user is gone.
    drop(unsafe { KBox::from_raw((*disk).private_data.cast::<Private<T>>()) });
}
