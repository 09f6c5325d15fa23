// SPDX-License-Identifier: GPL-2.0

//! Commands as error handling sees them, which the driver may still have, or the device.

use super::{
    is_passthrough,
    request,
    shared,
    unique_tag,
    Shared,
    FAIL_FAST,
    STATE_COMPLETE, //
};
use crate::{
    bindings,
    compat::synchronize_rcu,
    scsi::{
        device::Device,
        operations::Operations,
        HostByte, //
    },
};
use core::{
    ffi::c_void,
    marker::PhantomData, //
};
use kernel::{
    sync::atomic::{
        Acquire,
        Relaxed, //
    },
    time::msecs_to_jiffies, //
};

/// The bits of a result that are the host's.
const HOST_BYTE: i32 = 0x00ff_0000;

/// See [`Late::siblings`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Siblings {
    /// The commands of the device.
    pub all: u32,
    /// Those of them that are as late, or later.
    pub as_late: u32,
}

/// A command whose time is over, as error handling sees it. The driver may still have it, or the
/// device.
pub struct Late<'a, T: Operations> {
    cmd: *mut bindings::scsi_cmnd,
    _p: PhantomData<&'a T>,
}

impl<T: Operations> Late<'_, T> {
    /// # Safety
    ///
    /// `cmd` must be a valid command of a host of `T` that was queued once, and stay so.
    pub(in crate::scsi) unsafe fn from_raw(cmd: *mut bindings::scsi_cmnd) -> Self {
        Self {
            cmd,
            _p: PhantomData,
        }
    }

    fn shared(&self) -> &Shared {
        // SAFETY: The command is valid, its data initialized.
        unsafe { shared::<T>(self.cmd) }
    }

    /// The device that the command is for.
    pub fn device(&self) -> &Device {
        // SAFETY: The device lives as long as it has commands.
        unsafe { Device::from_raw((*self.cmd).device) }
    }

    /// The hardware queue that the command came by, see
    /// [`Command::queue`](super::Command::queue).
    pub fn queue(&self) -> usize {
        // SAFETY: As in `Command::queue()`.
        unsafe { (*(*request(self.cmd)).mq_hctx).queue_num as usize }
    }

    /// The command's number, see [`Command::tag`](super::Command::tag).
    pub fn tag(&self) -> u32 {
        // SAFETY: As in `Command::tag()`.
        unsafe { unique_tag(self.cmd) }
    }

    /// See [`Command::is_passthrough`](super::Command::is_passthrough).
    pub fn is_passthrough(&self) -> bool {
        // SAFETY: The command is valid, and was queued.
        unsafe { is_passthrough(self.cmd) }
    }

    /// The operation code and the byte after it, which may hold a service action; of a command of
    /// error handling's own while that uses the command. Once the command has ended, the mid-layer
    /// may prepare it for another try meanwhile.
    pub fn operation(&self) -> [u8; 2] {
        // SAFETY: The command is valid; volatile, since others may write there.
        [0, 1].map(|i| unsafe { (&raw const (*self.cmd).cmnd[i]).read_volatile() })
    }

    /// Whether the driver has not given the command back yet.
    pub fn is_lent(&self) -> bool {
        self.shared().lent.load(Acquire)
    }

    /// How often the command's time was over, this time included.
    pub fn timeouts(&self) -> u32 {
        self.shared().timeouts.load(Relaxed)
    }

    /// Forgets them: the device could not answer meanwhile.
    pub fn forget_timeouts(&self) {
        self.shared().timeouts.store(0, Relaxed);
    }

    /// For how many seconds the driver has had it, as far as timeouts tell.
    pub fn seconds(&self) -> u32 {
        // SAFETY: The command is valid, and has a request.
        let timeout = unsafe { (*request(self.cmd)).timeout };

        self.timeouts()
            .saturating_mul(timeout / (msecs_to_jiffies(1000) as u32).max(1))
    }

    /// For how many seconds the driver has had it at least, also if its time was not over yet. Any
    /// context.
    #[inline]
    pub fn age(&self) -> u32 {
        // SAFETY: The command is valid, and has a request, whose timer others set anew, hence
        // volatile.
        let (now, deadline, timeout) = unsafe {
            let rq = request(self.cmd);

            (
                (&raw const bindings::jiffies).read_volatile(),
                (&raw const (*rq).deadline).read_volatile(),
                (*rq).timeout,
            )
        };
        let since = now.wrapping_sub(deadline).wrapping_add(timeout as usize) as isize;

        ((since.max(0) / msecs_to_jiffies(1000).max(1) as isize) as u32).max(self.seconds())
    }

    /// Whether error handling decides what becomes of the command, or uses it for one of its own.
    pub fn is_of_error_handling(&self) -> bool {
        // SAFETY: The command is valid, and was queued.
        self.is_complete() || unsafe { is_of_error_handling(self.cmd) }
    }

    /// Notes that the device says that it has no such command.
    pub fn note_missing(&self) {
        self.shared().missing.fetch_add(1, Relaxed);
    }

    /// How often that was noted of it, as far as it is late.
    pub fn missing(&self) -> u32 {
        match self.timeouts() {
            0 => 0,
            _ => self.shared().missing.load(Relaxed),
        }
    }

    /// The commands of the same device, this one included, that the driver has: how many they are,
    /// and of how many the time was over as often as of this one. Any context but hard interrupts.
    #[inline]
    pub fn siblings(&self) -> Siblings {
        struct Search {
            device: *mut bindings::scsi_device,
            timeouts: u32,
            found: Siblings,
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
                let search = &mut *search.cast::<Search>();
                let shared = shared::<T>(cmd);

                if (*cmd).device == search.device && shared.lent.load(Acquire) {
                    search.found.all += 1;
                    if shared.timeouts.load(Relaxed) >= search.timeouts {
                        search.found.as_late += 1;
                    }
                }
            }
            true
        }

        // SAFETY: The command is valid, so it has a device, which has a host with tags; `look()`
        // gets what it expects.
        unsafe {
            let device = (*self.cmd).device;
            let mut search = Search {
                device,
                timeouts: self.timeouts(),
                found: Siblings::default(),
            };

            bindings::scsi_host_busy_iter(
                (*device).host,
                Some(look::<T>),
                (&raw mut search).cast(),
            );
            search.found
        }
    }

    /// Whether `scsi_done()` was called for the command and took effect.
    pub(in crate::scsi) fn is_complete(&self) -> bool {
        // SAFETY: The command is valid; the state is changed by others, hence volatile.
        unsafe { (&raw const (*self.cmd).state).read_volatile() & STATE_COMPLETE != 0 }
    }

    /// Whether this is asked for the second time since the command was queued.
    pub(in crate::scsi) fn was_orphan(&self) -> bool {
        let orphan = &self.shared().orphan;
        let before = orphan.load(Relaxed);

        orphan.store(true, Relaxed);
        before
    }

    /// Whether who sent the command has another path for it, and wants to know soon that this one
    /// does not work: device-mapper's multipath. Or it reads ahead, which need not succeed.
    pub(in crate::scsi) fn fails_fast(&self) -> bool {
        // SAFETY: The command is valid, and has a request.
        unsafe { (*request(self.cmd)).cmd_flags & FAIL_FAST != 0 }
    }

    /// Whether the driver gave the command back as one not to be tried again.
    pub(in crate::scsi) fn is_marginal(&self) -> bool {
        // SAFETY: The command is valid; error handling, which has it, calls this.
        let result = unsafe { (*self.cmd).result };

        result & HOST_BYTE == HostByte::TRANSPORT_MARGINAL.with_status(0)
    }

    /// Says that nobody knows whether the command was done, unless the target has its own word.
    pub(in crate::scsi) fn set_marginal(&self) {
        // SAFETY: The command is valid; error handling, which has it, calls this.
        let result = unsafe { (*self.cmd).result };

        if result == 0 || result & HOST_BYTE != 0 {
            self.set_host_byte(HostByte::TRANSPORT_MARGINAL);
        }
    }

    /// Sets what the host says of the command, which error handling took back.
    pub(in crate::scsi) fn set_host_byte(&self, host: HostByte) {
        // SAFETY: The command is valid; error handling, which has it, calls this.
        unsafe { (*self.cmd).result = ((*self.cmd).result & !HOST_BYTE) | host.with_status(0) };
    }

    /// Has the time of all tries together (`scsi_cmd_runtime_exceeced()`) begin now: the time that
    /// was only waited does not count.
    pub(in crate::scsi) fn renew(&self) {
        // SAFETY: The command is valid. Who finishes it meanwhile may read this, hence volatile.
        unsafe {
            (&raw mut (*self.cmd).jiffies_at_alloc)
                .write_volatile((&raw const bindings::jiffies).read_volatile())
        };
    }

    /// Counts a timeout.
    pub(in crate::scsi) fn count_timeout(&self) {
        // What the device said of a use of it before does not count.
        if self.timeouts() == 0 {
            self.shared().missing.store(0, Relaxed);
        }
        self.shared().timeouts.fetch_add(1, Relaxed);
    }
}

/// Whether the driver has this command though its time is over: error handling believes that it
/// may take it, and must not.
///
/// # Safety
///
/// `cmd` must be a valid command of a host of `T`, its private data initialized or all zero.
pub(in crate::scsi) unsafe fn is_kept<T: Operations>(cmd: *mut bindings::scsi_cmnd) -> bool {
    // SAFETY: By this function's safety requirements; the state is changed by others, hence
    // volatile.
    unsafe {
        shared::<T>(cmd).lent.load(Acquire)
            && (&raw const (*cmd).state).read_volatile() & STATE_COMPLETE != 0
    }
}

/// Whether error handling sends this command: by the one that failed, which it uses again.
///
/// # Safety
///
/// `cmd` must be a valid command that the mid-layer queues.
#[inline]
pub(in crate::scsi) unsafe fn is_of_error_handling(cmd: *mut bindings::scsi_cmnd) -> bool {
    // SAFETY: By this function's safety requirements.
    unsafe { (*cmd).submitter == bindings::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_ERROR_HANDLER }
}

/// Waits until each command that is seen to be not lent went through `scsi_done()`, see
/// [`finish`](super::finish). What it did there to the command that error handling uses again, is
/// undone: an early end of what is not queued yet.
///
/// # Safety
///
/// May only be called for error handling, before it queues a command to `shost`.
#[cold]
pub(in crate::scsi) unsafe fn settle(shost: *mut bindings::Scsi_Host) {
    synchronize_rcu();
    // SAFETY: Error handling, which runs this, has set where it waits, or null. What completes it
    // is over; what `reinit_completion()` does.
    unsafe {
        if let Some(action) = (*shost).eh_action.as_mut() {
            action.done = 0;
        }
    }
}
