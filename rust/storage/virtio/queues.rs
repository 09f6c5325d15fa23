// SPDX-License-Identifier: GPL-2.0

//! The virtqueues of a device: found together, torn down together.
//!
//! C header: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use super::{
    context::Context,
    find::{
        find_vqs,
        Interrupts, //
    },
    no_io::NoIo,
    queue::{
        Handler,
        Queue, //
    },
    vectors::{
        Budget,
        Lease,
        Sharing,
        Vectors, //
    },
    watch::Look,
    Device, //
};
use crate::{
    bindings,
    compat::synchronize_rcu,
    cpu_map::CpuMap, //
};
use core::{
    ffi::c_void,
    ops::Deref, //
};
use kernel::{
    device,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Full,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// A [`Queue`] of any handler, as its set sees it: each in an `Arc`.
trait AnyQueue: Send + Sync {
    /// Notes whether the queue is in a set; returns whether it was.
    fn set_claimed(&self, claimed: bool) -> bool;

    /// # Safety
    ///
    /// See [`Queue::attach`].
    unsafe fn attach(&self, vq: *mut bindings::virtqueue) -> Result;

    /// See [`Queue::hold`].
    fn hold(&self) -> Result;

    /// See [`Queue::take_done`]; only if the queue replays.
    fn take_done(&self);

    /// # Safety
    ///
    /// See [`Queue::take_back`].
    unsafe fn take_back(&self);

    /// # Safety
    ///
    /// See [`Queue::cancel_all`].
    unsafe fn cancel_all(&self);

    /// See [`Queue::sift`].
    fn sift(&self);

    /// See [`Queue::replay`].
    fn replay(&self, pauses: usize) -> Result<bool>;

    /// How many tokens came back, and how many there are.
    fn counts(&self) -> (usize, usize);

    /// Whether the ring can work no more.
    fn is_broken(&self) -> bool;
}

impl<H: Handler> AnyQueue for Queue<H> {
    fn set_claimed(&self, claimed: bool) -> bool {
        self.claimed.xchg(claimed, Full)
    }

    unsafe fn attach(&self, vq: *mut bindings::virtqueue) -> Result {
        // SAFETY: By this function's safety requirements.
        unsafe { Queue::attach(self, vq) }
    }

    fn hold(&self) -> Result {
        Queue::hold(self)
    }

    fn take_done(&self) {
        if H::REPLAYS {
            // SAFETY: The queues of a set are in an `Arc`.
            unsafe { Queue::take_done(self) };
        }
    }

    unsafe fn take_back(&self) {
        // SAFETY: By this function's safety requirements.
        unsafe { Queue::take_back(self) }
    }

    unsafe fn cancel_all(&self) {
        // SAFETY: By this function's safety requirements.
        unsafe { Queue::cancel_all(self) }
    }

    fn sift(&self) {
        Queue::sift(self);
    }

    fn replay(&self, pauses: usize) -> Result<bool> {
        let guard = self.lock();

        // One that broke, or was cancelled, waits for the next repair.
        if !guard.ring.is_held() || !guard.ring.is_attached() || guard.ring.is_broken() {
            return Ok(true);
        }
        drop(guard);
        // SAFETY: The queues of a set are in an `Arc`. Only who has the set detaches them.
        unsafe { Queue::replay(self, pauses) }
    }

    fn counts(&self) -> (usize, usize) {
        let guard = self.lock();

        (guard.ring.completed(), guard.ring.in_flight())
    }

    fn is_broken(&self) -> bool {
        self.lock().ring.is_broken()
    }
}

/// A queue that is in no other set, so that this one may take from it all that it has.
struct Claimed(Arc<dyn AnyQueue>);

impl Claimed {
    fn new(queue: Arc<dyn AnyQueue>) -> Result<Self> {
        if queue.set_claimed(true) {
            return Err(EBUSY);
        }
        Ok(Self(queue))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.set_claimed(false);
    }
}

impl Deref for Claimed {
    type Target = dyn AnyQueue;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// The queues that a driver wants, in the order of their numbers: as many in each of the vectors.
#[derive(Default)]
pub struct Builder {
    names: KVec<CString>,
    infos: KVec<bindings::virtqueue_info>,
    queues: KVec<Claimed>,
    /// The same for the watch.
    looks: KVec<Arc<dyn Look>>,
    /// What [`super::context::Context::table`] points to, see [`Queue::callback`].
    ptrs: KVec<*const c_void>,
    map: Option<Arc<CpuMap>>,
    unspread: u32,
    budget: Option<&'static Budget>,
}

impl Builder {
    /// An empty set, its interrupts spread over the CPUs and managed by the kernel: one whose CPUs
    /// are all offline is shut down, so the driver must let I/O drain before (blk-mq does).
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty set whose interrupts go to the CPUs that `map` gives each queue, and to others
    /// when those go offline: for drivers that nobody tells about it.
    pub fn mapped(map: Arc<CpuMap>) -> Self {
        Self {
            map: Some(map),
            ..Self::default()
        }
    }

    /// Leaves the interrupts of the first `n` queues out when the others are spread over the CPUs.
    pub fn leave_first(&mut self, n: u32) {
        self.unspread = n;
    }

    /// Takes the interrupt vectors from `budget`, each time that the virtqueues are found.
    pub fn within(&mut self, budget: &'static Budget) {
        self.budget = Some(budget);
    }

    /// Appends `queue`, which interrupts call `name`. Fails with [`EBUSY`] if it is in a set
    /// already, of whatever device.
    pub fn add<H: Handler>(&mut self, name: CString, queue: Arc<Queue<H>>) -> Result {
        self.push(name, queue, Some(Queue::<H>::callback))
    }

    /// The same for one that does not interrupt: the driver looks itself.
    pub fn add_polled<H: Handler>(&mut self, name: CString, queue: Arc<Queue<H>>) -> Result {
        self.push(name, queue, None)
    }

    fn push<H: Handler>(
        &mut self,
        name: CString,
        queue: Arc<Queue<H>>,
        callback: Option<unsafe extern "C" fn(*mut bindings::virtqueue)>,
    ) -> Result {
        let info = bindings::virtqueue_info {
            name: name.as_char_ptr(),
            callback,
            ctx: false,
        };

        let claimed = Claimed::new(queue.clone())?;

        // All of them or none: who ignores that memory was short may still use the set.
        self.ptrs.reserve(1, GFP_KERNEL)?;
        self.looks.reserve(1, GFP_KERNEL)?;
        self.queues.reserve(1, GFP_KERNEL)?;
        self.infos.reserve(1, GFP_KERNEL)?;
        self.names.reserve(1, GFP_KERNEL)?;

        self.ptrs.push(Arc::as_ptr(&queue).cast(), GFP_KERNEL)?;
        self.looks.push(queue, GFP_KERNEL)?;
        self.queues.push(claimed, GFP_KERNEL)?;
        self.infos.push(info, GFP_KERNEL)?;
        Ok(self.names.push(name, GFP_KERNEL)?)
    }
}

/// The virtqueues of a device, and what must live as long as they do.
pub(super) struct QueueSet {
    vdev: *mut bindings::virtio_device,
    wanted: Builder,
    found: bool,
    /// How many queues, from the first, are attached to virtqueues of this device.
    attached: usize,
    /// The interrupt vectors of the virtqueues that were found.
    lease: Option<Lease>,
}

// SAFETY: `vdev` is valid while the device is bound, which outlasts the set; the pointers in
// `wanted` are to what it owns.
unsafe impl Send for QueueSet {}

impl QueueSet {
    /// Finds the virtqueues and attaches the queues: all of them, or none.
    fn find(&mut self) -> Result {
        let vdev = self.vdev;

        if self.found {
            return Err(EBUSY);
        }
        let mut vqs = KVec::from_elem(
            core::ptr::null_mut::<bindings::virtqueue>(),
            self.wanted.queues.len(),
            GFP_KERNEL,
        )?;
        let interrupts = Interrupts {
            spread: match self.wanted.map {
                Some(_) => None,
                None => Some(self.wanted.unspread),
            },
            budget: self.wanted.budget,
        };
        // SAFETY: The device is bound, and has no virtqueues; an element for each, and the names
        // live until they are deleted.
        let lease = unsafe { find_vqs(vdev, &mut self.wanted.infos, &mut vqs, &interrupts) }?;
        self.found = true;
        if let Some(mut lease) = lease {
            self.note(lease.settle(vdev));
            self.lease = Some(lease);
        }

        // If one of them fails, none is left: nobody may use a device that is not ready.
        self.attach(&vqs).inspect_err(|_| {
            reset(self.vdev);
            self.let_go();
        })
    }

    /// Notes the interrupt vectors, for who asks.
    fn note(&self, vectors: u32) {
        // SAFETY: `vdev` is valid and bound.
        let dev = unsafe { &*self.vdev.cast::<Device<device::Bound>>() };

        dev.state().vectors.store(vectors, Relaxed);
    }

    fn attach(&mut self, vqs: &[*mut bindings::virtqueue]) -> Result {
        let lease = self.lease.as_ref();
        // A vector of all queues would end where the last one has it.
        let shared = lease.is_some_and(|lease| lease.sharing() != Sharing::Each);

        for (i, (queue, vq)) in self.wanted.queues.iter().zip(vqs).enumerate() {
            // SAFETY: The virtqueue is new; `lose()` deletes it after `detach()` and a grace
            // period.
            unsafe { queue.attach(*vq) }?;
            self.attached = i + 1;
            if let Some(map) = self.wanted.map.as_ref().filter(|_| !shared) {
                // SAFETY: The virtqueue is valid, the map has an entry for each CPU.
                unsafe {
                    bindings::storage_set_vq_affinity(*vq, map.as_slice().as_ptr(), i as u32)
                };
            }
        }
        Ok(())
    }

    /// Resets the device, detaches its queues and gives all that is in flight back to the handlers.
    fn cancel(&mut self) {
        if self.found {
            reset(self.vdev);
        }
        self.attached = 0;
        for queue in &self.wanted.queues {
            // SAFETY: The queue is in no other set: it is attached to this device, which was
            // reset, or to none.
            unsafe { queue.cancel_all() };
        }
    }

    /// Resets the device and deletes the virtqueues. What is in flight is kept by the queues that
    /// replay, and what comes meanwhile; the others give it back to the handlers. If memory is
    /// short, nothing is done.
    ///
    /// The same, with [`ENXIO`], if the device is not there and `may_return`: as it is, it would go
    /// on with rings that are freed.
    fn take_back(&mut self, may_return: bool) -> Result {
        for queue in &self.wanted.queues {
            queue.hold()?;
        }
        if self.found {
            if !reset(self.vdev) && may_return {
                return Err(ENXIO);
            }
            self.let_go();
        }
        // `again()` is asked of what was in a ring only, not of what was kept before.
        self.wanted.queues.iter().for_each(|queue| queue.sift());
        Ok(())
    }

    /// Detaches the queues of a device that was reset, and deletes the virtqueues.
    fn let_go(&mut self) {
        for queue in &self.wanted.queues[..core::mem::take(&mut self.attached)] {
            // What was done need not be done again.
            queue.take_done();
            // SAFETY: The device, to which the queue was attached here, was reset.
            unsafe { queue.take_back() };
        }
        self.delete();
    }

    /// Sends what was kept; `false` if there is no room for all of it after `pauses` of a queue.
    fn replay(&self, pauses: usize) -> Result<bool> {
        if !self.found {
            return Ok(true);
        }
        self.wanted
            .queues
            .iter()
            .try_fold(true, |all, queue| Ok(all & queue.replay(pauses)?))
    }

    /// Cancels what is in flight and deletes the virtqueues.
    fn lose(&mut self) {
        self.cancel();
        self.delete();
    }

    /// Deletes the virtqueues of a device that was reset, with all queues detached: the order in
    /// which nothing can be touched by device or interrupt after it was freed.
    fn delete(&mut self) {
        if !self.found {
            return;
        }
        self.found = false;
        // For `Queue::kick()`, which notifies outside the lock.
        synchronize_rcu();

        // SAFETY: The virtqueues were found, and nothing uses them.
        unsafe {
            if let Some(del_vqs) = (*(*self.vdev).config).del_vqs {
                del_vqs(self.vdev);
            }
        }
        if self.lease.take().is_some() {
            self.note(Vectors::NONE);
        }
    }
}

impl Drop for QueueSet {
    fn drop(&mut self) {
        self.lose();
    }
}

/// Resets a device: no DMA and no interrupts after this. One that is not there any more, which all
/// reads tell by ones, cannot be reset, and needs none as long as it stays away; it has a while to
/// come back. `false` if it does not.
pub(super) fn reset(vdev: *mut bindings::virtio_device) -> bool {
    const TICK_MS: i64 = 10;
    const PATIENCE_MS: i64 = 3000;

    for _ in 0..PATIENCE_MS / TICK_MS {
        // SAFETY: `vdev` is valid and bound; every transport provides `get_status`.
        let status = unsafe { (*(*vdev).config).get_status.map_or(0, |f| f(vdev)) };

        if status != 0xff {
            // SAFETY: As above.
            unsafe { bindings::storage_reset_device(vdev) };
            return true;
        }
        fsleep(Delta::from_millis(TICK_MS));
    }
    false
}

/// The virtqueues of a bound device, and who may use it. One lock, that of this, is held over each
/// whole transition: find, sleep, wake, restart, cancel, release.
#[derive(Default)]
pub(super) struct Queues {
    set: Option<QueueSet>,
    /// Since when the device sleeps, or is being reset behind its driver: it is not ours.
    asleep: Option<Instant<Monotonic>>,
    /// It was shut down.
    stopped: bool,
}

impl Queues {
    /// Cancels what is in flight and deletes the virtqueues.
    pub(super) fn lose(&mut self) {
        if let Some(set) = &mut self.set {
            set.lose();
        }
    }

    /// Resets the device and deletes the virtqueues; see [`QueueSet::take_back`].
    pub(super) fn take_back(&mut self, may_return: bool) -> Result {
        self.set
            .as_mut()
            .map_or(Ok(()), |set| set.take_back(may_return))
    }

    /// Finds the virtqueues that a device had which was reset.
    pub(super) fn find_again(&mut self) -> Result {
        self.set.as_mut().map_or(Ok(()), QueueSet::find)
    }

    /// Sends what was kept to a device that is ready again; `false` if there is no room for all of
    /// it after `pauses` of each queue.
    pub(super) fn replay(&self, pauses: usize) -> Result<bool> {
        self.set.as_ref().map_or(Ok(true), |set| set.replay(pauses))
    }

    /// How many tokens the device has given back so far, and how many there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        let queues = self.set.as_ref().map(|set| &*set.wanted.queues);

        queues
            .unwrap_or_default()
            .iter()
            .fold((0, 0), |(done, here), queue| {
                let counts = queue.counts();
                (done.wrapping_add(counts.0), here + counts.1)
            })
    }

    /// Whether a ring can work no more, or is gone: those of a device that was not there when it
    /// was to be reset, say, or that was given up, which may come back and claim to be ready.
    pub(super) fn is_lost(&self) -> bool {
        self.set.as_ref().is_some_and(|set| {
            let queues = &set.wanted.queues;

            !set.found || set.attached < queues.len() || queues.iter().any(|q| q.is_broken())
        })
    }

    /// Whether nobody may start the device but who wakes it.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.is_some() || self.stopped
    }

    /// Whether who has it sleep, or resets it, takes longer than `limit`.
    pub(super) fn sleeps_for(&self, limit: Delta) -> bool {
        self.asleep.is_some_and(|since| since.elapsed() > limit)
    }

    /// Nobody wakes it.
    pub(super) fn end_sleep(&mut self) {
        self.asleep = None;
    }
}

impl Device<device::Bound> {
    /// Finds the virtqueues and attaches the queues of `wanted` to them. The bus layer tears them
    /// down after the driver's data was dropped.
    ///
    /// May sleep. Fails with [`EBUSY`] if this was done already (see [`Self::start_over`]).
    pub fn find_vqs(&self, mut wanted: Builder) -> Result {
        // As all that allocates with the lock of the queues held: who goes to sleep takes it while
        // the I/O of the disk is frozen, and lockdep has one name for the locks of all devices.
        let _no_io = NoIo::enter();
        let vdev = self.as_raw();
        let mut queues = self.state().queues.lock();

        if queues.set.is_some() {
            return Err(EBUSY);
        }
        let watch = &self.state().context.watch;
        watch.set_queues(core::mem::take(&mut wanted.looks));
        // Callbacks may come as soon as a virtqueue exists.
        // SAFETY: `priv` is the state; nobody reads `table` yet. What it points to, a heap block,
        // moves into the set below; on errors the set is dropped without virtqueues.
        unsafe {
            (&raw mut (*(*vdev).priv_.cast::<Context>()).table).write(wanted.ptrs.as_ptr());
        }
        let set = queues.set.insert(QueueSet {
            vdev,
            wanted,
            found: false,
            attached: 0,
            lease: None,
        });
        set.find()
    }

    /// Takes the queues away from the device, so that others can be found: what is in flight is
    /// given back. To be followed by a reset. Fails with [`EBUSY`] if the device sleeps.
    pub(super) fn forget_queues(&self) -> Result {
        let _no_io = NoIo::enter();
        let mut queues = self.state().queues.lock();

        if queues.is_asleep() {
            return Err(EBUSY);
        }
        self.state().context.watch.set_queues(KVec::new());
        drop(queues.set.take());
        Ok(())
    }

    /// Says what the device is called in messages about its queues: the name of its disk, say.
    /// Once.
    pub fn set_label(&self, label: CString) {
        self.state().context.watch.set_label(label);
    }

    /// Which of the `queues` virtqueues from number `first` on interrupts each CPU, counted from 0.
    ///
    /// May sleep. Fails with [`EINVAL`] if not so many were found.
    pub fn interrupt_map(&self, first: u32, queues: u32) -> Result<CpuMap> {
        let _no_io = NoIo::enter();
        let held = self.state().queues.lock();
        let found = held.set.as_ref().filter(|set| set.found);
        let found = found.map_or(0, |set| set.wanted.queues.len());

        if first as usize + queues as usize > found {
            return Err(EINVAL);
        }
        // SAFETY: There are as many virtqueues, whose number is that of their interrupt for the
        // bus; with the lock held they stay.
        unsafe { CpuMap::of_interrupts(self.as_ref(), first, queues) }
    }

    /// Gives a device up that is broken or answers no more: resets it and cancels what is in
    /// flight. The virtqueues stay allocated but detached. May sleep.
    pub fn cancel_queues(&self) {
        let _no_io = NoIo::enter();

        if let Some(set) = &mut self.state().queues.lock().set {
            set.cancel();
        }
    }

    /// Gives back what is kept, for a device that others have, who bring it back, or for one whose
    /// rings had no room for it, and may not [wait](Handler::may_wait) for that any longer; the
    /// rest is sent then. May sleep.
    pub fn sift_queues(&self) {
        if let Some(set) = &self.state().queues.lock().set {
            set.wanted.queues.iter().for_each(|queue| queue.sift());
        }
    }

    /// A device that sleeps is put to sleep again, or reset by others again. May sleep.
    pub(super) fn renew_sleep(&self) {
        let mut queues = self.state().queues.lock();

        queues.asleep = queues.asleep.map(|_| Instant::now());
    }

    /// Lets go of a device that is going to sleep, or to be reset by others: its virtqueues are
    /// deleted, and until [`Self::wake`] nobody starts it. May sleep.
    pub(super) fn sleep(&self) {
        let _no_io = NoIo::enter();
        let mut queues = self.state().queues.lock();

        queues.asleep = Some(Instant::now());
        self.state().context.watch.begin_anew();
        // There should be nothing in flight any more. Who has it sleep, or resets it, takes care of
        // one that is not there.
        if queues.take_back(false).is_err() {
            queues.lose();
        }
        // A look may have told of them meanwhile.
        self.state().context.watch.begin_anew();
    }

    /// Starts a device that is back, with its features negotiated. If its virtqueues do not come
    /// back, its queues stay detached, those that replay held. May sleep.
    pub(super) fn wake(&self, configure: impl FnOnce() -> Result) -> Result {
        // The queues hold what is added meanwhile.
        let _no_io = NoIo::enter();
        let mut queues = self.state().queues.lock();

        queues.asleep = None;
        queues.find_again()?;
        configure()?;
        self.ready();
        self.send_again(&queues)
    }

    /// Stops the device for good: the system goes down. May sleep.
    pub(super) fn stop(&self) {
        let _no_io = NoIo::enter();
        let mut queues = self.state().queues.lock();

        queues.stopped = true;
        if let Some(set) = &mut queues.set {
            set.cancel();
        }
    }

    /// Deletes the virtqueues of a device that its driver leaves. May sleep.
    pub(super) fn release_queues(&self) {
        let set = self.state().queues.lock().set.take();

        drop(set);
    }
}
