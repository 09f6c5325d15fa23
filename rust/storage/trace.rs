// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the virtqueues, and of what drivers decide. Off, each is an instruction that does
//! nothing.
//!
//! C header: `rust/helpers/trace.h`. The kernel's own `declare_trace!` looks for tracepoints in the
//! kernel crate's bindings only, and has its arguments made whether they are wanted or not.

use crate::bindings;
use kernel::{
    ffi::c_void,
    prelude::*, //
};

/// Whether somebody wants to see a tracepoint.
macro_rules! enabled {
    ($tracepoint:ident) => {{
        #[cfg(CONFIG_TRACEPOINTS)]
        // SAFETY: A tracepoint's static key may be looked at any time.
        let enabled = unsafe {
            kernel::jump_label::static_branch_unlikely!(
                bindings::$tracepoint,
                bindings::tracepoint,
                key
            )
        };
        #[cfg(not(CONFIG_TRACEPOINTS))]
        let enabled = false;
        enabled
    }};
}

/// Calls `f`, out of line: what is seldom done must not make who does it too long to be inlined.
#[cold]
#[inline(never)]
fn off_the_path(f: impl FnOnce()) {
    f()
}

/// A token was added: its pointer and operation.
///
/// # Safety
///
/// `vq` must be valid.
#[inline(always)]
pub(crate) unsafe fn issue(
    vq: *mut bindings::virtqueue,
    what: impl FnOnce() -> (*mut c_void, u32),
) {
    if enabled!(__tracepoint_vq_issue) {
        off_the_path(move || {
            let (token, op) = what();

            // SAFETY: `vq` is valid; the token is a number.
            unsafe { bindings::rust_do_trace_vq_issue(vq, token, op) }
        });
    }
}

/// A token came back: its pointer, operation, and the bytes that the device says it wrote.
///
/// # Safety
///
/// `vq` must be valid.
#[inline(always)]
pub(crate) unsafe fn complete(
    vq: *mut bindings::virtqueue,
    what: impl FnOnce() -> (*mut c_void, u32, u32),
) {
    if enabled!(__tracepoint_vq_complete) {
        off_the_path(move || {
            let (token, op, used) = what();

            // SAFETY: `vq` is valid; the token is a number.
            unsafe { bindings::rust_do_trace_vq_complete(vq, token, op, used) }
        });
    }
}

/// The ring took no more: the operation of the token that it refused.
///
/// # Safety
///
/// `vq` must be valid.
#[inline(always)]
pub(crate) unsafe fn refused(vq: *mut bindings::virtqueue, op: impl FnOnce() -> u32) {
    if enabled!(__tracepoint_vq_refused) {
        // SAFETY: `vq` is valid.
        off_the_path(move || unsafe { bindings::rust_do_trace_vq_refused(vq, op()) });
    }
}

/// What was to be added waits in the driver's line, which is `waiting` long.
///
/// # Safety
///
/// `vq` must be valid.
#[inline(always)]
pub(crate) unsafe fn line(vq: *mut bindings::virtqueue, op: u32, waiting: u32) {
    if enabled!(__tracepoint_vq_line) {
        // SAFETY: `vq` is valid.
        unsafe { bindings::rust_do_trace_vq_line(vq, op, waiting) };
    }
}

/// The device is notified.
///
/// # Safety
///
/// `vq` must be valid.
#[inline(always)]
pub(crate) unsafe fn notify(vq: *mut bindings::virtqueue) {
    if enabled!(__tracepoint_vq_notify) {
        // SAFETY: `vq` is valid.
        unsafe { bindings::rust_do_trace_vq_notify(vq) };
    }
}

/// The device interrupts.
///
/// # Safety
///
/// `vq` must be valid.
#[inline(always)]
pub(crate) unsafe fn interrupt(vq: *mut bindings::virtqueue) {
    if enabled!(__tracepoint_vq_interrupt) {
        // SAFETY: `vq` is valid.
        unsafe { bindings::rust_do_trace_vq_interrupt(vq) };
    }
}

/// The virtqueue is taken from its queue after a reset of the device: what was in flight.
///
/// # Safety
///
/// `vq` must be valid.
#[inline(always)]
pub(crate) unsafe fn reset(vq: *mut bindings::virtqueue, in_flight: impl FnOnce() -> u32) {
    if enabled!(__tracepoint_vq_reset) {
        // SAFETY: `vq` is valid.
        unsafe { bindings::rust_do_trace_vq_reset(vq, in_flight()) };
    }
}

/// What a driver decided of a disk, as the tracepoint says it.
pub struct Decision<'a> {
    /// The disk's name.
    pub disk: &'a CStr,
    /// The path that its I/O takes.
    pub path: &'a CStr,
    /// Why, in a word.
    pub reason: &'a CStr,
    /// What was counted to decide on it, 0 if nothing was.
    pub count: u32,
    /// What was measured, in microseconds, 0 if nothing was.
    pub us: u32,
}

/// A driver decided on a disk.
///
/// # Safety
///
/// `vdev` must be valid.
#[inline(always)]
pub(crate) unsafe fn decision<'a>(
    vdev: *mut bindings::virtio_device,
    what: impl FnOnce() -> Decision<'a>,
) {
    if enabled!(__tracepoint_decision) {
        off_the_path(move || {
            let Decision {
                disk,
                path,
                reason,
                count,
                us,
            } = what();

            // SAFETY: `vdev` is valid. The strings end, and are copied.
            unsafe {
                bindings::rust_do_trace_decision(
                    vdev,
                    disk.as_char_ptr(),
                    path.as_char_ptr(),
                    reason.as_char_ptr(),
                    count,
                    us,
                )
            }
        });
    }
}
