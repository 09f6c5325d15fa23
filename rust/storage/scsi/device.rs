// SPDX-License-Identifier: GPL-2.0

//! This module provides wrappers for the C `struct scsi_device`: a logical unit.
//!
//! C header: [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

use crate::bindings;
use core::{
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// A logical unit of a host.
///
/// # Invariants
///
/// A valid `struct scsi_device`.
#[repr(transparent)]
pub struct Device(Opaque<bindings::scsi_device>);

/// What an INQUIRY of [`Device::probe`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// The logical unit is there.
    Present,
    /// It is not, or its target is not.
    Gone,
    /// Nobody knows: the command failed for another reason.
    Unknown,
}

impl Device {
    /// # Safety
    ///
    /// `ptr` must be valid for the chosen lifetime.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::scsi_device) -> &'a Self {
        // SAFETY: By this function's safety requirements; the type is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::scsi_device {
        self.0.get()
    }

    /// The number of its target.
    #[inline]
    pub fn target(&self) -> u32 {
        // SAFETY: The device is valid; the number does not change.
        unsafe { (*self.as_raw()).id }
    }

    /// Its logical unit number as Linux writes it: the four bytes of the first level of the
    /// address, method included.
    #[inline]
    pub fn lun(&self) -> u64 {
        // SAFETY: The device is valid; the number does not change.
        unsafe { (*self.as_raw()).lun }
    }

    /// The generic device, to print messages.
    #[inline]
    pub fn as_device(&self) -> &kernel::device::Device {
        // SAFETY: The device is valid, and with it its generic part.
        unsafe { kernel::device::Device::from_raw(&raw mut (*self.as_raw()).sdev_gendev) }
    }

    /// Reads again what the device says of itself: its capacity, say. May sleep.
    ///
    /// C counterpart: `scsi_rescan_device()`.
    #[inline]
    pub fn rescan(&self) {
        // SAFETY: The device is valid. What cannot be read stays as it is.
        unsafe { bindings::scsi_rescan_device(self.as_raw()) };
    }

    /// Removes the device. May sleep; idempotent. C counterpart: `scsi_remove_device()`.
    #[inline]
    pub fn remove(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::scsi_remove_device(self.as_raw()) };
    }

    /// Asks the device by an INQUIRY whether it is there. May sleep.
    #[inline]
    pub fn probe(&self) -> Result<Presence> {
        /// The length of standard INQUIRY data that every device has.
        const LEN: u8 = 36;
        const INQUIRY: u8 = 0x12;
        let cdb = [INQUIRY, 0, 0, 0, LEN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut answer = KVec::from_elem(0u8, LEN.into(), GFP_KERNEL)?;
        let result = self.read(&cdb, &mut answer);
        let bad_target = super::HostByte::BAD_TARGET.with_status(0);
        // SAFETY: The device is valid; the field does not change once it was found.
        let known = unsafe { (*self.as_raw()).inq_periph_qual };

        Ok(match result {
            // The peripheral qualifier: 0 if a device is connected. The mid-layer has units with
            // another one, too: an array's own, say.
            0 if [0, known].contains(&(answer[0] >> 5)) => Presence::Present,
            0 => Presence::Gone,
            r if r > 0 && r & 0x00ff_0000 == bad_target => Presence::Gone,
            _ => Presence::Unknown,
        })
    }

    /// Sends a command that reads into heap memory, and returns its result, or an error number
    /// below 0. May sleep.
    #[inline]
    fn read(&self, cdb: &[u8; 16], answer: &mut [u8]) -> i32 {
        const TIMEOUT_SECONDS: u32 = 30;
        const RETRIES: i32 = 5;
        let timeout = kernel::time::msecs_to_jiffies(TIMEOUT_SECONDS * 1000);

        // SAFETY: The device is valid; the command block is as long as its kind says, the buffer
        // has the given length. What is not heap memory would be copied by the block layer.
        unsafe {
            bindings::scsi_execute_cmd(
                self.as_raw(),
                cdb.as_ptr(),
                bindings::req_op_REQ_OP_DRV_IN,
                answer.as_mut_ptr().cast(),
                answer.len() as c_uint,
                timeout as i32,
                RETRIES,
                core::ptr::null(),
            )
        }
    }

    /// Whether a disk has another size than the system thinks: then [`Self::rescan`] is due.
    /// `false` if nobody knows, and for what is no disk, or has a medium that can be changed: its
    /// own driver must be the first to hear of a new one. May sleep.
    ///
    /// Unlike a rescan, which takes a disk's size away if it fails, this does no harm.
    #[inline]
    pub fn has_other_size(&self) -> bool {
        self.known_size()
            .is_some_and(|known| self.ask_size().is_some_and(|now| now != known))
    }

    /// The size of the disk in sectors, as the system knows it.
    #[inline]
    fn known_size(&self) -> Option<u64> {
        // `TYPE_DISK`, `TYPE_ZBC`.
        const DISK: i32 = 0;
        const ZONED_DISK: i32 = 0x14;
        let sdev = self.as_raw();

        // SAFETY: The device is valid. With its lock held, its driver stays bound, and with it the
        // disk of its queue.
        unsafe {
            let lock = &raw mut (*sdev).sdev_gendev.mutex;

            if !matches!(i32::from((*sdev).type_), DISK | ZONED_DISK) || (*sdev).removable() != 0 {
                return None;
            }
            bindings::mutex_lock(lock);
            let disk = match (*sdev).sdev_gendev.driver.is_null() {
                true => core::ptr::null_mut(),
                false => (*(*sdev).request_queue).disk,
            };
            let size = (!disk.is_null()).then(|| (*(*disk).part0).bd_nr_sectors);
            bindings::mutex_unlock(lock);
            size
        }
    }

    /// The size of the disk in sectors, as it says: READ CAPACITY.
    #[inline]
    fn ask_size(&self) -> Option<u64> {
        const READ_CAPACITY_10: u8 = 0x25;
        const SERVICE_ACTION_IN: u8 = 0x9e;
        const READ_CAPACITY_16: u8 = 0x10;
        const SHORT: usize = 8;
        const LEN: u8 = 32;
        const SECTOR: u32 = 512;
        // A unit attention takes a try.
        const TRIES: usize = 3;
        let mut cdb = [0; 16];
        let mut answer = KVec::from_elem(0u8, LEN.into(), GFP_KERNEL).ok()?;

        cdb[0] = READ_CAPACITY_10;
        let short = answer.get_mut(..SHORT)?;
        (0..TRIES).find(|_| self.read(&cdb, short) == 0)?;
        let (last, block) = match *answer {
            [0xff, 0xff, 0xff, 0xff, ..] => {
                cdb[0] = SERVICE_ACTION_IN;
                cdb[1] = READ_CAPACITY_16;
                cdb[13] = LEN;
                (0..TRIES).find(|_| self.read(&cdb, &mut answer) == 0)?;
                let block = u32::from_be_bytes(*answer.get(8..)?.first_chunk()?);
                (u64::from_be_bytes(*answer.first_chunk()?), block)
            }
            _ => {
                let block = u32::from_be_bytes(*answer.get(4..)?.first_chunk()?);
                (u32::from_be_bytes(*answer.first_chunk()?).into(), block)
            }
        };

        if block == 0 || block % SECTOR != 0 {
            return None;
        }
        last.checked_add(1)?.checked_mul((block / SECTOR).into())
    }
}

/// A device that was found, and is to be asked what it is.
///
/// # Invariants
///
/// The mid-layer is making the device: nobody else looks at its flags yet.
pub struct NewDevice<'a>(&'a Device);

impl<'a> NewDevice<'a> {
    /// # Safety
    ///
    /// `ptr` must be a device that the mid-layer is making, for the chosen lifetime.
    #[inline]
    pub(super) unsafe fn from_raw(ptr: *mut bindings::scsi_device) -> Self {
        // SAFETY: By this function's safety requirements.
        // INVARIANT: As above.
        Self(unsafe { Device::from_raw(ptr) })
    }

    /// Has the mid-layer read the VPD pages, whatever version the device claims.
    ///
    /// C counterpart: `BLIST_TRY_VPD_PAGES`.
    #[inline]
    pub fn try_vpd_pages(&self) {
        // SAFETY: The device is valid; by the type invariant the flags are ours.
        unsafe { (*self.0.as_raw()).sdev_bflags = bindings::BLIST_TRY_VPD_PAGES };
    }
}

/// A device that has said what it is, and is not in use yet.
///
/// # Invariants
///
/// The mid-layer is configuring the device, and holds it.
pub struct Found<'a>(&'a Device);

impl<'a> Found<'a> {
    /// # Safety
    ///
    /// `ptr` must be a device that the mid-layer is configuring, for the chosen lifetime.
    #[inline]
    pub(super) unsafe fn from_raw(ptr: *mut bindings::scsi_device) -> Self {
        // SAFETY: By this function's safety requirements.
        // INVARIANT: As above.
        Self(unsafe { Device::from_raw(ptr) })
    }

    /// Whether its INQUIRY data name this vendor, but for spaces at the end.
    pub fn is_of_vendor(&self, vendor: &[u8]) -> bool {
        const VENDOR: Range<usize> = 8..16;

        // SAFETY: By the type invariant the data are there, at least 36 bytes, and stay.
        let data = unsafe { core::slice::from_raw_parts((*self.0.as_raw()).inquiry, VENDOR.end) };

        data[VENDOR].trim_ascii_end() == vendor
    }

    /// Has the mid-layer read each VPD page by one command, instead of three: without a look at the
    /// list of pages, nor at the page's length first.
    ///
    /// For devices only that refuse pages that they do not have, and bear being asked for 255
    /// bytes. A longer page that the mid-layer keeps is read whole by a second command; of others,
    /// `sd`'s list of more than five actuators (page 0xb9) and those of some device handlers, only
    /// 255 bytes are seen.
    ///
    /// C counterpart: `BLIST_NO_VPD_SIZE`.
    pub fn read_vpd_pages_at_once(&self) {
        // SAFETY: By the type invariant; nobody else looks at its flags meanwhile.
        unsafe { (*self.0.as_raw()).set_no_vpd_size(1) };
    }
}

// SAFETY: A device is reference-counted and can be released from any thread.
unsafe impl Send for Device {}
// SAFETY: The mid-layer serializes what the methods do.
unsafe impl Sync for Device {}

/// A device that was looked up: neither it nor its host's module goes away meanwhile.
pub struct Held(NonNull<bindings::scsi_device>);

// SAFETY: A device can be released from any thread.
unsafe impl Send for Held {}

impl Held {
    /// # Safety
    ///
    /// `sdev` must be null or a device with a reference by `scsi_device_get()` that is given away.
    #[inline]
    pub(super) unsafe fn from_raw(sdev: *mut bindings::scsi_device) -> Option<Self> {
        NonNull::new(sdev).map(Self)
    }
}

impl core::ops::Deref for Held {
    type Target = Device;

    #[inline]
    fn deref(&self) -> &Device {
        // SAFETY: The reference keeps the device valid.
        unsafe { Device::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::scsi_device_put(self.0.as_ptr()) };
    }
}
