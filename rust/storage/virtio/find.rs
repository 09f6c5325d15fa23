// SPDX-License-Identifier: GPL-2.0

//! To find virtqueues with as many interrupt vectors as a [`Budget`] has for them.
//!
//! An out-of-tree module has no say in how virtio PCI shares vectors: that tries one for each
//! queue, then one for all of them, then the line. What is not wanted is made to fail.
//!
//! C header: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use super::{
    vectors::{
        Budget,
        Lease,
        Sharing, //
    },
    Device, //
};
use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// How the interrupts of the virtqueues are to be.
pub(super) struct Interrupts {
    /// The kernel spreads them over the CPUs, but for those of the first so many queues; `None` if
    /// it does not.
    pub(super) spread: Option<u32>,
    /// Where their vectors come from.
    pub(super) budget: Option<&'static Budget>,
}

/// Finds the virtqueues of `infos`, and notes them in `vqs`. Returns what they have of the budget,
/// if they are on one: to be [settled](Lease::settle). May sleep.
///
/// # Safety
///
/// `vdev` must be bound and have no virtqueues, both slices must be of the same length, and the
/// names in `infos` must live until `del_vqs()`.
pub(super) unsafe fn find_vqs(
    vdev: *mut bindings::virtio_device,
    infos: &mut [bindings::virtqueue_info],
    vqs: &mut [*mut bindings::virtqueue],
    interrupts: &Interrupts,
) -> Result<Option<Lease>> {
    let interrupting = infos.iter().filter(|info| info.callback.is_some()).count() as u32;
    let managed = interrupts.spread.is_some();
    let mut lease = interrupts
        .budget
        .and_then(|budget| Lease::take(budget, vdev, interrupting, managed));
    let wanted = lease.as_ref().map_or(Sharing::Each, Lease::sharing);

    if let Some((limit, what)) = lease.as_ref().and_then(Lease::news) {
        // SAFETY: `vdev` is valid.
        let dev = unsafe { &*vdev.cast::<Device>() };
        dev_info!(
            dev,
            "of the budget of {limit} interrupt vectors too few are left: from here on {what}\n"
        );
    }
    // SAFETY: By this function's safety requirements.
    let mut find = |sharing| unsafe { find_sharing(vdev, infos, vqs, interrupts.spread, sharing) };

    find(wanted).or_else(|e| {
        let lease = lease
            .as_mut()
            .filter(|_| wanted == Sharing::Line)
            .ok_or(e)?;

        // It has no line, or nobody knows where that goes. No budget is worth a disk.
        lease.share();
        find(Sharing::Shared)
    })?;
    Ok(lease)
}

/// Finds the virtqueues, which share interrupt vectors, or more of them if there are no others.
///
/// # Safety
///
/// See [`find_vqs`].
unsafe fn find_sharing(
    vdev: *mut bindings::virtio_device,
    infos: &mut [bindings::virtqueue_info],
    vqs: &mut [*mut bindings::virtqueue],
    spread: Option<u32>,
    sharing: Sharing,
) -> Result {
    // More than there are to be spread: virtio PCI, which tries one vector for each queue
    // first, gets none that way, and takes one for all of them, which is not spread.
    const TOO_MANY: u32 = u32::MAX / 2;
    let reserved = match sharing {
        Sharing::Shared => Some(TOO_MANY),
        _ => spread,
    };
    let mut affinity = kernel::bindings::irq_affinity {
        pre_vectors: reserved.unwrap_or(0),
        ..Default::default()
    };
    let affinity = match reserved {
        Some(_) => &raw mut affinity,
        None => core::ptr::null_mut(),
    };
    // SAFETY: The device is bound.
    let forbid = |forbid| unsafe { bindings::storage_forbid_msi(vdev, forbid) };
    let forbidden = (sharing == Sharing::Line).then(|| forbid(true));

    // SAFETY: Every transport provides `find_vqs`; the rest by this function's safety requirements.
    let result = unsafe {
        (*(*vdev).config)
            .find_vqs
            .ok_or(ENXIO)
            .and_then(|find_vqs| {
                to_result(find_vqs(
                    vdev,
                    vqs.len() as u32,
                    vqs.as_mut_ptr(),
                    infos.as_mut_ptr(),
                    affinity.cast(),
                ))
            })
    };
    if let Some(before) = forbidden {
        forbid(before);
    }
    result
}
