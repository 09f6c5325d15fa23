// SPDX-License-Identifier: GPL-2.0

//! What the mid-layer does about commands that are late, or were: the ladder of [`Operations`].
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    cmnd::{
        self,
        Late, //
    },
    device::Device,
    host::{
        with_lock,
        HostPrivate, //
    },
    operations::{
        Operations,
        OperationsVTable,
        Timeout, //
    },
    HostByte, //
};
use crate::{
    bindings,
    compat::{
        synchronize_rcu,
        EOPNOTSUPP, //
    },
};
use core::ffi::c_void;
use kernel::{
    error::from_result,
    prelude::*,
    time::msecs_to_jiffies, //
};

const SUCCESS: c_int = bindings::scsi_disposition_SUCCESS as c_int;
const FAILED: c_int = bindings::scsi_disposition_FAILED as c_int;

impl<T: Operations> OperationsVTable<T> {
    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    pub(super) unsafe extern "C" fn eh_timed_out_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_timeout_action {
        // SAFETY: The block layer keeps the command until this returns; its host is added.
        let (shost, late) = unsafe { ((*(*cmd).device).host, Late::<T>::from_raw(cmd)) };
        // SAFETY: As above.
        let action = Self::timed_out(unsafe { Self::data(shost) }, &late);

        if action == bindings::scsi_timeout_action_SCSI_EH_RESET_TIMER {
            late.renew();
            // SAFETY: As above.
            unsafe { Self::postpone_deadline(shost) };
        }
        action
    }

    /// `eh_deadline` begins with the first command that is late, before anybody asks whether it is
    /// waited for: not with that one, then. Nor with a later one, if error handling is under way.
    ///
    /// # Safety
    ///
    /// `shost` must be a valid host.
    unsafe fn postpone_deadline(shost: *mut bindings::Scsi_Host) {
        // SAFETY: By this function's safety requirements; what the lock protects is looked at under
        // it. The state is written under it, too.
        unsafe {
            // Whether there is a deadline may change at any time.
            if (&raw const (*shost).eh_deadline).read_volatile() == -1 {
                return;
            }
            with_lock(shost, |shost| {
                let is_empty = |list: *const bindings::list_head| (*list).next.cast_const() == list;

                if (*shost).shost_state == bindings::scsi_host_state_SHOST_RUNNING
                    && is_empty(&raw const (*shost).eh_abort_list)
                    && is_empty(&raw const (*shost).eh_cmd_q)
                {
                    (*shost).last_reset = 0;
                }
            });
        }
    }

    fn timed_out(data: &T::HostData, late: &Late<'_, T>) -> bindings::scsi_timeout_action {
        late.count_timeout();
        let wanted = T::timed_out(data, late);
        if !late.is_lent() {
            // Nobody looks at it again after `DONE`. If it is not complete, another CPU is about to
            // finish it, or a fault was injected that forgets it there (fail_io_timeout): then it
            // has to be taken back.
            return match (late.is_complete(), late.was_orphan()) {
                (true, _) => bindings::scsi_timeout_action_SCSI_EH_DONE,
                (false, false) => bindings::scsi_timeout_action_SCSI_EH_RESET_TIMER,
                (false, true) => bindings::scsi_timeout_action_SCSI_EH_NOT_HANDLED,
            };
        }
        match wanted {
            Timeout::Wait => bindings::scsi_timeout_action_SCSI_EH_RESET_TIMER,
            Timeout::Abort => bindings::scsi_timeout_action_SCSI_EH_NOT_HANDLED,
        }
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    pub(super) unsafe extern "C" fn eh_abort_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: The mid-layer passes a command that was queued and keeps it; its host is added,
        // since it has commands.
        let (data, late) = unsafe { (Self::data((*(*cmd).device).host), Late::<T>::from_raw(cmd)) };

        if late.is_lent() {
            let _ = T::abort(data, &late);
        }
        // What counts is whether the driver still has it: another CPU's interrupt handler may be
        // about to give it back.
        if late.is_lent() {
            synchronize_rcu();
            if late.is_lent() {
                return FAILED;
            }
        }
        // For `scsi_done()`, see `cmnd::finish()`.
        synchronize_rcu();
        SUCCESS
    }

    /// What error handling believes to own, of all commands of `shost` (of `dev`, if it is not
    /// null), the driver must not have any more.
    ///
    /// # Safety
    ///
    /// `shost` must be an added host of `T`.
    unsafe fn keeps_any(
        shost: *mut bindings::Scsi_Host,
        matches: &dyn Fn(*mut bindings::scsi_cmnd) -> bool,
    ) -> bool {
        struct Search<'a> {
            matches: &'a dyn Fn(*mut bindings::scsi_cmnd) -> bool,
            found: bool,
        }

        /// # Safety
        ///
        /// `cmd` must be a command of a host of `T`, `search` a `Search`.
        unsafe extern "C" fn look<T: Operations>(
            cmd: *mut bindings::scsi_cmnd,
            search: *mut c_void,
        ) -> bool {
            // SAFETY: By this function's safety requirements; the data of commands is initialized.
            unsafe {
                let search = &mut *search.cast::<Search<'_>>();
                search.found |= (search.matches)(cmd) && cmnd::is_kept::<T>(cmd);
                !search.found
            }
        }

        let mut search = Search {
            matches,
            found: false,
        };
        // SAFETY: The host is valid and has its tags; `look()` gets what it expects.
        unsafe { bindings::scsi_host_busy_iter(shost, Some(look::<T>), (&raw mut search).cast()) };
        search.found
    }

    /// Whether `cmd` is error handling's START UNIT while the driver has commands of that unit.
    ///
    /// The mid-layer takes all of them back once the unit has started, without asking the driver.
    ///
    /// # Safety
    ///
    /// `shost` must be an added host of `T`, and `cmd` a command of it, of error handling.
    #[cold]
    pub(super) unsafe fn is_premature_start(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> bool {
        // SAFETY: By this function's safety requirements; commands have a device.
        unsafe {
            let device = (*cmd).device;
            u32::from((*cmd).cmnd[0]) == bindings::START_STOP
                && keeps_still(|| Self::keeps_any(shost, &|cmd| (*cmd).device == device))
        }
    }

    /// Whether an ioctl resets, without a command that failed.
    ///
    /// # Safety
    ///
    /// `cmd` must be a valid command that the mid-layer calls a step of the ladder for.
    unsafe fn is_of_ioctl(cmd: *mut bindings::scsi_cmnd) -> bool {
        // SAFETY: By this function's safety requirements.
        unsafe { (*cmd).submitter == bindings::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_RESET_IOCTL }
    }

    /// Runs a step of the ladder for `cmd`, which may be one that was never queued (an ioctl's).
    ///
    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    unsafe fn reset(
        cmd: *mut bindings::scsi_cmnd,
        step: impl FnOnce(&T::HostData, &Device) -> Result,
        matches: &dyn Fn(*mut bindings::scsi_cmnd) -> bool,
    ) -> c_int {
        // SAFETY: The mid-layer passes a command of a device of a valid host.
        let (shost, dev) = unsafe {
            let dev = (*cmd).device;
            ((*dev).host, Device::from_raw(dev))
        };
        // An ioctl may come when the host goes, or is gone. Error handling has commands of it, so
        // it is there.
        // SAFETY: `cmd` is valid; `shost` is a host of `T`, which its device keeps.
        let guard = unsafe {
            match Self::is_of_ioctl(cmd) {
                true => HostPrivate::<T>::begin_reset(shost).map(Some),
                false => Some(None),
            }
        };
        let Some(_guard) = guard else { return FAILED };
        // SAFETY: `shost` is a host of `T`.
        let Some(data) = (unsafe { HostPrivate::<T>::cold(shost) }) else {
            return FAILED;
        };

        let result = step(&data, dev);
        // SAFETY: The data, so the host was added; its device is there. The private data of `cmd`
        // is initialized or zero.
        let is_kept = || unsafe {
            let eh =
                (*cmd).submitter == bindings::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_ERROR_HANDLER;
            Self::keeps_any(shost, matches) || (eh && Late::<T>::from_raw(cmd).is_lent())
        };
        // As in `eh_abort_callback()`.
        let mut kept = is_kept();
        if kept && result.is_ok() {
            synchronize_rcu();
            kept = is_kept();
        }
        if result.is_err() || kept {
            return FAILED;
        }
        synchronize_rcu();
        SUCCESS
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    pub(super) unsafe extern "C" fn eh_device_reset_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> c_int {
        // SAFETY: By this function's safety requirements; commands have a device.
        unsafe {
            let device = (*cmd).device;
            Self::reset(cmd, T::device_reset, &|cmd| (*cmd).device == device)
        }
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    pub(super) unsafe extern "C" fn eh_target_reset_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> c_int {
        // SAFETY: By this function's safety requirements; commands have a device.
        unsafe {
            let id = (*(*cmd).device).id;
            Self::reset(cmd, T::target_reset, &|cmd| (*(*cmd).device).id == id)
        }
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    pub(super) unsafe extern "C" fn eh_host_reset_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        const POLL_MS: u32 = 100;
        let mut told = false;

        loop {
            // SAFETY: By this function's safety requirements.
            let ret = unsafe { Self::reset(cmd, |data, _| T::host_reset(data), &|_| true) };
            // An ioctl takes no command back.
            // SAFETY: As above.
            if unsafe { Self::is_of_ioctl(cmd) } {
                return ret;
            }
            // SAFETY: As above; `reset()` says the same of a host that is gone.
            let is_kept = || unsafe {
                let shost = (*(*cmd).device).host;
                HostPrivate::<T>::cold(shost).is_some()
                    && (Self::keeps_any(shost, &|_| true) || Late::<T>::from_raw(cmd).is_lent())
            };

            // There is no next step: the mid-layer takes back what is left, come what may. So a
            // driver that keeps commands, against what it promised, stays here; one that is just
            // giving them back does not. Then for `scsi_done()`, see `eh_abort_callback()`.
            if !keeps_still(is_kept) {
                synchronize_rcu();
                return ret;
            }
            if !core::mem::replace(&mut told, true) {
                // SAFETY: The command has a device.
                let dev = unsafe { Device::from_raw((*cmd).device) };
                dev_err!(
                    dev.as_device(),
                    "a reset of the host left commands behind; trying until they are back\n"
                );
            }
            // SAFETY: Always safe to call in process context.
            unsafe {
                bindings::schedule_timeout_uninterruptible(msecs_to_jiffies(POLL_MS) as isize)
            };
        }
    }

    /// Whether a command that error handling took back is tried again here.
    ///
    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    pub(super) unsafe extern "C" fn eh_should_retry_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> bool {
        // SAFETY: The mid-layer passes a command that was queued.
        let late = unsafe { Late::<T>::from_raw(cmd) };

        // `scsi_decide_disposition()` takes the driver's word; who calls this does not.
        if late.is_marginal() {
            return false;
        }
        // One that a reset ended, or that was answered too late, may have been done.
        if late.timeouts() > 0 && !T::may_repeat(&late) {
            late.set_marginal();
            return false;
        }
        if late.timeouts() > 0 && late.fails_fast() {
            late.set_host_byte(HostByte::TRANSPORT_FAILFAST);
            return false;
        }
        late.renew();
        true
    }

    /// # Safety
    ///
    /// May only be called by the mid-layer, on a host of `T`.
    pub(super) unsafe extern "C" fn host_reset_callback(
        shost: *mut bindings::Scsi_Host,
        kind: c_int,
    ) -> c_int {
        from_result(|| {
            if kind != bindings::SCSI_ADAPTER_RESET as c_int {
                return Err(EOPNOTSUPP);
            }
            // SAFETY: `shost` is a host of `T`, kept by its file in sysfs, but may be about to go.
            let (_guard, data) = unsafe {
                let guard = HostPrivate::<T>::begin_reset(shost).ok_or(ENODEV)?;
                (guard, HostPrivate::<T>::cold(shost).ok_or(ENODEV)?)
            };

            T::host_reset(&data)?;
            // SAFETY: The host is valid, and its lock is held.
            unsafe { with_lock(shost, |shost| bindings::scsi_report_bus_reset(shost, 0)) };
            Ok(0)
        })
    }
}

/// Whether the driver keeps commands, which `keeps` tells, also when who was just giving one back
/// has done so: as in `eh_abort_callback()`. May sleep.
fn keeps_still(keeps: impl Fn() -> bool) -> bool {
    keeps() && {
        synchronize_rcu();
        keeps()
    }
}
