// SPDX-License-Identifier: GPL-2.0

//! A workqueue of a module's own: unloading the module waits for all its work.
//!
//! The kernel crate has only the system's workqueues, on which work may still wait when the code
//! that it would run is unloaded.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        rcu,
        Arc, //
    },
    workqueue::{
        self,
        HasWork,
        WorkItem, //
    },
};

/// A module's workqueue, to be declared as a `static`.
pub struct ModuleWorkqueue(Atomic<usize>);

impl ModuleWorkqueue {
    /// A workqueue that does not exist yet.
    pub const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Makes the workqueue, for as long as the guard lives: when the module is loaded. EBUSY if it
    /// exists already, ENOMEM. May sleep.
    pub fn create(&'static self, name: &'static CStr) -> Result<ModuleWorkqueueGuard> {
        const WQ_MEM_RECLAIM: u32 = bindings::wq_flags_WQ_MEM_RECLAIM;
        const WQ_HIGHPRI: u32 = bindings::wq_flags_WQ_HIGHPRI;
        const WQ_PERCPU: u32 = bindings::wq_flags_WQ_PERCPU;

        self.create_with(name, WQ_MEM_RECLAIM | WQ_HIGHPRI | WQ_PERCPU)
    }

    /// The same for work that itself waits for I/O, so that none may depend on it; it rests while
    /// the system is suspended.
    pub fn create_for_scans(&'static self, name: &'static CStr) -> Result<ModuleWorkqueueGuard> {
        const WQ_FREEZABLE: u32 = bindings::wq_flags_WQ_FREEZABLE;
        const WQ_UNBOUND: u32 = bindings::wq_flags_WQ_UNBOUND;

        self.create_with(name, WQ_FREEZABLE | WQ_UNBOUND)
    }

    fn create_with(&'static self, name: &'static CStr, flags: u32) -> Result<ModuleWorkqueueGuard> {
        // SAFETY: The format takes the one string that follows.
        let wq = unsafe {
            bindings::alloc_workqueue_noprof(c"%s".as_char_ptr(), flags, 0, name.as_char_ptr())
        };

        if wq.is_null() {
            return Err(ENOMEM);
        }
        // A second guard would destroy the workqueue of the first.
        if self.0.cmpxchg(0, wq as usize, Release).is_err() {
            // SAFETY: We made the workqueue, and nobody else has seen it.
            unsafe { bindings::destroy_workqueue(wq) };
            return Err(EBUSY);
        }
        // INVARIANT: The pointer was null, so there was no guard; it is `wq` until this one goes.
        Ok(ModuleWorkqueueGuard(self))
    }

    /// Enqueues `work`; `false` if it waits already, or if the module is being unloaded. Any
    /// context.
    pub fn enqueue<T, const ID: u64>(&self, work: Arc<T>) -> bool
    where
        T: WorkItem<ID, Pointer = Arc<T>> + HasWork<T, ID> + Send + Sync + 'static,
    {
        let _rcu = rcu::read_lock();
        let wq = self.0.load(Acquire) as *const bindings::workqueue_struct;

        if wq.is_null() {
            return false;
        }
        // SAFETY: The guard destroys the workqueue a grace period after it has cleared the pointer.
        let queue = unsafe { workqueue::Queue::from_raw(wq) };
        queue.enqueue::<_, ID>(work).is_ok()
    }
}

impl Default for ModuleWorkqueue {
    fn default() -> Self {
        Self::new()
    }
}

/// The life of a [`ModuleWorkqueue`]: dropping it waits for all work.
///
/// # Invariants
///
/// The pointer is that of a workqueue which no other guard has, until the guard takes it away.
pub struct ModuleWorkqueueGuard(&'static ModuleWorkqueue);

impl Drop for ModuleWorkqueueGuard {
    fn drop(&mut self) {
        let wq = self.0 .0.xchg(0, Release) as *mut bindings::workqueue_struct;

        rcu::synchronize_rcu();
        // SAFETY: By the invariants it was a workqueue's pointer, and that one is ours alone; nobody
        // can enqueue on it any more.
        unsafe { bindings::destroy_workqueue(wq) };
    }
}
