// SPDX-License-Identifier: GPL-2.0

//! Sysfs files of a disk.
//!
//! C header: [`include/linux/device.h`](srctree/include/linux/device.h)

use super::gen_disk::{
    Disk,
    Operations, //
};
use crate::{
    bindings,
    page_writer::PageWriter,
    work::ModuleWorkqueue, //
};
use core::{
    marker::PhantomData,
    mem::offset_of, //
};
use kernel::{
    error::from_result,
    fmt,
    prelude::*, //
};

/// A sysfs file of a disk of `T`, a type that is only a name for the functions.
pub trait DiskAttribute<T: Operations> {
    /// The name of the file.
    const NAME: &'static CStr;

    /// Whether this disk has the file.
    fn is_visible(disk: &Disk<T>) -> bool {
        let _ = disk;
        true
    }

    /// Whether root may write to the file of this disk.
    fn is_writable(disk: &Disk<T>) -> bool {
        let _ = disk;
        false
    }

    /// Prints the file's content. May sleep.
    fn show(disk: &Disk<T>, to: &mut dyn fmt::Write) -> Result;

    /// For a file whose [`Self::store`] may remove the disk: a workqueue of the driver's module.
    /// The removal does not wait for who is in `store` of this file, but the end of that workqueue
    /// does.
    fn removes_disk() -> Option<&'static ModuleWorkqueue> {
        None
    }

    /// Takes what was written, without the newline at its end. May sleep.
    fn store(disk: &Disk<T>, value: &[u8]) -> Result {
        let _ = (disk, value);
        Err(EPERM)
    }
}

/// An entry of [`Operations::ATTRIBUTES`].
pub struct Attribute<T: Operations> {
    raw: &'static Raw,
    is_visible: fn(&Disk<T>) -> bool,
    is_writable: fn(&Disk<T>) -> bool,
}

struct Raw(bindings::device_attribute);

// SAFETY: The C side only reads it.
unsafe impl Sync for Raw {}

struct Holder<T, A>(PhantomData<(T, A)>);

impl<T: Operations, A: DiskAttribute<T>> Holder<T, A> {
    const RAW: Raw = {
        // SAFETY: All bytes zero is valid: integers, null pointers, absent functions.
        let mut attr: bindings::device_attribute = unsafe { core::mem::zeroed() };

        attr.attr.name = kernel::str::as_char_ptr_in_const_context(A::NAME);
        attr.attr.mode = 0o644;
        attr.__bindgen_anon_1.show = Some(show_callback::<T, A>);
        attr.__bindgen_anon_2.store = Some(store_callback::<T, A>);
        Raw(attr)
    };
}

impl<T: Operations> Attribute<T> {
    /// The entry of `A`.
    pub const fn of<A: DiskAttribute<T>>() -> Self {
        Self {
            raw: &Holder::<T, A>::RAW,
            is_visible: A::is_visible,
            is_writable: A::is_writable,
        }
    }
}

/// The attributes of a disk in the form of the driver core.
pub(crate) struct Groups {
    /// Points to `_group`, null-terminated.
    groups: KBox<[*const bindings::attribute_group; 2]>,
    _group: KBox<bindings::attribute_group>,
    _attrs: KVec<*mut bindings::attribute>,
}

impl Groups {
    pub(crate) fn new<T: Operations>() -> Result<Self> {
        let mut attrs = KVec::with_capacity(T::ATTRIBUTES.len() + 1, GFP_KERNEL)?;
        for attribute in T::ATTRIBUTES {
            let attr = &raw const attribute.raw.0.attr;
            attrs.push(attr.cast_mut(), GFP_KERNEL)?;
        }
        attrs.push(core::ptr::null_mut(), GFP_KERNEL)?;

        let mut group = bindings::attribute_group::default();
        group.__bindgen_anon_1.is_visible = Some(is_visible_callback::<T>);
        group.__bindgen_anon_2.attrs = attrs.as_mut_ptr();
        let group = KBox::new(group, GFP_KERNEL)?;

        Ok(Self {
            groups: KBox::new([&raw const *group, core::ptr::null()], GFP_KERNEL)?,
            _group: group,
            _attrs: attrs,
        })
    }

    pub(crate) fn as_ptr(&self) -> *mut *const bindings::attribute_group {
        self.groups.as_ptr().cast_mut()
    }
}

/// # Safety
///
/// `dev` must be the device of a disk of `T`, valid for `'a`.
unsafe fn disk_of<'a, T: Operations>(dev: *mut bindings::device) -> &'a Disk<T> {
    // SAFETY: The device of a disk is embedded in its first block device (`dev_to_disk()`).
    unsafe {
        let bdev = dev
            .byte_sub(offset_of!(bindings::block_device, bd_device))
            .cast::<bindings::block_device>();
        Disk::from_raw((*bdev).bd_disk)
    }
}

/// # Safety
///
/// May only be called by sysfs, on a disk of `T`.
unsafe extern "C" fn is_visible_callback<T: Operations>(
    kobj: *mut bindings::kobject,
    _attr: *mut bindings::attribute,
    n: c_int,
) -> bindings::umode_t {
    // SAFETY: The group is on disks of `T` only; a device begins with its kobject's offset.
    let disk = unsafe {
        disk_of::<T>(
            kobj.byte_sub(offset_of!(bindings::device, kobj))
                .cast::<bindings::device>(),
        )
    };

    match T::ATTRIBUTES.get(n as usize) {
        Some(attribute) if !(attribute.is_visible)(disk) => 0,
        Some(attribute) if (attribute.is_writable)(disk) => 0o644,
        Some(_) => 0o444,
        None => 0,
    }
}

/// # Safety
///
/// May only be called by sysfs, on a disk of `T`.
unsafe extern "C" fn show_callback<T: Operations, A: DiskAttribute<T>>(
    dev: *mut bindings::device,
    _attr: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    // SAFETY: The attribute is on disks of `T` only.
    let disk = unsafe { disk_of::<T>(dev) };
    // SAFETY: sysfs gives a page.
    let page = unsafe { core::slice::from_raw_parts_mut(buf.cast(), kernel::page::PAGE_SIZE) };
    let mut to = PageWriter::new(page);

    from_result(|| {
        A::show(disk, &mut to)?;
        Ok(to.len() as isize)
    })
}

/// # Safety
///
/// May only be called by sysfs, on a disk of `T`.
unsafe extern "C" fn store_callback<T: Operations, A: DiskAttribute<T>>(
    dev: *mut bindings::device,
    attr: *mut bindings::device_attribute,
    buf: *const c_char,
    count: usize,
) -> isize {
    // SAFETY: The attribute is on disks of `T` only.
    let disk = unsafe { disk_of::<T>(dev) };
    // SAFETY: sysfs gives `count` bytes.
    let value = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) };

    let value = value.strip_suffix(b"\n").unwrap_or(value);

    from_result(|| {
        let Some(workqueue) = A::removes_disk() else {
            A::store(disk, value)?;
            return Ok(count as isize);
        };
        // From here on neither the removal of the disk, nor so the module's end, waits for this
        // file.
        let hold = workqueue.hold()?;
        // SAFETY: This is the store function of the attribute, of this device.
        let node = unsafe {
            bindings::sysfs_break_active_protection(&raw mut (*dev).kobj, &raw const (*attr).attr)
        };
        if node.is_null() {
            return Err(ENODEV);
        }
        // The disk stays: the node has a reference to it.
        let ret = A::store(disk, value);
        // SAFETY: The node is that of above. The disk may go here, and is not used any more.
        unsafe { bindings::sysfs_unbreak_active_protection(node) };
        // Last, see `Hold`.
        drop(hold);
        ret.map(|()| count as isize)
    })
}
