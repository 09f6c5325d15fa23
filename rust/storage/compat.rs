// SPDX-License-Identifier: GPL-2.0

//! What older kernels lack, or call by another name: the only place that knows of versions.
//!
//! The crate is written for the newest kernel, so most of this is the kernel's own under its own
//! name, and upstream nothing of it would be left. Kbuild sets `kernel_7_2`.

#[cfg(not(kernel_7_2))]
mod latest {
    use kernel::bindings;

    pub(crate) use kernel::sync::{
        lock::spinlock::SpinLockIrqGuard,
        rcu::synchronize_rcu, //
    };
    pub use kernel::{
        error::code::{
            ENOBUFS,
            EOPNOTSUPP, //
        },
        module::this_module,
        module_device_table,
        new_spinlock_irq,
        sync::SpinLockIrq, //
    };

    pub(crate) const TO_DEVICE: bindings::dma_data_direction =
        bindings::dma_data_direction::DMA_TO_DEVICE;
    pub(crate) const FROM_DEVICE: bindings::dma_data_direction =
        bindings::dma_data_direction::DMA_FROM_DEVICE;

    pub(crate) use pin_init::{
        raw_init,
        raw_try_init, //
    };

    /// How much of its first vector an iterator has behind it, in bytes.
    #[inline(always)]
    pub(crate) fn bvec_done(iter: &bindings::bvec_iter) -> u32 {
        iter.bi_offset
    }

    /// The module that an implementation of a `#[vtable]` trait belongs to.
    macro_rules! owner {
        ($vtable:ty) => {
            $crate::compat::this_module::<<$vtable>::OwnerModule>()
        };
    }
    pub(crate) use owner;

    /// # Safety
    ///
    /// `lock` must be valid; it is not locked by this CPU.
    #[inline(always)]
    pub(crate) unsafe fn with_spin_lock_irq<R>(
        lock: *mut bindings::spinlock_t,
        f: impl FnOnce() -> R,
    ) -> R {
        // SAFETY: By this function's safety requirements.
        unsafe { bindings::spin_lock_irq_disable(lock) };
        let ret = f();
        // SAFETY: It was locked above.
        unsafe { bindings::spin_unlock_irq_enable(lock) };
        ret
    }
}

#[cfg(kernel_7_2)]
mod v7_2 {
    use crate::bindings;
    use core::{
        convert::Infallible,
        mem::transmute,
        num::NonZeroI32, //
    };
    use kernel::{
        error::Error,
        ffi::{
            c_char,
            c_ulong, //
        },
        sync::lock::{
            Backend,
            Guard,
            Lock, //
        },
        ModuleMetadata,
        ThisModule, //
    };
    use pin_init::PinInit;

    /// No buffer space available.
    pub const ENOBUFS: Error = error(bindings::ENOBUFS);
    /// Operation not supported on transport endpoint.
    pub const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);

    const fn error(errno: u32) -> Error {
        let errno = NonZeroI32::new(-(errno as i32)).expect("an error is not 0");

        // SAFETY: This kernel's `Error` has one field, of this type; the number is that of an
        // error.
        unsafe { transmute::<NonZeroI32, Error>(errno) }
    }

    /// The module that the driver `M` is.
    pub const fn this_module<M: ModuleMetadata>() -> &'static ThisModule {
        ours()
    }

    /// The module that this code is part of: the library is linked into each.
    pub(crate) const fn ours() -> &'static ThisModule {
        // SAFETY: What is built in has no module; else `__this_module` is that of this code.
        #[cfg(not(MODULE))]
        static OURS: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
        #[cfg(MODULE)]
        // SAFETY: See above.
        static OURS: ThisModule = unsafe {
            ThisModule::from_ptr((&raw const kernel::bindings::__this_module).cast_mut())
        };

        &OURS
    }

    /// The module that an implementation of a `#[vtable]` trait belongs to.
    macro_rules! owner {
        ($vtable:ty) => {
            $crate::compat::ours()
        };
    }
    pub(crate) use owner;

    pub(crate) const TO_DEVICE: bindings::dma_data_direction =
        bindings::dma_data_direction_DMA_TO_DEVICE;
    pub(crate) const FROM_DEVICE: bindings::dma_data_direction =
        bindings::dma_data_direction_DMA_FROM_DEVICE;

    /// # Safety
    ///
    /// `slot` must be valid for writes, and what lies in it from then on does not move.
    #[inline(always)]
    pub(crate) unsafe fn raw_try_init<T, E>(
        slot: *mut T,
        init: impl PinInit<T, E>,
    ) -> Result<(), E> {
        // SAFETY: By this function's safety requirements.
        unsafe { init.__pinned_init(slot) }
    }

    /// # Safety
    ///
    /// As for [`raw_try_init`].
    #[inline(always)]
    pub(crate) unsafe fn raw_init<T>(slot: *mut T, init: impl PinInit<T, Infallible>) {
        // SAFETY: By this function's safety requirements.
        let Ok(()) = unsafe { raw_try_init(slot, init) };
    }

    /// How much of its first vector an iterator has behind it, in bytes.
    #[inline(always)]
    pub(crate) fn bvec_done(iter: &bindings::bvec_iter) -> u32 {
        iter.bi_bvec_done
    }

    /// Waits until all that read under RCU now have ended. May sleep.
    pub(crate) fn synchronize_rcu() {
        // SAFETY: May be called from any context that may sleep.
        unsafe { bindings::synchronize_rcu() }
    }

    /// # Safety
    ///
    /// `lock` must be valid; it is not locked by this CPU.
    #[inline(always)]
    pub(crate) unsafe fn with_spin_lock_irq<R>(
        lock: *mut bindings::spinlock_t,
        f: impl FnOnce() -> R,
    ) -> R {
        // SAFETY: By this function's safety requirements.
        let flags = unsafe { bindings::storage_spin_lock_irqsave(lock) };
        let ret = f();
        // SAFETY: It was locked above.
        unsafe { bindings::storage_spin_unlock_irqrestore(lock, flags) };
        ret
    }

    /// The newer kernel's macro, for tables without data.
    #[macro_export]
    macro_rules! module_device_table {
        ($type:literal, $id_type:ty, $name:ident, @none, [$($id:expr),*]) => {
            const $name: ::kernel::device_id::IdArray<
                $id_type,
                (),
                { <[$id_type]>::len(&[$($id,)*]) },
            > = ::kernel::device_id::IdArray::new_without_index([$(($id, ()),)*]);

            ::kernel::module_device_table!($type, MODULE_DEVICE_TABLE, $name);
        };
    }
    pub use crate::module_device_table;

    /// A lock whose owner has interrupts switched off; see [`SpinLockIrqBackend`].
    pub type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;
    pub(crate) type SpinLockIrqGuard<'a, T> = Guard<'a, T, SpinLockIrqBackend>;

    /// A spinlock that switches interrupts off. Unlike with the newer kernel's, which counts, the
    /// last one locked has to be the first one unlocked. No code here holds two whose guards
    /// outlive a call.
    pub struct SpinLockIrqBackend;

    // SAFETY: The kernel's spinlock ensures mutual exclusion, and interrupts are off meanwhile.
    unsafe impl Backend for SpinLockIrqBackend {
        type State = bindings::spinlock_t;
        type GuardState = c_ulong;

        #[inline]
        unsafe fn init(
            ptr: *mut Self::State,
            name: *const c_char,
            key: *mut bindings::lock_class_key,
        ) {
            // SAFETY: By this function's safety requirements.
            unsafe { bindings::__spin_lock_init(ptr, name, key) }
        }

        #[inline]
        unsafe fn lock(ptr: *mut Self::State) -> c_ulong {
            // SAFETY: By this function's safety requirements.
            unsafe { bindings::storage_spin_lock_irqsave(ptr) }
        }

        #[inline]
        unsafe fn unlock(ptr: *mut Self::State, flags: &c_ulong) {
            // SAFETY: By this function's safety requirements; the flags are those of `lock()`.
            unsafe { bindings::storage_spin_unlock_irqrestore(ptr, *flags) }
        }

        unsafe fn try_lock(_ptr: *mut Self::State) -> Option<c_ulong> {
            // Nobody tries, and to fail is allowed.
            None
        }

        #[inline]
        unsafe fn assert_is_held(ptr: *mut Self::State) {
            // SAFETY: By this function's safety requirements.
            unsafe { bindings::spin_assert_is_held(ptr) }
        }
    }

    /// The newer kernel's macro, for locks without a name of their own.
    #[macro_export]
    macro_rules! new_spinlock_irq {
        ($inner:expr) => {
            $crate::compat::SpinLockIrq::new(
                $inner,
                ::kernel::optional_name!(),
                ::kernel::static_lock_class!(),
            )
        };
    }
    pub use crate::new_spinlock_irq;
}

#[cfg(not(kernel_7_2))]
pub use latest::*;
#[cfg(kernel_7_2)]
pub use v7_2::*;
