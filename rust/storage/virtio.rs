// SPDX-License-Identifier: GPL-2.0

//! Abstractions for the virtio bus.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

pub mod buffer;
pub mod chain;
pub mod config;
mod context;
pub mod counts;
pub mod either;
mod find;
pub mod frame;
mod generations;
mod glance;
mod look;
mod no_io;
mod progress;
pub mod queue;
pub mod queues;
pub mod removal;
pub mod repair;
mod replay;
pub mod restart;
mod ring;
pub mod state;
pub mod vectors;
mod watch;

use self::state::State;
use crate::{
    bindings,
    compat::{
        owner,
        with_spin_lock_irq,
        EOPNOTSUPP, //
    },
    trace::{
        self,
        Decision, //
    },
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    device,
    device_id::RawDeviceId,
    driver,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::atomic::Release,
    types::{
        ForeignOwnable,
        Opaque, //
    },
    ThisModule, //
};

/// An adapter for the registration of virtio drivers.
pub struct Adapter<T: Driver>(T);

// SAFETY:
// - `bindings::virtio_driver` is a C type declared as `repr(C)`.
// - `T::Data` is the type of the driver's device private data.
// - `struct virtio_driver` embeds a `struct device_driver` at `DEVICE_DRIVER_OFFSET`.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::virtio_driver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(Self::DriverType, driver);
}

// SAFETY: A call to `unregister` for a given instance of `DriverType` is guaranteed to be valid if
// a preceding call to `register` has been successful.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        vdrv: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: It's safe to set the fields of `struct virtio_driver` on initialization.
        unsafe {
            let vdrv = vdrv.get();
            (*vdrv).driver.name = name.as_char_ptr();
            (*vdrv).driver.pm = Self::PM_OPS;
            (*vdrv).id_table = T::ID_TABLE.as_ptr();
            (*vdrv).feature_table = T::FEATURES.as_ptr();
            (*vdrv).feature_table_size = T::FEATURES.len() as u32;
            (*vdrv).feature_table_legacy = T::FEATURES_LEGACY.as_ptr();
            (*vdrv).feature_table_size_legacy = T::FEATURES_LEGACY.len() as u32;
            (*vdrv).probe = Some(Self::probe_callback);
            (*vdrv).remove = Some(Self::remove_callback);
            if T::HAS_QUIESCE && T::HAS_RESUME {
                (*vdrv).shutdown = Some(Self::shutdown_callback);
                (*vdrv).freeze = Some(Self::freeze_callback);
                (*vdrv).restore = Some(Self::restore_callback);
                (*vdrv).reset_prepare = Some(Self::freeze_callback);
                (*vdrv).reset_done = Some(Self::restore_callback);
            } else {
                (*vdrv).freeze = Some(Self::refuse_callback);
            }
            if T::HAS_CONFIG_CHANGED {
                (*vdrv).config_changed = Some(Self::config_changed_callback);
            }
        }

        // SAFETY: `vdrv` is guaranteed to be a valid `DriverType`.
        to_result(unsafe { bindings::__register_virtio_driver(vdrv.get(), module.as_ptr()) })
    }

    unsafe fn unregister(vdrv: &Opaque<Self::DriverType>) {
        // SAFETY: `vdrv` is guaranteed to be a valid `DriverType`.
        unsafe { bindings::unregister_virtio_driver(vdrv.get()) }
    }
}

impl<T: Driver> Adapter<T> {
    /// The bus has no callback of its own for this; for the rest it has.
    const PM_OPS: &'static bindings::dev_pm_ops = &bindings::dev_pm_ops {
        prepare: Some(Self::prepare_callback),
        complete: Some(Self::complete_callback),
        ..pin_init::zeroed()
    };

    extern "C" fn probe_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The virtio bus only ever calls the probe callback with a valid pointer to a
        // `struct virtio_device`.
        //
        // INVARIANT: `vdev` is valid for the duration of `probe_callback()`.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        from_result(|| {
            // Virtio PCI believes such a device: where its queue for administration is, which it
            // frees a second time if that is another's number; and that it answers there.
            // SAFETY: The function has no requirements.
            let confidential = unsafe { bindings::storage_is_confidential() };
            if confidential && dev.has_feature(bindings::VIRTIO_F_ADMIN_VQ) {
                dev_err!(
                    dev,
                    "not used in a confidential guest: it has a queue for administration\n"
                );
                return Err(EOPNOTSUPP);
            }
            let state = State::new(dev)?;
            // SAFETY: `vdev` is valid, and `priv` belongs to its driver.
            unsafe { (*vdev).priv_ = state.into_foreign().cast() };

            if let Err(e) = dev.as_ref().set_drvdata(T::probe(dev)) {
                Self::release(dev);
                return Err(e);
            }
            Ok(0)
        })
    }

    /// Ends the binding: nobody can use the device any more, the virtqueues go, the device is
    /// reset.
    fn release(dev: &Device<device::CoreInternal<'_>>) {
        let vdev = dev.as_raw();

        dev.state().binding.revoke();
        dev.release_queues();
        // The queues, which alone begin it, are detached.
        dev.state().context.watch.end();
        if dev.status() != 0 {
            dev.reset();
        }

        // SAFETY: `probe_callback()` stored the state; the virtqueues, whose callbacks read it,
        // are gone.
        unsafe {
            let state = (*vdev).priv_;
            (*vdev).priv_ = core::ptr::null_mut();
            drop(Pin::<KBox<State>>::from_foreign(state.cast()));
        }
    }

    /// The one right order of teardown: the driver stops its users, its data goes, the device is
    /// reset, buffers that it did not use go back to their owners, the virtqueues go.
    /// `virtio_dev_remove()` warns if the device still runs when this returns, so the data cannot
    /// wait for the driver core's `post_unbind`.
    extern "C" fn remove_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: As in `probe_callback()`.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: `remove_callback` is only ever called after a successful call to
        // `probe_callback`, hence `set_drvdata()` stored a `Pin<KBox<T::Data<'_>>>`.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data<'_>>() };
        if T::HAS_QUIESCE && T::HAS_RESUME && !dev.wait_until_resumed() {
            // It never came back. Whoever waits for it fails.
            T::resume(dev, data);
        }
        T::unbind(dev, data);

        // SAFETY: `vdev` is valid, see above.
        let (base, lock) = unsafe { (&raw mut (*vdev).dev, &raw mut (*vdev).config_lock) };
        // Who is told of a change of the configuration holds this lock; see there.
        let take = || {
            // SAFETY: `base` is valid.
            unsafe {
                let ptr = bindings::dev_get_drvdata(base);
                bindings::dev_set_drvdata(base, core::ptr::null_mut());
                ptr
            }
        };
        // SAFETY: The lock is valid, and not held here.
        let ptr = unsafe { with_spin_lock_irq(lock, take) };
        // SAFETY: Nothing borrows the data any more, and with the pointer cleared, the driver
        // core's `post_unbind` finds nothing to drop.
        drop(unsafe { Pin::<KBox<T::Data<'_>>>::from_foreign(ptr.cast()) });

        Self::release(dev);
    }

    /// The driver's data, if its probe is done.
    fn data<'a>(dev: &'a Device<device::CoreInternal<'_>>) -> Option<Pin<&'a T::Data<'a>>> {
        // SAFETY: The device is valid. What is stored is the `Pin<KBox<T::Data<'_>>>` of
        // `set_drvdata()`. Callers hold the device's lock, which excludes its removal, or give the
        // device back ([`State::begin_return`]), which that waits for; or they hold the lock under
        // which it takes the data away.
        unsafe {
            let base = &raw mut (*dev.as_raw()).dev;
            (!bindings::dev_get_drvdata(base).is_null())
                .then(|| dev.as_ref().drvdata_borrow::<T::Data<'_>>())
        }
    }

    extern "C" fn prepare_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: The driver core calls this for devices that the driver is bound to, each of which
        // is the `dev` of a `struct virtio_device`, and holds the device's lock.
        let dev = unsafe {
            let vdev = dev.byte_sub(offset_of!(bindings::virtio_device, dev));
            &*vdev.cast::<Device<device::CoreInternal<'_>>>()
        };

        if T::HAS_PREPARE_SLEEP {
            if let Some(data) = Self::data(dev) {
                T::prepare_sleep(dev, data);
            }
        }
        0
    }

    /// All devices are awake. One that is not did not come to [`Self::restore_callback`]: its bus
    /// or its features did not come back. That is the driver's matter now.
    extern "C" fn complete_callback(dev: *mut bindings::device) {
        // SAFETY: As in `prepare_callback()`.
        let dev = unsafe {
            let vdev = dev.byte_sub(offset_of!(bindings::virtio_device, dev));
            &*vdev.cast::<Device<device::CoreInternal<'_>>>()
        };

        if !T::HAS_RESUME {
            return;
        }
        let Some(data) = Self::data(dev) else {
            return;
        };
        if dev.is_asleep() {
            dev_err!(dev, "the device did not wake up\n");
            // Nobody brings it back any more: its removal need not wait for that.
            dev.end_loan();
            T::resume(dev, data);
        }
    }

    /// Before the device sleeps, or is reset behind its driver: the driver lets go of it, and the
    /// virtqueues go.
    extern "C" fn freeze_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: As in `probe_callback()`.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };
        // SAFETY: `vdev` is valid.
        let lock = unsafe { &raw mut (*vdev).dev.mutex };
        // Who unbinds the device may be unloading the module, and does not know of who waits here.
        let module = owner!(T).as_ptr();
        // SAFETY: The module's code runs, so its description is there.
        if !unsafe { bindings::try_module_get(module) } {
            return EBUSY.to_errno();
        }

        // Whoever resets the device, or has it sleep, holds the lock of its parent only: it might
        // be unbound meanwhile. Not held until it is back, which may be another thread's doing.
        // SAFETY: The lock is initialized, and comes after that of the parent.
        unsafe { bindings::mutex_lock(lock) };
        let ret = from_result(|| {
            // If it was unbound before we had the lock, there is nothing to let go.
            let data = Self::data(dev).ok_or(EBUSY)?;
            // It may have it from an earlier time, and is not overdue meanwhile.
            dev.renew_sleep();
            T::quiesce(dev, data);
            dev.state().deaf.store(true, Release);
            dev.state().lend();
            dev.sleep();
            Ok(0)
        });
        // SAFETY: It was locked, and the reference taken, above.
        unsafe {
            bindings::mutex_unlock(lock);
            bindings::module_put(module);
        }
        ret
    }

    /// The device is back, and its features are negotiated again. If its virtqueues do not come
    /// back, I/O fails: it must not wait for ever.
    extern "C" fn restore_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: As in `probe_callback()`.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: `vdev` is valid.
        let lock = unsafe { &raw mut (*vdev).config_lock };
        // Whoever unbinds the device takes the data, under this lock, before the state goes, and
        // waits before that for who gives it back. Late ones do not.
        let begin = || Self::data(dev).is_some() && dev.state().begin_return();
        // SAFETY: The lock is valid, and not held here.
        if !unsafe { with_spin_lock_irq(lock, begin) } {
            return EBUSY.to_errno();
        }
        from_result(|| {
            let data = Self::data(dev).ok_or(EBUSY)?;
            let binding = dev.binding();
            let ret = binding
                .with(|_| dev.wake(|| T::configure(dev, data)))
                .inspect_err(|e| {
                    dev_err!(dev, "the virtqueues did not come back: {:?}\n", e);
                });

            if ret.is_ok() {
                // Virtio core listens again, when this returns.
                dev.state().deaf.store(false, Release);
            }
            T::resume(dev, data);
            dev.state().end_return();
            ret.map(|()| 0)
        })
    }

    /// The system goes down: what is in flight is waited for, then the device is stopped. Later
    /// I/O fails.
    extern "C" fn shutdown_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: As in `probe_callback()`.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        if let Some(data) = Self::data(dev) {
            T::quiesce(dev, data);
            dev.stop();
            T::resume(dev, data);
        }
    }

    /// For a driver that cannot let go of its device: it would come back without virtqueues.
    extern "C" fn refuse_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: As in `probe_callback()`.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        dev_err!(dev, "this driver cannot suspend\n");
        EOPNOTSUPP.to_errno()
    }

    extern "C" fn config_changed_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The virtio core calls this with a valid pointer to a bound
        // `struct virtio_device`.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        // The virtio core calls this, with `config_lock` held, only between the end of a successful
        // probe and `virtio_config_core_disable()`, which precedes `remove`. But a reset by others
        // that was refused, since the driver goes or has gone, enables it again: amid `remove`, or
        // without data.
        if let Some(data) = Self::data(dev) {
            T::config_changed(dev, data);
        }
    }
}

/// Abstraction for `struct virtio_device_id`.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::virtio_device_id);

impl DeviceId {
    /// Matches every vendor's device of type `device` (`VIRTIO_ID_*`).
    pub const fn new(device: u32) -> Self {
        Self(bindings::virtio_device_id {
            device,
            vendor: bindings::VIRTIO_DEV_ANY_ID,
        })
    }
}

// SAFETY: `DeviceId` is a `#[repr(transparent)]` wrapper of `virtio_device_id` and does not add
// additional invariants, so it's safe to transmute to `RawType`.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::virtio_device_id;
}

/// Table of the device ids that a driver serves. `struct virtio_device_id` has no room for driver
/// data, so a table carries none.
pub type IdTable = &'static dyn kernel::device_id::IdTable<DeviceId, ()>;

/// Creates a virtio `IdTable` with its alias for modpost.
#[macro_export]
macro_rules! virtio_device_table {
    ($table_name:ident, [$($id:expr),* $(,)?]) => {
        $crate::compat::module_device_table!(
            "virtio", $crate::virtio::DeviceId, $table_name, @none, [$($id),*]
        );
    };
}

/// The virtio driver trait.
///
/// C counterpart: `struct virtio_driver`.
#[vtable]
pub trait Driver: Sized {
    /// The type of the driver's bus device private data, dropped right after [`Driver::unbind`]
    /// and before the virtqueues are torn down.
    type Data<'bound>: Send + Sync + 'bound;

    /// The table of device ids supported by the driver.
    const ID_TABLE: IdTable;

    /// The feature bits that the driver understands on a device that offers `VIRTIO_F_VERSION_1`.
    const FEATURES: &'static [u32];

    /// The feature bits that the driver understands on a legacy device.
    const FEATURES_LEGACY: &'static [u32] = Self::FEATURES;

    /// Probes a device, with its features negotiated (`FEATURES_OK`).
    ///
    /// Process context, may sleep. The driver finds its virtqueues, declares the device ready
    /// ([`Device::ready`]) and only then does I/O.
    fn probe<'bound>(
        dev: &'bound Device<device::Core<'_>>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// Stops all users of the device. Process context, may sleep; the device still works.
    fn unbind<'bound>(dev: &'bound Device<device::Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
    }

    /// The system is about to sleep: programs are frozen, all devices still work, and so may the
    /// kernel's own I/O go on. What a program had polled for, nobody polls for any more.
    ///
    /// Process context, may sleep; must end, even if the device does not answer.
    ///
    /// C counterpart: `prepare` of `struct dev_pm_ops`.
    fn prepare_sleep<'bound>(dev: &'bound Device<device::Bound>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Waits for what is in flight, and holds further I/O back until [`Driver::resume`]: the
    /// device is going to sleep, to be reset, or to be stopped, and the bus layer takes the
    /// virtqueues away. Process context, may sleep; must end, even if the device does not answer.
    ///
    /// C counterparts: `freeze`, `reset_prepare` and `shutdown` of `struct virtio_driver`.
    fn quiesce<'bound>(dev: &'bound Device<device::Bound>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Tells a device that is back what its reset forgot, before it is ready. No command of a
    /// queue, nor [`state::Binding::with`].
    fn configure<'bound>(
        dev: &'bound Device<device::Bound>,
        this: Pin<&Self::Data<'bound>>,
    ) -> Result {
        let _ = (dev, this);
        Ok(())
    }

    /// Lets I/O go on, on the same [`queue::Queue`]s. If the device did not come back they are
    /// detached, and I/O fails. Process context, may sleep.
    ///
    /// C counterparts: `restore` and `reset_done`.
    fn resume<'bound>(dev: &'bound Device<device::Bound>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// The device changed its configuration space. May be called in interrupt context with the
    /// device's config lock held: schedule work, do not read the configuration here.
    fn config_changed<'bound>(dev: &'bound Device<device::Bound>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The virtio device representation.
///
/// # Invariants
///
/// A [`Device`] instance represents a valid `struct virtio_device` created by the C portion of the
/// kernel.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<bindings::virtio_device>,
    PhantomData<Ctx>,
);

impl<Ctx: device::DeviceContext> Device<Ctx> {
    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::virtio_device {
        self.0.get()
    }

    /// Whether feature bit `feature` was negotiated.
    ///
    /// C counterpart: `virtio_has_feature()`.
    #[inline]
    pub fn has_feature(&self, feature: u32) -> bool {
        const WORDS: usize = size_of::<bindings::virtio_device__bindgen_ty_1>() / 8;
        let index = feature as usize / 64;

        if index >= WORDS {
            return false;
        }
        // SAFETY: `self.as_raw()` is valid by the type invariant. The union is an array of 64-bit
        // words, however it is named. Volatile: at a restart the core writes the same bits again,
        // and those of the next driver while the last one still has a reference.
        let word = unsafe {
            (&raw const (*self.as_raw()).__bindgen_anon_1)
                .cast::<u64>()
                .add(index)
                .read_volatile()
        };

        word & (1 << (feature % 64)) != 0
    }

    /// Tells who traces what was decided on a disk of the device. `what` is called only if somebody
    /// does.
    #[inline]
    pub fn trace_decision<'a>(&self, what: impl FnOnce() -> Decision<'a>) {
        // SAFETY: `self.as_raw()` is valid by the type invariant.
        unsafe { trace::decision(self.as_raw(), what) };
    }

    /// The byte order of multi-byte fields: little-endian, but for legacy devices the guest's.
    pub fn is_little_endian(&self) -> bool {
        self.has_feature(bindings::VIRTIO_F_VERSION_1) || cfg!(target_endian = "little")
    }
}

impl Device<device::Bound> {
    /// The name that the device's bus gives its place: "0000:00:04.0" of a PCI device, say.
    pub fn address(&self) -> &CStr {
        // SAFETY: The device is valid and bound, and so registered: its parent, if it has one,
        // stays, and neither is renamed.
        unsafe {
            let dev = &raw mut (*self.as_raw()).dev;
            let parent = (*dev).parent;
            let named = if parent.is_null() { dev } else { parent };
            device::Device::<device::Normal>::from_raw(named).name()
        }
    }

    /// Whether what a queue calls when the device used buffers, [`queue::Handler::used`], may add
    /// buffers and notify the device itself.
    ///
    /// Not every transport allows it: VDUSE has a lock held then that its DMA mapping, or a
    /// notification, may take. A notification of virtio-pci and virtio-mmio writes a register.
    pub fn adds_in_interrupts(&self) -> bool {
        // SAFETY: The device is valid and bound, and so registered: its parent, if it has one, and
        // the parent's driver, whose device it is, stay meanwhile.
        let transport = unsafe {
            let parent = (*self.as_raw()).dev.parent;
            if parent.is_null() || (*parent).driver.is_null() {
                return false;
            }
            CStr::from_char_ptr((*(*parent).driver).name)
        };

        transport == c"virtio-pci" || transport == c"virtio-mmio"
    }

    /// The largest buffer in bytes that the device's DMA path maps at once.
    ///
    /// C counterpart: `virtio_max_dma_size()`.
    pub fn max_dma_size(&self) -> usize {
        // SAFETY: `self.as_raw()` is a valid, bound device.
        unsafe { bindings::virtio_max_dma_size(self.as_raw()) }
    }

    /// Sets `DRIVER_OK`: from here on the device serves the virtqueues and may interrupt.
    ///
    /// May sleep. C counterpart: `virtio_device_ready()`, which must be called once; a second
    /// call is ignored here.
    pub fn ready(&self) {
        // SAFETY: `self.as_raw()` is a valid, bound device.
        unsafe { bindings::storage_device_ready(self.as_raw()) };
    }

    /// Reads the device status byte. May sleep.
    pub fn status(&self) -> u8 {
        // SAFETY: Every transport provides `get_status`; the device is bound.
        unsafe {
            let get_status = (*(*self.as_raw()).config).get_status;
            get_status.map_or(0, |f| f(self.as_raw()))
        }
    }

    /// Resets the device, which has no virtqueues. May sleep.
    ///
    /// Not on virtio PCI with a queue for administration: at that each reset looks, and it is there
    /// with the others only.
    pub(crate) fn reset(&self) {
        if !self.has_feature(bindings::VIRTIO_F_ADMIN_VQ) {
            let _ = queues::reset(self.as_raw());
        }
    }
}

// SAFETY: `Device` is a transparent wrapper of a type that doesn't depend on `Device`'s generic
// argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: Instances of `Device` are always reference-counted.
unsafe impl kernel::sync::aref::AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference guarantees that the refcount is non-zero.
        unsafe { bindings::get_device(&raw mut (*self.as_raw()).dev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        let vdev = obj.cast::<bindings::virtio_device>().as_ptr();

        // SAFETY: The safety requirements guarantee that the refcount is non-zero.
        unsafe { bindings::put_device(&raw mut (*vdev).dev) }
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant of `Self`, `self.as_raw()` is a pointer to a valid
        // `struct virtio_device`, and `dev` in it is a valid `struct device`.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }
}

// SAFETY: A `Device` is always reference-counted and can be released from any thread.
unsafe impl Send for Device {}

// SAFETY: `Device` can be shared among threads because all methods of `Device`
// (i.e. `Device<Normal>) are thread safe.
unsafe impl Sync for Device {}

// SAFETY: Same as `Device<Normal>`: `Bound` is a zero-sized type-state marker that does not affect
// thread safety.
unsafe impl Sync for Device<device::Bound> {}
