// SPDX-License-Identifier: GPL-2.0

//! Plugs for bios: those that a task submits in a row are taken together.
//!
//! blk-mq collects the requests of a plugged task by itself; a driver of bios has to. The batch
//! then costs one lock and one kick.
//!
//! A callback stays in the task's plug when its batch was submitted, until the task unplugs; and
//! the bios that it submits may end, and who waited for them unload the module, before it returns.
//! So its owner, of which it has a reference, holds the module ([`Plugged`]): that costs nothing
//! for an I/O.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::bio::{
    Bio,
    BioList, //
};
use crate::{
    bindings,
    work::{
        Hold,
        ModuleWorkqueue, //
    },
};
use core::{
    ffi::c_void,
    ops::Deref, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A batch is submitted, whether the task goes on or not, when it has so many bios
/// (`BLK_MAX_REQUEST_COUNT`).
const MAX_BATCH: usize = 32;

/// A driver that takes bios in batches.
pub trait Batch: Send + Sync + Sized + 'static {
    /// Submits the bios in their order.
    ///
    /// Process context. If `atomic` is set, the task is on its way to sleep, and the function must
    /// not sleep.
    fn submit_batch(&self, bios: BioList, atomic: bool);
}

/// A driver of bios that the module waits for.
pub struct Plugged<T> {
    driver: T,
    /// Last: when the driver is dropped, which may sleep, the module is held still.
    _hold: Hold,
}

impl<T> Plugged<T> {
    /// Holds the module whose workqueue it is as long as there is `driver`. Fails with [`ENODEV`]
    /// if the module is being unloaded.
    pub fn new(driver: T, workqueue: &'static ModuleWorkqueue) -> Result<Self> {
        Ok(Self {
            driver,
            _hold: workqueue.hold()?,
        })
    }
}

impl<T> Deref for Plugged<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.driver
    }
}

/// Allocated, zeroed, and linked into the task's plug by `blk_check_plugged()`.
#[repr(C)]
struct PlugCallback {
    cb: bindings::blk_plug_cb,
    /// The reference of an `Arc<Plugged<T>>`, null while there are no bios.
    owner: *const c_void,
    bios: BioList,
}

/// Keeps `bio` for `owner` until the current task unplugs. Gives it back if the task has no plug.
///
/// Process context; may sleep, unless the bio is `nowait`, when it completes a batch.
#[inline]
pub fn add<T: Batch>(owner: &Arc<Plugged<T>>, bio: Bio) -> Result<(), Bio> {
    // SAFETY: `data` is only compared; the size is that of a `PlugCallback`, for which zero is
    // valid: null pointers and an empty list.
    let callback = unsafe {
        bindings::blk_check_plugged(
            Some(unplug::<T>),
            Arc::as_ptr(owner).cast_mut().cast(),
            size_of::<PlugCallback>() as c_int,
        )
        .cast::<PlugCallback>()
    };
    if callback.is_null() {
        return Err(bio);
    }

    // SAFETY: The callback belongs to the current task, which is here.
    let callback = unsafe { &mut *callback };
    if callback.owner.is_null() {
        callback.owner = Arc::into_raw(owner.clone()).cast();
    }
    callback.bios.push(bio);

    if callback.bios.len() >= MAX_BATCH {
        owner.submit_batch(callback.bios.take(), false);
    }
    Ok(())
}

/// # Safety
///
/// May only be called by the block layer, when the task unplugs.
unsafe extern "C" fn unplug<T: Batch>(cb: *mut bindings::blk_plug_cb, from_schedule: bool) {
    let callback = cb.cast::<PlugCallback>();

    // SAFETY: `add()` made the callback, and it is off the plug's list: ours alone, and freed by
    // `kfree()`. `owner` is from `Arc::into_raw()`.
    let (owner, bios) = unsafe {
        let bios = (*callback).bios.take();
        let owner = (*callback).owner;
        bindings::kfree(callback.cast());
        (Arc::<Plugged<T>>::from_raw(owner.cast()), bios)
    };

    owner.submit_batch(bios, from_schedule);
    // If this is the last reference: from where the hold is dropped to the end nothing sleeps.
    drop(owner);
}
