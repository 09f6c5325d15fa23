// SPDX-License-Identifier: GPL-2.0

//! This module provides wrappers for the C `struct Scsi_Host`.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    cmnd::Late,
    device::Held,
    operations::{
        Data,
        Operations, //
    },
};
use crate::{
    bindings,
    compat::{
        raw_init,
        with_spin_lock_irq, //
    },
};
use core::{
    ffi::c_void,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    device,
    error::to_result,
    new_condvar,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        SpinLock, //
    },
    types::Opaque, //
};

/// What a host can do. C counterpart: the fields of `struct Scsi_Host` of these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Hardware queues.
    pub nr_hw_queues: u32,
    /// Commands in flight on each of them.
    pub can_queue: u16,
    /// Commands in flight to a device.
    pub cmd_per_lun: u16,
    /// Entries of the scatterlist of a command, and of that of its protection information: 1 at
    /// least.
    pub sg_tablesize: u16,
    /// Sectors that a command moves.
    pub max_sectors: u32,
    /// Targets.
    pub max_id: u32,
    /// Logical units of a target, as Linux numbers them.
    pub max_lun: u64,
    /// Bytes of a command descriptor block.
    pub max_cmd_len: u16,
    /// Some of the hardware queues are polled.
    pub polled: bool,
    /// The host passes protection information (T10 PI) of all types on.
    pub protection: bool,
}

/// What lies behind a `struct Scsi_Host`.
#[pin_data]
pub(super) struct HostPrivate<T: Operations> {
    /// Valid as long as the host is added.
    hot: *const T::HostData,
    #[pin]
    cold: SpinLock<Cold<T>>,
    /// The last of `Cold::resets` is over.
    #[pin]
    resets_over: CondVar,
    /// What is done in the background.
    #[pin]
    background: Opaque<bindings::async_domain>,
}

struct Cold<T: Operations> {
    /// `None` once the host is removed: some callbacks may still come then.
    data: Option<Data<T>>,
    /// The host is about to be removed.
    closed: bool,
    /// How many steps of ioctls' resets are under way, and looks at all commands.
    resets: usize,
}

impl<T: Operations> HostPrivate<T> {
    #[inline]
    fn new(data: Data<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            hot: Arc::as_ptr(&data),
            cold <- new_spinlock!(Cold {
                data: Some(data),
                closed: false,
                resets: 0,
            }),
            resets_over <- new_condvar!(),
            // SAFETY: The place is valid for writes, and pinned.
            background <- Opaque::ffi_init(|domain| unsafe {
                bindings::storage_init_async_domain(domain)
            }),
        })
    }

    /// # Safety
    ///
    /// `shost` must be a valid host of `T`.
    #[inline]
    unsafe fn of<'a>(shost: *mut bindings::Scsi_Host) -> &'a Self {
        // SAFETY: `NewHost::new()` initialized it.
        unsafe { &*(&raw const (*shost).hostdata).cast::<Self>() }
    }

    /// # Safety
    ///
    /// `shost` must be a host of `T` that is added, and stay so meanwhile.
    #[inline]
    pub(super) unsafe fn hot<'a>(shost: *mut bindings::Scsi_Host) -> &'a T::HostData {
        // SAFETY: By this function's safety requirements.
        unsafe { &*Self::of(shost).hot }
    }

    /// The data, or `None` if the host is being removed.
    ///
    /// # Safety
    ///
    /// `shost` must be a valid host of `T`.
    #[inline]
    pub(super) unsafe fn cold(shost: *mut bindings::Scsi_Host) -> Option<Data<T>> {
        // SAFETY: By this function's safety requirements.
        unsafe { Self::of(shost) }.cold.lock().data.clone()
    }

    /// Drops the data.
    ///
    /// # Safety
    ///
    /// `shost` must be a valid host of `T` that is not added (any more).
    #[inline]
    unsafe fn take(shost: *mut bindings::Scsi_Host) {
        // SAFETY: By this function's safety requirements.
        let data = unsafe { Self::of(shost) }.cold.lock().data.take();

        drop(data);
    }

    /// Keeps the host, with its tags, added for a step of an ioctl's reset, which no command of the
    /// host holds up, or for a look at all commands; `None` if the host is being removed.
    ///
    /// # Safety
    ///
    /// `shost` must be a valid host of `T`, and stay so as long as what this returns.
    #[inline]
    pub(super) unsafe fn begin_reset<'a>(shost: *mut bindings::Scsi_Host) -> Option<Reset<'a, T>> {
        // SAFETY: By this function's safety requirements.
        let host = unsafe { Self::of(shost) };
        let mut cold = host.cold.lock();

        if cold.closed {
            return None;
        }
        cold.resets += 1;
        Some(Reset(host))
    }

    /// Lets no reset of an ioctl begin any more, and waits for those that did. May sleep.
    #[inline]
    fn end_resets(&self) {
        let mut cold = self.cold.lock();

        cold.closed = true;
        while cold.resets > 0 {
            self.resets_over.wait(&mut cold);
        }
    }
}

/// A step of an ioctl's reset, see [`HostPrivate::begin_reset`].
pub(super) struct Reset<'a, T: Operations>(&'a HostPrivate<T>);

impl<T: Operations> Drop for Reset<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let mut cold = self.0.cold.lock();

        cold.resets -= 1;
        if cold.resets == 0 {
            self.0.resets_over.notify_all();
        }
    }
}

/// Holds the host's lock over `f`, which must not sleep. Any context.
///
/// # Safety
///
/// `shost` must be a valid host.
#[inline]
pub(super) unsafe fn with_lock<R>(
    shost: *mut bindings::Scsi_Host,
    f: impl FnOnce(*mut bindings::Scsi_Host) -> R,
) -> R {
    // SAFETY: By this function's safety requirements; a host has a lock.
    unsafe { with_spin_lock_irq((*shost).host_lock, || f(shost)) }
}

/// A reference to a host of any driver, to scan it or to look devices up. What it does to a host
/// that was removed does nothing.
pub struct HostRef(NonNull<bindings::Scsi_Host>);

// SAFETY: A host is reference-counted and can be released from any thread.
unsafe impl Send for HostRef {}
// SAFETY: The mid-layer serializes what the methods do.
unsafe impl Sync for HostRef {}

impl Clone for HostRef {
    #[inline]
    fn clone(&self) -> Self {
        // Not `scsi_host_get()`, which takes no reference to a host that was removed.
        // SAFETY: The host is valid.
        unsafe { bindings::get_device(&raw mut (*self.as_raw()).shost_gendev) };
        Self(self.0)
    }
}

impl Drop for HostRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::scsi_host_put(self.0.as_ptr()) };
    }
}

/// Keeps the module of a host's driver loaded.
struct ModuleGuard(*mut bindings::module);

impl ModuleGuard {
    /// `None` if the module is about to go.
    #[inline]
    fn new(host: &HostRef) -> Option<Self> {
        // SAFETY: The host is valid, and its template static data of the module that runs this.
        unsafe {
            let module = (*(*host.as_raw()).hostt).module;
            // Not `then_some()`, which would make, and drop, a guard either way.
            bindings::try_module_get(module).then(|| Self(module))
        }
    }
}

impl Drop for ModuleGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::module_put(self.0) };
    }
}

impl HostRef {
    #[inline]
    fn as_raw(&self) -> *mut bindings::Scsi_Host {
        self.0.as_ptr()
    }

    /// Looks for all devices of the host, target after target. May sleep.
    ///
    /// Each device is shown as soon as it is found, so that its own driver can look at it while
    /// the next one is looked for. C counterpart: `scsi_scan_host()`, which shows all of them in
    /// the end.
    #[inline]
    pub fn scan(&self) {
        for target in self.targets() {
            self.scan_target(target);
        }
    }

    /// The numbers that targets of the host may have.
    #[inline]
    pub fn targets(&self) -> Range<u32> {
        // SAFETY: The host is valid; the number does not change once it is added.
        0..unsafe { (*self.as_raw()).max_id }
    }

    /// Looks for the logical units of a target that are not known yet: those that it reports, or
    /// else those that answer. May sleep. C counterpart: `scsi_scan_target()`.
    ///
    /// Does nothing if the module is about to go: the mid-layer then finds no device that it
    /// knows, and adds each once more, with a warning.
    #[inline]
    pub fn scan_target(&self, target: u32) {
        const WILD_CARD: u64 = u64::MAX;

        self.look_for(
            target,
            WILD_CARD,
            bindings::scsi_scan_mode_SCSI_SCAN_INITIAL,
        );
    }

    /// Looks for one logical unit, unless it is known. May sleep, and does nothing if the module is
    /// about to go, as [`Self::scan_target`].
    ///
    /// C counterpart: `scsi_scan_target()`, and not `scsi_add_device()`: that finds the target
    /// before it takes the lock of all scans, also one that another scan is about to destroy,
    /// since [`Operations::is_absent`] refused it: a BUG.
    #[inline]
    pub fn scan_unit(&self, target: u32, lun: u64) {
        self.look_for(target, lun, bindings::scsi_scan_mode_SCSI_SCAN_MANUAL);
    }

    #[inline]
    fn look_for(&self, target: u32, lun: u64, mode: bindings::scsi_scan_mode) {
        let Some(_module) = ModuleGuard::new(self) else {
            return;
        };

        // SAFETY: The host is valid.
        unsafe {
            bindings::scsi_scan_target(&raw mut (*self.as_raw()).shost_gendev, 0, target, lun, mode)
        };
    }

    /// Finds a known logical unit. C counterpart: `scsi_device_lookup()`.
    #[inline]
    pub fn device(&self, target: u32, lun: u64) -> Option<Held> {
        // SAFETY: The host is valid; the function takes a reference.
        unsafe { Held::from_raw(bindings::scsi_device_lookup(self.as_raw(), 0, target, lun)) }
    }

    /// All known logical units. C counterpart: `shost_for_each_device()`.
    #[inline]
    pub fn devices(&self) -> Devices<'_> {
        Devices {
            host: self,
            last: core::ptr::null_mut(),
        }
    }

    /// Calls `f`, which must not sleep, with each command that the driver has, until it returns
    /// `false`. May sleep. Fails with [`ENODEV`] if the host is being removed, or another driver's.
    ///
    /// C counterpart: `scsi_host_busy_iter()`.
    #[inline]
    pub fn for_each_command<T: Operations, F>(&self, mut f: F) -> Result
    where
        F: FnMut(&Late<'_, T>) -> bool,
    {
        /// # Safety
        ///
        /// `cmd` must be a command of a host of `T`, `f` an `F` that nobody else uses.
        #[inline]
        unsafe extern "C" fn look<T: Operations, F>(
            cmd: *mut bindings::scsi_cmnd,
            f: *mut c_void,
        ) -> bool
        where
            F: FnMut(&Late<'_, T>) -> bool,
        {
            // SAFETY: By this function's safety requirements; the request of a command that is
            // looked at is kept, and its data initialized.
            unsafe {
                let late = Late::<T>::from_raw(cmd);

                !late.is_lent() || (*f.cast::<F>())(&late)
            }
        }

        let shost = self.as_raw();
        // SAFETY: The host is valid.
        if !core::ptr::eq(unsafe { (*shost).hostt }, T::template().get()) {
            return Err(ENODEV);
        }
        // SAFETY: It is a host of `T`, to which `self` is a reference.
        let _guard = unsafe { HostPrivate::<T>::begin_reset(shost) }.ok_or(ENODEV)?;

        // SAFETY: The host is added, so it has its tags; `look()` gets what it expects.
        unsafe {
            bindings::scsi_host_busy_iter(shost, Some(look::<T, F>), (&raw mut f).cast());
        }
        Ok(())
    }

    /// Says that all devices were reset: what they say of it is not news (a unit attention that
    /// would else be taken for another medium, and fail I/O). Any context.
    ///
    /// C counterpart: `scsi_report_bus_reset()`.
    #[inline]
    pub fn report_reset(&self) {
        // SAFETY: The host is valid, and its lock is held.
        unsafe {
            with_lock(self.as_raw(), |shost| {
                bindings::scsi_report_bus_reset(shost, 0)
            })
        };
    }

    /// Ends a recovery that nobody is at: an administrator has said that there is one, by the
    /// host's file `state`. Commands wait for its end, which nobody else brings. May sleep.
    ///
    /// C counterpart: `scsi_restart_operations()`.
    #[inline]
    pub fn end_recovery(&self) {
        const NORMAL: c_uint = bindings::TASK_NORMAL;
        let shost = self.as_raw();

        // SAFETY: The host is valid, and its lock is held over what it protects; who waits for the
        // host's recovery does so in its queue.
        unsafe {
            if with_lock(shost, |shost| end_idle_recovery(shost)) {
                bindings::__wake_up(
                    &raw mut (*shost).host_wait,
                    NORMAL,
                    1,
                    core::ptr::null_mut(),
                );
                // What came back to be tried again was put aside, and would stay there.
                bindings::scsi_unblock_requests(shost);
            }
        }
    }

    /// The host's number.
    #[inline]
    pub fn number(&self) -> u32 {
        // SAFETY: The host is valid; the number does not change.
        unsafe { (*self.as_raw()).host_no }
    }
}

/// Iterates over the devices of a host, see [`HostRef::devices`].
pub struct Devices<'a> {
    host: &'a HostRef,
    last: *mut bindings::scsi_device,
}

impl Devices<'_> {
    /// The next one; the one before it is let go.
    #[inline]
    pub fn advance(&mut self) -> Option<&super::Device> {
        // SAFETY: The host is valid; the function takes a reference to the next device and drops
        // that to `last`.
        self.last = unsafe { bindings::__scsi_iterate_devices(self.host.as_raw(), self.last) };
        if self.last.is_null() {
            return None;
        }
        // SAFETY: The reference keeps the device.
        Some(unsafe { super::Device::from_raw(self.last) })
    }
}

impl Drop for Devices<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.last.is_null() {
            // SAFETY: The reference is ours.
            unsafe { bindings::scsi_device_put(self.last) };
        }
    }
}

/// A host that nobody knows yet. See [`Host`] for one that is added.
pub struct NewHost<T: Operations>(HostRef, PhantomData<T>);

// SAFETY: A host can be set up and freed by any thread; the driver's data is `Send` and `Sync`.
unsafe impl<T: Operations> Send for NewHost<T> {}

/// A host of a driver. Dropping it removes it, with all its devices: what they have in flight is
/// waited for.
///
/// # Invariants
///
/// The host was added, and is not removed.
pub struct Host<T: Operations>(HostRef, PhantomData<T>);

// SAFETY: The mid-layer serializes what is done to a host; the driver's data is `Send` and `Sync`.
unsafe impl<T: Operations> Send for Host<T> {}
// SAFETY: As above.
unsafe impl<T: Operations> Sync for Host<T> {}

impl<T: Operations> NewHost<T> {
    /// Makes a host that nobody knows yet. May sleep.
    #[inline]
    pub fn new(limits: &Limits, data: Arc<T::HostData>) -> Result<Self> {
        const {
            assert!(
                align_of::<HostPrivate<T>>() <= align_of::<usize>(),
                "the data of a host is aligned for words only"
            )
        };
        let template = T::template().get();
        // SAFETY: The template is static.
        let shost = NonNull::new(unsafe {
            bindings::scsi_host_alloc(template, size_of::<HostPrivate<T>>() as c_int)
        })
        .ok_or(ENOMEM)?;

        // SAFETY: The host is new, nobody else uses it; there is room for the private data, which
        // the host, that does not move, keeps until it is freed.
        unsafe {
            let place = (&raw mut (*shost.as_ptr()).hostdata).cast::<HostPrivate<T>>();
            raw_init(place, HostPrivate::new(data));
            Self::set_limits(&mut *shost.as_ptr(), limits);
        }
        Ok(Self(HostRef(shost), PhantomData))
    }

    #[inline]
    fn set_limits(shost: &mut bindings::Scsi_Host, limits: &Limits) {
        const MAPS_WITH_POLL: u32 = bindings::hctx_type_HCTX_TYPE_POLL + 1;
        const ALL_TYPES: u32 = bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE1_PROTECTION
            | bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE2_PROTECTION
            | bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE3_PROTECTION
            | bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE1_PROTECTION
            | bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE2_PROTECTION
            | bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE3_PROTECTION;

        // For 0 the block layer takes 128, and the mid-layer makes room for none of them.
        let sg_tablesize = limits.sg_tablesize.max(1);

        shost.nr_hw_queues = limits.nr_hw_queues;
        shost.nr_maps = if limits.polled { MAPS_WITH_POLL } else { 1 };
        shost.can_queue = limits.can_queue.into();
        shost.cmd_per_lun = i16::try_from(limits.cmd_per_lun).unwrap_or(i16::MAX);
        shost.sg_tablesize = sg_tablesize;
        shost.max_sectors = limits.max_sectors;
        shost.max_channel = 0;
        shost.max_id = limits.max_id;
        shost.max_lun = limits.max_lun;
        shost.max_cmd_len = limits.max_cmd_len;
        if limits.protection {
            shost.prot_capabilities = ALL_TYPES;
            // Else the mid-layer takes 65,535: protection that user space brings has as many
            // segments as its pages, however few the data has.
            shost.sg_prot_tablesize = sg_tablesize;
            shost.prot_guard_type = bindings::scsi_host_guard_type_SHOST_DIX_GUARD_CRC as u8;
        }
    }

    /// Shows the host to the system, as a child of `dev`. From here on it may get commands.
    ///
    /// May sleep. C counterpart: `scsi_add_host()`.
    #[inline]
    pub fn add_host(self, dev: &device::Device) -> Result<Host<T>> {
        let dev: *const device::Device = dev;
        let dev: *mut bindings::device = dev.cast_mut().cast();

        // SAFETY: Both are valid; `device::Device` is a transparent wrapper.
        to_result(unsafe { bindings::scsi_add_host_with_dma(self.0.as_raw(), dev, dev) })?;
        // The data is dropped by the one or the other.
        let new = ManuallyDrop::new(self);
        // SAFETY: The reference moves.
        // INVARIANT: The host was added.
        Ok(Host(unsafe { core::ptr::read(&new.0) }, PhantomData))
    }
}

impl<T: Operations> Drop for NewHost<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The host is valid, and not added.
        unsafe { HostPrivate::<T>::take(self.0.as_raw()) };
    }
}

impl<T: Operations> Host<T> {
    /// A reference to the host.
    #[inline]
    pub fn host_ref(&self) -> &HostRef {
        &self.0
    }

    /// Does `work`, a scan, say, in the background. Who loads the module waits for it, and so does
    /// who drops the host; a scan ends early then. May sleep.
    ///
    /// C counterpart: `async_schedule_node_domain()`.
    #[inline]
    pub fn in_background<F: FnOnce(&HostRef) + Send + 'static>(&self, work: F) -> Result {
        /// # Safety
        ///
        /// `job` must be a `KBox<(HostRef, F)>` that is given away.
        #[inline]
        unsafe extern "C" fn run<F: FnOnce(&HostRef)>(job: *mut c_void, _cookie: u64) {
            // SAFETY: By this function's safety requirements.
            let job = unsafe { KBox::<(HostRef, F)>::from_raw(job.cast()) };
            let (host, work) = KBox::into_inner(job);

            work(&host);
        }

        let job = KBox::new((self.0.clone(), work), GFP_KERNEL)?;
        // SAFETY: `run()` gets what it expects. Dropping the host, which comes before the code of
        // the module goes, also when the module fails to start, waits for what is in the domain.
        unsafe {
            bindings::async_schedule_node_domain(
                Some(run::<F>),
                KBox::into_raw(job).cast(),
                bindings::NUMA_NO_NODE,
                HostPrivate::<T>::of(self.0.as_raw()).background.get(),
            )
        };
        Ok(())
    }
}

/// Whether the host was in a recovery without a command of error handling, and is not any more.
///
/// Error handling counts its commands in `host_failed` until it has handled them; those that come
/// to it are in `eh_cmd_q` before.
///
/// # Safety
///
/// `shost` must be a valid host whose lock is held.
#[inline]
unsafe fn end_idle_recovery(shost: *mut bindings::Scsi_Host) -> bool {
    // SAFETY: By this function's safety requirements. Who looks at the state does so without the
    // lock, hence volatile; so does who counts.
    unsafe {
        let state = &raw mut (*shost).shost_state;
        let next = match state.read_volatile() {
            bindings::scsi_host_state_SHOST_RECOVERY => bindings::scsi_host_state_SHOST_RUNNING,
            bindings::scsi_host_state_SHOST_CANCEL_RECOVERY => {
                bindings::scsi_host_state_SHOST_CANCEL
            }
            _ => return false,
        };
        let queue: *const bindings::list_head = &raw const (*shost).eh_cmd_q;

        if (&raw const (*shost).host_failed).read_volatile() != 0
            || (*shost).host_eh_scheduled != 0
            || (*queue).next.cast_const() != queue
        {
            return false;
        }
        state.write_volatile(next);
        true
    }
}

/// Lets a host be removed that an administrator has called deleted, by its file `state`: the
/// mid-layer would leave it as it is.
///
/// # Safety
///
/// `shost` must be a valid host whose lock is held.
#[inline]
unsafe fn undelete(shost: *mut bindings::Scsi_Host) {
    // SAFETY: By this function's safety requirements. Who looks at the state does so without the
    // lock, hence volatile.
    unsafe {
        let state = &raw mut (*shost).shost_state;

        match state.read_volatile() {
            bindings::scsi_host_state_SHOST_DEL => {
                state.write_volatile(bindings::scsi_host_state_SHOST_CANCEL)
            }
            bindings::scsi_host_state_SHOST_DEL_RECOVERY => {
                state.write_volatile(bindings::scsi_host_state_SHOST_CANCEL_RECOVERY)
            }
            _ => (),
        }
    }
}

impl<T: Operations> Drop for Host<T> {
    #[inline]
    fn drop(&mut self) {
        let shost = self.0.as_raw();

        // An ioctl's reset looks at the tags, which go with the host. A scan in the background
        // finds out that the host is removed.
        // SAFETY: The host is valid, and was added; no command, and no queue, is left then. An
        // ioctl that comes late does without data.
        unsafe {
            let private = HostPrivate::<T>::of(shost);

            private.end_resets();
            // It may be called deleted just before the mid-layer looks.
            loop {
                with_lock(shost, |shost| undelete(shost));
                self.0.end_recovery();
                bindings::scsi_remove_host(shost);
                if (*shost).shost_gendev.kobj.state_in_sysfs() == 0 {
                    break;
                }
            }
            bindings::async_synchronize_full_domain(private.background.get());
            HostPrivate::<T>::take(shost);
        }
    }
}
