// SPDX-License-Identifier: GPL-2.0

//! This module provides an interface for SCSI low-level drivers to implement.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    cmnd::{
        self,
        Command,
        CommandData,
        Late,
        Private, //
    },
    device::{
        Device,
        Found,
        NewDevice, //
    },
    host::HostPrivate,
    template::HostTemplate,
    HostByte, //
};
use crate::{
    bindings,
    compat::{
        owner,
        raw_try_init, //
    },
    cpu_map::CpuMap, //
};
use core::{
    marker::PhantomData,
    mem::offset_of, //
};
use kernel::{
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies, //
};

const QUEUED: bindings::scsi_qc_status = 0;
const HOST_BUSY: bindings::scsi_qc_status = bindings::scsi_qc_status_SCSI_MLQUEUE_HOST_BUSY;

/// How long a command of error handling waits for a device that others reset, say, in
/// milliseconds, and how often it is tried. The mid-layer itself tries a hundred times in ten
/// seconds, and then takes the unit out of service; how long a try takes, it does not count, so
/// what waited here must not be called busy. Longer than others may take at most, so that a reset
/// of the host can take the device from those who do not end.
const EH_PATIENCE_MS: u32 = 130_000;

/// How long it waits after that reset, in milliseconds; then it fails.
const EH_LAST_PATIENCE_MS: u32 = 13_000;
const EH_TICK_MS: u32 = 20;

/// What became of a command that was given to the driver.
enum Queued {
    /// The driver has it.
    Taken,
    /// It could not take it.
    Refused,
    /// The same, and it only waits for the device.
    Waits,
}

/// A command that the driver could not take, on its way back to the mid-layer.
///
/// Returned for another command than the one that came, it ends that one with an error.
#[must_use]
pub struct Refused<T: Operations> {
    pub(super) cmd: Command<T>,
    /// Its time does not count.
    pub(super) only_waits: bool,
}

/// What to do about a command whose time is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timeout {
    /// Give it as much time again.
    Wait,
    /// Abort it.
    Abort,
}

/// Implement this trait to be a SCSI host.
///
/// Error handling goes up a ladder: [`Self::abort`], [`Self::device_reset`],
/// [`Self::target_reset`], [`Self::host_reset`]. The mid-layer takes commands back after each step
/// that succeeds; the library makes sure that the driver, and with it the device, does not have
/// them any more, and calls a step failed else.
///
/// A host that finishes each command at once needs [`Self::queue_command`] and
/// [`Self::host_reset`] only.
///
/// C counterpart: `struct scsi_host_template`.
#[vtable]
pub trait Operations: Sized + 'static {
    /// Data of each command, allocated with it.
    type CommandData: CommandData;

    /// Data of the host.
    type HostData: Send + Sync + 'static;

    /// The name of the host for people.
    const NAME: &'static CStr;

    /// The name of the driver, as sysfs shows it.
    const PROC_NAME: &'static CStr;

    /// The driver's template: always the same `static`.
    fn template() -> &'static HostTemplate<Self>;

    /// Takes a command; unless `is_last`, more follow, or a [`Operations::commit`].
    ///
    /// Atomic context, or error handling in process context. A command of the latter that is
    /// [refused until the device is back](Command::refuse_until_back) comes again until it is, for
    /// two minutes at least. After that there is a [reset of the host](Self::host_reset), and if
    /// the device is not back soon, the command fails.
    fn queue_command(
        host: &Self::HostData,
        cmd: Command<Self>,
        is_last: bool,
    ) -> Result<(), Refused<Self>>;

    /// No more commands follow on `queue` for now: kick the device. Atomic context.
    fn commit(host: &Self::HostData, queue: usize) {
        let _ = (host, queue);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Spreads the CPUs over the hardware queues; without it they are spread evenly. May sleep.
    fn map_queues(host: &Self::HostData, maps: QueueMaps<'_>) {
        let _ = (host, maps);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Looks for commands that are done on `queue`; returns how many there were. For hosts with
    /// [polled](super::Limits::polled) queues.
    fn poll(host: &Self::HostData, queue: usize) -> usize {
        let _ = (host, queue);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A command's time is over. Look whether it is done, and only nobody noticed; what is decided
    /// here does not matter then. Process context, must not sleep.
    fn timed_out(host: &Self::HostData, late: &Late<'_, Self>) -> Timeout {
        let _ = (host, late);
        Timeout::Abort
    }

    /// Whether a command that error handling took back may be sent again, though nobody knows
    /// whether it was done. May sleep.
    fn may_repeat(late: &Late<'_, Self>) -> bool {
        let _ = late;
        true
    }

    /// Aborts a command. May sleep, but not for ever.
    fn abort(host: &Self::HostData, late: &Late<'_, Self>) -> Result {
        let _ = (host, late);
        Err(ENOTSUPP)
    }

    /// Resets a logical unit: its commands end. May sleep, but not for ever.
    fn device_reset(host: &Self::HostData, dev: &Device) -> Result {
        let _ = (host, dev);
        Err(ENOTSUPP)
    }

    /// Resets all logical units of the target of `dev`. May sleep, but not for ever.
    fn target_reset(host: &Self::HostData, dev: &Device) -> Result {
        let _ = (host, dev);
        Err(ENOTSUPP)
    }

    /// Resets the host: as the last rung, or since a command of error handling waits for the device
    /// for too long, or because an administrator wants it, when nothing is late
    /// (`/sys/class/scsi_host/hostN/host_reset`). *Also if it fails*, the driver finishes all
    /// commands whose time is over ([`Command::is_late`]); others it may send again. May sleep, but
    /// not for ever, nor for who has a device's `state_mutex`.
    fn host_reset(host: &Self::HostData) -> Result;

    /// Whether there is no such target, so that its units need not be looked for. Process context,
    /// may sleep, but not for ever.
    ///
    /// C counterpart: `target_alloc`, that fails with `-ENXIO`.
    fn is_absent(host: &Self::HostData, target: u32) -> bool {
        let _ = (host, target);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A device was found, and is to be asked what it is. May sleep.
    ///
    /// C counterpart: `sdev_init`.
    fn device_init(dev: NewDevice<'_>) {
        let _ = dev;
    }

    /// A device has said what it is; its VPD pages are to be read. May sleep.
    ///
    /// C counterpart: `sdev_configure`.
    fn device_configure(dev: Found<'_>) {
        let _ = dev;
    }
}

/// The maps of CPUs to hardware queues.
pub struct QueueMaps<'a>(&'a mut bindings::blk_mq_tag_set);

impl QueueMaps<'_> {
    /// Gives each CPU that of the first `interrupting` hardware queues that `map` gives it, and
    /// spreads the CPUs over the `polled` ones that follow: all of the host's at most.
    ///
    /// C counterpart: `blk_mq_map_queues()`.
    pub fn map(self, map: &CpuMap, interrupting: u32, polled: u32) {
        const DEFAULT: usize = bindings::hctx_type_HCTX_TYPE_DEFAULT as usize;
        const READ: usize = bindings::hctx_type_HCTX_TYPE_READ as usize;
        const POLL: usize = bindings::hctx_type_HCTX_TYPE_POLL as usize;
        let set = self.0;
        let interrupting = interrupting.clamp(1, set.nr_hw_queues);
        let polled = polled.min(set.nr_hw_queues - interrupting);
        let maps = &mut set.map;

        maps[DEFAULT].nr_queues = interrupting;
        maps[DEFAULT].queue_offset = 0;
        // SAFETY: blk-mq's map has an entry for each CPU.
        unsafe { map.copy_to(&mut maps[DEFAULT]) };
        if set.nr_maps as usize <= POLL {
            return;
        }
        maps[READ].nr_queues = 0;
        maps[READ].queue_offset = interrupting;
        maps[POLL].nr_queues = polled;
        maps[POLL].queue_offset = interrupting;
        if polled > 0 {
            // SAFETY: The map is valid.
            unsafe { bindings::blk_mq_map_queues(&mut maps[POLL]) };
        }
    }
}

/// The vtable of `T`.
pub(super) struct OperationsVTable<T: Operations>(PhantomData<T>);

impl<T: Operations> OperationsVTable<T> {
    /// # Safety
    ///
    /// `shost` must be a host of `T` that is added, and stay so meanwhile.
    #[inline]
    pub(super) unsafe fn data<'a>(shost: *mut bindings::Scsi_Host) -> &'a T::HostData {
        // SAFETY: The data lives as long as the host is added.
        unsafe { HostPrivate::<T>::hot(shost) }
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn queuecommand_callback(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_qc_status {
        // SAFETY: The mid-layer passes a valid command of a device.
        let is_again = unsafe { cmnd::is_of_error_handling(cmd) };

        if is_again {
            // SAFETY: By this function's safety requirements; error handling sleeps.
            if unsafe { Self::is_premature_start(shost, cmd) } {
                // Not "busy": that is tried again until the time for all of error handling is over.
                // SAFETY: The command is valid, and left to this function.
                return unsafe { Self::fail(cmd) };
            }
            // SAFETY: As above.
            unsafe { cmnd::settle(shost) };
        }
        let mut patience = if is_again { EH_PATIENCE_MS } else { 0 };
        let mut may_reset = is_again;

        loop {
            // SAFETY: By this function's safety requirements.
            match unsafe { Self::queue(shost, cmd, is_again) } {
                Queued::Taken => return QUEUED,
                Queued::Waits if patience > 0 => {
                    // SAFETY: Error handling sleeps.
                    unsafe {
                        bindings::schedule_timeout_uninterruptible(
                            msecs_to_jiffies(EH_TICK_MS) as isize
                        )
                    };
                    patience = patience.saturating_sub(EH_TICK_MS);
                }
                // Nobody else does it: error handling goes no further before this command ends.
                Queued::Waits if core::mem::take(&mut may_reset) => {
                    // SAFETY: By this function's safety requirements; error handling sleeps.
                    let _ = T::host_reset(unsafe { Self::data(shost) });
                    patience = EH_LAST_PATIENCE_MS;
                }
                // SAFETY: The command is valid, and left to this function: the driver gave it back.
                Queued::Waits if is_again => return unsafe { Self::fail(cmd) },
                Queued::Waits | Queued::Refused => return HOST_BUSY,
            }
        }
    }

    /// Ends a command of error handling, as one that the host could not do.
    ///
    /// # Safety
    ///
    /// `cmd` must be a valid command that the mid-layer queues, and that the driver does not have.
    #[cold]
    unsafe fn fail(cmd: *mut bindings::scsi_cmnd) -> bindings::scsi_qc_status {
        // SAFETY: By this function's safety requirements.
        unsafe {
            (*cmd).result = HostByte::ERROR.with_status(0);
            bindings::scsi_done(cmd);
        }
        QUEUED
    }

    /// Gives a command to the driver.
    ///
    /// # Safety
    ///
    /// `cmd` must be a valid command of `shost`, a host of `T` that is added, and be left to the
    /// driver.
    #[inline(always)]
    unsafe fn queue(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
        is_again: bool,
    ) -> Queued {
        // SAFETY: By this function's safety requirements.
        let (data, is_last, cmd) = unsafe {
            (
                Self::data(shost),
                (*cmd).flags as u32 & bindings::SCMD_LAST != 0,
                Command::<T>::lend(cmd, is_again),
            )
        };
        let Some(cmd) = cmd else {
            return Queued::Refused;
        };

        let (raw, device) = (cmd.as_raw(), cmd.device().as_raw());
        // Its memory may be that of the one that came, which ended, and yet be a command of another
        // unit by now, which this one's queue would not wait for.
        let is_ours = |cmd: &Command<T>| cmd.as_raw() == raw && cmd.device().as_raw() == device;

        match T::queue_command(data, cmd, is_last) {
            Ok(()) => Queued::Taken,
            Err(Refused { cmd, only_waits }) if is_ours(&cmd) => {
                if only_waits {
                    // SAFETY: The command is valid, and was queued; it is ours until given back.
                    unsafe { Late::<T>::from_raw(raw) }.renew();
                }
                cmd.give_back();
                if only_waits {
                    Queued::Waits
                } else {
                    Queued::Refused
                }
            }
            // Another one; that which came stays with the driver, or has ended.
            Err(Refused { cmd: other, .. }) => {
                drop(other);
                Queued::Taken
            }
        }
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn commit_rqs_callback(shost: *mut bindings::Scsi_Host, queue: u16) {
        // SAFETY: The host is added as long as it gets commands.
        T::commit(unsafe { Self::data(shost) }, queue.into());
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn map_queues_callback(shost: *mut bindings::Scsi_Host) {
        // SAFETY: The host is being added, or is.
        unsafe { T::map_queues(Self::data(shost), QueueMaps(&mut (*shost).tag_set)) };
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn mq_poll_callback(shost: *mut bindings::Scsi_Host, queue: c_uint) -> c_int {
        // SAFETY: The host is added as long as it has queues.
        T::poll(unsafe { Self::data(shost) }, queue as usize) as c_int
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn init_cmd_priv_callback(
        _shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> c_int {
        const {
            assert!(
                align_of::<Private<T::CommandData>>() <= align_of::<bindings::scsi_cmnd>(),
                "the data of a command lies right behind it"
            );
            // As for requests: more, and the block layer asks for pages until there are none.
            assert!(
                size_of::<Private<T::CommandData>>() <= 8 * PAGE_SIZE,
                "the data of a command is small"
            );
        };
        from_result(|| {
            // SAFETY: The block layer allocated `cmd_size` bytes after the command, in pages of
            // the linear mapping, and does not move them.
            unsafe { raw_try_init(cmnd::private::<T>(cmd), Private::<T::CommandData>::new()) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn exit_cmd_priv_callback(
        _shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> c_int {
        // SAFETY: The counterpart of `init_cmd_priv_callback()`.
        unsafe { core::ptr::drop_in_place(cmnd::private::<T>(cmd)) };
        0
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn target_alloc_callback(target: *mut bindings::scsi_target) -> c_int {
        // SAFETY: The mid-layer passes a new target. Its parent is its host, since there is no
        // transport class; that may be about to go.
        let (data, id) = unsafe {
            let shost = (*target)
                .dev
                .parent
                .byte_sub(offset_of!(bindings::Scsi_Host, shost_gendev))
                .cast::<bindings::Scsi_Host>();
            (HostPrivate::<T>::cold(shost), (*target).id)
        };

        match data {
            Some(data) if !T::is_absent(&data, id) => 0,
            _ => ENXIO.to_errno(),
        }
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn sdev_init_callback(sdev: *mut bindings::scsi_device) -> c_int {
        // SAFETY: The mid-layer passes a valid device, which it is making.
        T::device_init(unsafe { NewDevice::from_raw(sdev) });
        0
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn sdev_configure_callback(
        sdev: *mut bindings::scsi_device,
        _limits: *mut bindings::queue_limits,
    ) -> c_int {
        // SAFETY: The mid-layer passes a valid device, which it is configuring.
        T::device_configure(unsafe { Found::from_raw(sdev) });
        0
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe extern "C" fn change_queue_depth_callback(
        sdev: *mut bindings::scsi_device,
        depth: c_int,
    ) -> c_int {
        // SAFETY: The mid-layer passes a valid device of a valid host.
        unsafe {
            let max = c_int::from((*(*sdev).host).cmd_per_lun);
            bindings::scsi_change_queue_depth(sdev, depth.min(max))
        }
    }

    /// All of the template but its bit fields, see [`HostTemplate`].
    pub(super) const TEMPLATE: bindings::scsi_host_template = {
        // SAFETY: All bytes zero is valid: absent functions, default values.
        let mut template: bindings::scsi_host_template = unsafe { core::mem::zeroed() };

        template.module = owner!(T).as_ptr();
        template.name = kernel::str::as_char_ptr_in_const_context(T::NAME);
        template.proc_name = kernel::str::as_char_ptr_in_const_context(T::PROC_NAME);
        template.this_id = -1;
        template.cmd_size = size_of::<Private<T::CommandData>>() as u32;
        template.dma_boundary = u32::MAX as usize;
        template.queuecommand = Some(Self::queuecommand_callback);
        if T::HAS_COMMIT {
            template.commit_rqs = Some(Self::commit_rqs_callback);
        }
        if T::HAS_MAP_QUEUES {
            template.map_queues = Some(Self::map_queues_callback);
        }
        if T::HAS_POLL {
            template.mq_poll = Some(Self::mq_poll_callback);
        }
        template.init_cmd_priv = Some(Self::init_cmd_priv_callback);
        template.exit_cmd_priv = Some(Self::exit_cmd_priv_callback);
        template.change_queue_depth = Some(Self::change_queue_depth_callback);
        template.eh_timed_out = Some(Self::eh_timed_out_callback);
        template.eh_abort_handler = Some(Self::eh_abort_callback);
        template.eh_device_reset_handler = Some(Self::eh_device_reset_callback);
        template.eh_target_reset_handler = Some(Self::eh_target_reset_callback);
        template.eh_host_reset_handler = Some(Self::eh_host_reset_callback);
        template.eh_should_retry_cmd = Some(Self::eh_should_retry_callback);
        template.host_reset = Some(Self::host_reset_callback);
        if T::HAS_IS_ABSENT {
            template.target_alloc = Some(Self::target_alloc_callback);
        }
        if T::HAS_DEVICE_INIT {
            template.sdev_init = Some(Self::sdev_init_callback);
        }
        if T::HAS_DEVICE_CONFIGURE {
            template.sdev_configure = Some(Self::sdev_configure_callback);
        }
        template
    };
}

/// Keeps the host's data while an ioctl uses it.
pub(super) type Data<T> = Arc<<T as Operations>::HostData>;
