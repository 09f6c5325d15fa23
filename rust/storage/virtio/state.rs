// SPDX-License-Identifier: GPL-2.0

//! What the bus layer keeps for each bound device, in `virtio_device::priv`.
//!
//! Queue contexts and the right to touch the device belong to the bus layer, not to the driver's
//! data: interrupts come before that data exists, and teardown must not depend on it.

use super::{
    context::Context,
    queues::Queues,
    vectors::Vectors,
    watch::Watch,
    Device, //
};
use crate::{
    bindings,
    tally::Ration, //
};
use core::ops::Deref;
use kernel::{
    device, new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// The right to use a device from contexts that may outlive its binding, such as a sysfs file of
/// its disk or a work item.
#[pin_data]
pub struct Binding {
    dev: ARef<Device>,
    #[pin]
    bound: Mutex<bool>,
    /// How many [`Kept`] there are.
    kept: Atomic<usize>,
}

/// A device that is bound as long as this lives: the end of its binding waits for that.
///
/// # Invariants
///
/// Counted in `kept` since the device was bound.
pub struct Kept(Arc<Binding>);

impl Deref for Kept {
    type Target = Device<device::Bound>;

    fn deref(&self) -> &Self::Target {
        // SAFETY: By the type invariant `revoke()`, which precedes the end of the binding, waits.
        unsafe { self.0.as_bound() }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Pairs with `revoke()`: what was done with the device is done.
        self.0.kept.fetch_sub(1, Release);
    }
}

impl Binding {
    pub(super) fn new(dev: &Device<device::Bound>) -> impl PinInit<Self, Error> + '_ {
        try_pin_init!(Self {
            dev: dev.into(),
            bound <- new_mutex!(true),
            kept: Atomic::new(0),
        }? Error)
    }

    /// Runs `f` on the device, and keeps the device bound so long; fails with [`ENXIO`] if it was
    /// unbound. May sleep.
    pub fn with<R>(&self, f: impl FnOnce(&Device<device::Bound>) -> Result<R>) -> Result<R> {
        let bound = self.bound.lock();

        if !*bound {
            return Err(ENXIO);
        }
        // SAFETY: The device is bound, and `revoke()`, which precedes the end of its binding, waits
        // for the lock.
        f(unsafe { self.as_bound() })
    }

    /// Keeps the device bound, unlike [`Self::with`] also beside others who use it; fails with
    /// [`ENXIO`] if it was unbound. Not for long: unbinding waits. May sleep.
    pub fn keep(self: &Arc<Self>) -> Result<Kept> {
        let bound = self.bound.lock();

        if !*bound {
            return Err(ENXIO);
        }
        self.kept.fetch_add(1, Relaxed);
        // INVARIANT: It was bound under the lock, and counted.
        Ok(Kept(self.clone()))
    }

    /// # Safety
    ///
    /// The device must be bound, and stay so.
    unsafe fn as_bound(&self) -> &Device<device::Bound> {
        let dev: *const Device = &*self.dev;

        // SAFETY: `Device` is the same for all contexts; by this function's safety requirements.
        unsafe { &*dev.cast::<Device<device::Bound>>() }
    }

    /// The device, whether it is bound or not: to print messages, say.
    pub fn device(&self) -> &Device {
        &self.dev
    }

    pub(super) fn revoke(&self) {
        const TICK_MS: i64 = 5;

        *self.bound.lock() = false;
        // From here on there are no new ones.
        while self.kept.load(Acquire) != 0 {
            fsleep(Delta::from_millis(TICK_MS));
        }
    }
}

/// The state of a bound device.
#[pin_data]
#[repr(C)]
pub(super) struct State {
    /// First: queues know this part only.
    #[pin]
    pub(super) context: Context,
    #[pin]
    pub(super) queues: Mutex<Queues>,
    pub(super) binding: Arc<Binding>,
    /// Who has the device: one of the three below.
    holder: Atomic<u32>,
    /// Virtio core keeps changes of the configuration to itself: it could not, or not yet, bring
    /// the device back.
    pub(super) deaf: Atomic<bool>,
    /// Its interrupt vectors, see [`Vectors::from_word`]: outside the lock of the queues, for who
    /// must not wait.
    pub(super) vectors: Atomic<u32>,
    /// What the log may say of its configuration that never rests: each interrupt has one read.
    pub(super) restless: Ration,
}

impl State {
    pub(super) fn new(dev: &Device<device::Bound>) -> Result<Pin<KBox<Self>>> {
        let binding = Arc::pin_init(Binding::new(dev), GFP_KERNEL)?;

        KBox::pin_init(
            try_pin_init!(Self {
                context <- try_pin_init!(Context {
                    table: core::ptr::null(),
                    watch <- Watch::new(dev.into()),
                }? Error),
                queues <- new_mutex!(Queues::default()),
                binding,
                holder: Atomic::new(DRIVER),
                deaf: Atomic::new(false),
                vectors: Atomic::new(Vectors::NONE),
                restless: Ration::new(),
            }? Error),
            GFP_KERNEL,
        )
    }
}

/// Its driver has the device.
const DRIVER: u32 = 0;

/// The device sleeps, or is being reset by others: its driver let go of it.
const OTHERS: u32 = 1;

/// They are giving it back.
const RETURNING: u32 = 2;

impl State {
    /// The driver has let go of the device.
    pub(super) fn lend(&self) {
        self.holder.store(OTHERS, Release);
    }

    /// Others begin to give the device back, to which [`Self::end_return`] is the end; `false` if
    /// they have it no more.
    pub(super) fn begin_return(&self) -> bool {
        self.holder.cmpxchg(OTHERS, RETURNING, Full).is_ok()
    }

    /// The driver has it. From here on the device may be unbound.
    pub(super) fn end_return(&self) {
        self.holder.store(DRIVER, Release);
    }

    /// Takes the device from others, for good; `false` if they do not have it, or are giving it
    /// back just now.
    pub(super) fn recall(&self) -> bool {
        self.holder.cmpxchg(OTHERS, DRIVER, Full).is_ok()
    }
}

/// How long others may take who reset the device, or have it sleep: longer than any bus does.
pub(super) const PATIENCE: Delta = Delta::from_secs(120);

impl Device<device::Bound> {
    /// The state that `probe_callback()` stored.
    pub(super) fn state(&self) -> &State {
        // SAFETY: The adapter sets `priv` before it calls the driver's `probe`, and frees the
        // state after the driver's data, when no `Device<Bound>` is left.
        unsafe { &*(*self.as_raw()).priv_.cast::<State>() }
    }

    /// Waits until a device that others have is back. `false` if they do not bring it back in two
    /// minutes, longer than any bus takes for a reset: from then on they cannot. May sleep.
    pub(super) fn wait_until_resumed(&self) -> bool {
        const TICK: Delta = Delta::from_millis(10);
        let since = Instant::<Monotonic>::now();

        while self.is_lent() {
            if since.elapsed() > PATIENCE && self.state().recall() {
                return false;
            }
            fsleep(TICK);
        }
        true
    }

    /// Whether others have the device, who bring it back: it sleeps, or they reset it.
    pub(super) fn is_lent(&self) -> bool {
        self.state().holder.load(Acquire) != DRIVER
    }

    /// The interrupt vectors of a device that is on a [`Budget`](super::vectors::Budget); `None` if
    /// it takes none of the machine's: its transport is another one than PCI. Any context.
    pub fn vectors(&self) -> Option<Vectors> {
        // SAFETY: The device is bound.
        let has = unsafe { bindings::storage_has_vectors(self.as_raw()) };

        has.then(|| Vectors::from_word(self.state().vectors.load(Relaxed)))
    }

    /// The right to use this device later.
    pub fn binding(&self) -> Arc<Binding> {
        self.state().binding.clone()
    }
}
