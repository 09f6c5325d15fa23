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

    /// Sets how many commands the device may have in flight; returns what became of it.
    ///
    /// C counterpart: `scsi_change_queue_depth()`.
    #[inline]
    pub fn change_queue_depth(&self, depth: u32) -> i32 {
        let depth = i32::try_from(depth).unwrap_or(i32::MAX);

        // SAFETY: The device is valid.
        unsafe { bindings::scsi_change_queue_depth(self.as_raw(), depth) }
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
        const TIMEOUT_SECONDS: u32 = 30;
        const RETRIES: i32 = 5;

        let cdb = [INQUIRY, 0, 0, 0, LEN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut answer = KVec::from_elem(0u8, LEN.into(), GFP_KERNEL)?;
        let timeout = kernel::time::msecs_to_jiffies(TIMEOUT_SECONDS * 1000);

        // SAFETY: The device is valid; the command block is as long as its kind says, the buffer
        // heap memory of the given length.
        let result = unsafe {
            bindings::scsi_execute_cmd(
                self.as_raw(),
                cdb.as_ptr(),
                bindings::req_op_REQ_OP_DRV_IN,
                answer.as_mut_ptr().cast(),
                LEN.into(),
                timeout as i32,
                RETRIES,
                core::ptr::null(),
            )
        };
        let bad_target = super::HostByte::BAD_TARGET.with_status(0);

        Ok(match result {
            // The peripheral qualifier: 0 if a device is connected.
            0 if answer[0] >> 5 == 0 => Presence::Present,
            0 => Presence::Gone,
            r if r > 0 && r & 0x00ff_0000 == bad_target => Presence::Gone,
            _ => Presence::Unknown,
        })
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
