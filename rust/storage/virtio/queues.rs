// SPDX-License-Identifier: GPL-2.0

//! The virtqueues of a device: found together, torn down together.
//!
//! C header: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use super::{
    queue::{
        Handler,
        Queue, //
    },
    state::State,
    Device, //
};
use crate::bindings;
use core::ffi::c_void;
use kernel::{
    device,
    error::to_result,
    prelude::*,
    str::CString,
    sync::{
        rcu,
        Arc, //
    },
};

/// A [`Queue`] of any handler, as its set sees it.
trait AnyQueue: Send + Sync {
    /// # Safety
    ///
    /// See [`Queue::attach`].
    unsafe fn attach(&self, vq: *mut bindings::virtqueue) -> Result;

    /// # Safety
    ///
    /// See [`Queue::detach`].
    unsafe fn detach(&self);
}

impl<H: Handler> AnyQueue for Queue<H> {
    unsafe fn attach(&self, vq: *mut bindings::virtqueue) -> Result {
        // SAFETY: By this function's safety requirements.
        unsafe { Queue::attach(self, vq) }
    }

    unsafe fn detach(&self) {
        // SAFETY: By this function's safety requirements.
        unsafe { Queue::detach(self) }
    }
}

/// The queues that a driver wants, in the order of their numbers.
#[derive(Default)]
pub struct Builder {
    names: KVec<CString>,
    infos: KVec<bindings::virtqueue_info>,
    queues: KVec<Arc<dyn AnyQueue>>,
    ptrs: KVec<*const c_void>,
}

impl Builder {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `queue`, which interrupts call `name`.
    pub fn add<H: Handler>(&mut self, name: CString, queue: Arc<Queue<H>>) -> Result {
        let info = bindings::virtqueue_info {
            name: name.as_char_ptr(),
            callback: Some(Queue::<H>::callback),
            ctx: false,
        };

        self.ptrs.push(Arc::as_ptr(&queue).cast(), GFP_KERNEL)?;
        self.queues.push(queue, GFP_KERNEL)?;
        self.infos.push(info, GFP_KERNEL)?;
        Ok(self.names.push(name, GFP_KERNEL)?)
    }
}

/// The virtqueues of a device, and what must live as long as they do.
pub(super) struct QueueSet {
    vdev: *mut bindings::virtio_device,
    queues: KVec<Arc<dyn AnyQueue>>,
    /// What [`super::state::State::table`] points to, see [`Queue::callback`].
    _ptrs: KVec<*const c_void>,
    _names: KVec<CString>,
}

// SAFETY: `vdev` is valid while the device is bound, which outlasts the set; `_ptrs` points into
// the objects that `queues` owns.
unsafe impl Send for QueueSet {}

impl QueueSet {
    /// Resets the device, detaches its queues and gives what was in flight back to the handlers.
    fn cancel(&self) {
        // SAFETY: `vdev` is valid and bound.
        unsafe { bindings::virtio_reset_device(self.vdev) };
        for queue in &self.queues {
            // SAFETY: The device was reset.
            unsafe { queue.detach() };
        }
    }
}

/// The order in which nothing can be touched by device or interrupt after it was freed.
impl Drop for QueueSet {
    fn drop(&mut self) {
        self.cancel();
        // For `Queue::kick()`, which notifies outside the lock.
        rcu::synchronize_rcu();

        // SAFETY: The virtqueues were found, nothing uses them, and no second set exists.
        unsafe {
            if let Some(del_vqs) = (*(*self.vdev).config).del_vqs {
                del_vqs(self.vdev);
            }
        }
    }
}

impl Device<device::Bound> {
    /// Finds the virtqueues and attaches the queues of `wanted` to them, the interrupts spread
    /// over the CPUs. The bus layer tears them down after the driver's data was dropped.
    ///
    /// May sleep. Fails with [`EBUSY`] if this was done already.
    pub fn find_queues(&self, mut wanted: Builder) -> Result {
        let vdev = self.as_raw();
        let mut vqs = KVec::new();
        let mut affinity = kernel::bindings::irq_affinity::default();

        let mut slot = self.state().queues.lock();
        if slot.is_some() {
            return Err(EBUSY);
        }
        for _ in 0..wanted.queues.len() {
            vqs.push(core::ptr::null_mut(), GFP_KERNEL)?;
        }

        // Callbacks may come as soon as a virtqueue exists.
        // SAFETY: `priv` is the state; nobody reads `table` yet. What it points to moves into the
        // set below (the heap block stays where it is) or, on errors, is not used any more.
        unsafe {
            (&raw mut (*(*vdev).priv_.cast::<State>()).table).write(wanted.ptrs.as_ptr());
        }

        // SAFETY: Every transport provides `find_vqs`; all arrays have the given length, and the
        // names live until `del_vqs()`.
        to_result(unsafe {
            let find_vqs = (*(*vdev).config).find_vqs.ok_or(ENXIO)?;
            find_vqs(
                vdev,
                vqs.len() as u32,
                vqs.as_mut_ptr(),
                wanted.infos.as_mut_ptr(),
                (&raw mut affinity).cast(),
            )
        })?;

        // From here on, errors tear the set down.
        let set = slot.insert(QueueSet {
            vdev,
            queues: wanted.queues,
            _ptrs: wanted.ptrs,
            _names: wanted.names,
        });
        for (queue, vq) in set.queues.iter().zip(vqs.iter()) {
            // SAFETY: The virtqueue is new; `QueueSet::drop()` deletes it after `detach()` and a
            // grace period.
            unsafe { queue.attach(*vq) }?;
        }
        Ok(())
    }

    /// Gives a device up that is broken or answers no more: resets it and cancels what is in
    /// flight. The virtqueues stay allocated but detached. May sleep.
    pub fn cancel_queues(&self) {
        if let Some(set) = self.state().queues.lock().as_ref() {
            set.cancel();
        }
    }
}
