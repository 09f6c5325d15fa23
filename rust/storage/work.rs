// SPDX-License-Identifier: GPL-2.0

//! A workqueue of a module's own: unloading the module waits for all its work.
//!
//! The kernel crate has only the system's workqueues, on which work may still wait when the code
//! that it would run is unloaded.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::{
    bindings,
    compat::synchronize_rcu, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue::{
        self,
        HasWork,
        WorkItem, //
    },
};

/// How often an unloading module looks whether something holds it still.
const PAUSE: Delta = Delta::from_millis(5);

/// A module's workqueue, to be declared as a `static`.
pub struct ModuleWorkqueue {
    wq: Atomic<usize>,
    /// How many [`Hold`]s there are, and whether there ever was one.
    holds: Atomic<i32>,
    was_held: Atomic<bool>,
}

impl ModuleWorkqueue {
    /// A workqueue that does not exist yet.
    pub const fn new() -> Self {
        Self {
            wq: Atomic::new(0),
            holds: Atomic::new(0),
            was_held: Atomic::new(false),
        }
    }

    /// Makes the workqueue, for as long as the guard lives: when the module is loaded. EBUSY if it
    /// exists already, ENOMEM. May sleep.
    pub fn create(&'static self, name: &'static CStr) -> Result<ModuleWorkqueueGuard> {
        const WQ_MEM_RECLAIM: u32 = bindings::wq_flags_WQ_MEM_RECLAIM;
        const WQ_HIGHPRI: u32 = bindings::wq_flags_WQ_HIGHPRI;
        const WQ_PERCPU: u32 = bindings::wq_flags_WQ_PERCPU;

        self.create_with(name, WQ_MEM_RECLAIM | WQ_HIGHPRI | WQ_PERCPU)
    }

    /// As [`Self::create`], for work that resets devices. VDUSE's reset waits for work of a
    /// workqueue that has no rescuer, and for a process: what such a device promises when memory is
    /// short is its own affair, and no reason for the kernel to warn (`check_flush_dependency()`),
    /// which this flag is for.
    pub fn create_for_resets(&'static self, name: &'static CStr) -> Result<ModuleWorkqueueGuard> {
        const WQ_MEM_RECLAIM: u32 = bindings::wq_flags_WQ_MEM_RECLAIM;
        const WQ_PERCPU: u32 = bindings::wq_flags_WQ_PERCPU;
        const LEGACY: u32 = bindings::wq_flags___WQ_LEGACY;

        self.create_with(name, WQ_MEM_RECLAIM | WQ_PERCPU | LEGACY)
    }

    /// The same for work that waits for memory or I/O, so that what those wait for may not depend
    /// on it; it runs also while the system is being suspended.
    pub fn create_for_waiting(&'static self, name: &'static CStr) -> Result<ModuleWorkqueueGuard> {
        self.create_with(name, bindings::wq_flags_WQ_UNBOUND)
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
        if self.wq.cmpxchg(0, wq as usize, Release).is_err() {
            // SAFETY: We made the workqueue, and nobody else has seen it.
            unsafe { bindings::destroy_workqueue(wq) };
            return Err(EBUSY);
        }
        // INVARIANT: The pointer was null, so there was no guard; it is `wq` until this one goes.
        Ok(ModuleWorkqueueGuard(self))
    }

    /// Keeps the module's code until the [`Hold`] is dropped. Fails with [`ENODEV`] if the module
    /// is being unloaded, or the workqueue does not exist. Any context.
    pub(crate) fn hold(&'static self) -> Result<Hold> {
        let _rcu = rcu::read_lock();

        if self.wq.load(Acquire) == 0 {
            return Err(ENODEV);
        }
        self.was_held.store(true, Relaxed);
        self.holds.fetch_add(1, Relaxed);
        Ok(Hold(self))
    }

    /// Enqueues `work`; `false` if it waits already, or if the module is being unloaded. Any
    /// context.
    pub fn enqueue<T, const ID: u64>(&self, work: Arc<T>) -> bool
    where
        T: WorkItem<ID, Pointer = Arc<T>> + HasWork<T, ID> + Send + Sync + 'static,
    {
        let _rcu = rcu::read_lock();
        let wq = self.wq.load(Acquire) as *const bindings::workqueue_struct;

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

/// Has the unloading of the module wait until it is dropped, and until whoever dropped it has left
/// the module's code. For callbacks that nobody else waits for. After dropping one a task must not
/// sleep before it leaves that code: see `block/plug.rs`.
pub(crate) struct Hold(&'static ModuleWorkqueue);

impl Drop for Hold {
    fn drop(&mut self) {
        // Pairs with the guard's look: what was done under the hold is done.
        self.0.holds.fetch_add(-1, Release);
    }
}

/// The life of a [`ModuleWorkqueue`]: dropping it waits for all work, and for all that holds it.
///
/// # Invariants
///
/// The pointer is that of a workqueue which no other guard has, until the guard takes it away.
pub struct ModuleWorkqueueGuard(&'static ModuleWorkqueue);

impl ModuleWorkqueueGuard {
    /// Waits until all work has ended that was enqueued so far. May sleep; not by such work.
    pub fn flush(&self) {
        // SAFETY: By the invariants it is a workqueue's pointer.
        unsafe { bindings::__flush_workqueue(self.0.wq.load(Acquire) as *mut _) };
    }
}

impl Drop for ModuleWorkqueueGuard {
    fn drop(&mut self) {
        let wq = self.0.wq.xchg(0, Release) as *mut bindings::workqueue_struct;

        synchronize_rcu();
        // From here on there are no new ones.
        while self.0.holds.load(Acquire) != 0 {
            fsleep(PAUSE);
        }
        if self.0.was_held.load(Relaxed) {
            // Who dropped the last one may be on the way out of our code, even preempted there. It
            // does not sleep on that way, and this waits until each task has slept once, or was
            // in user space.
            // SAFETY: May sleep, as dropping a guard may.
            unsafe { bindings::storage_synchronize_rcu_tasks() };
        }
        // SAFETY: By the invariants it was a workqueue's pointer, and that one is ours alone;
        // nobody can enqueue on it any more.
        unsafe { bindings::destroy_workqueue(wq) };
    }
}
