// SPDX-License-Identifier: GPL-2.0

//! Interrupt vectors: a budget of them for all devices of a driver.
//!
//! A device behind virtio PCI that has a vector for each queue takes one of every CPU, and a CPU
//! of x86 has about 200. With devices by the hundred none would be left for others, a network
//! card, say. So the first devices have a vector for each queue, those that come later one for all
//! queues, and when even that is too much they interrupt by their line, which they share with
//! others.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use crate::bindings;
use kernel::{
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// How the queues of a device interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// Each has a vector of its own.
    Each,
    /// All have one vector.
    Shared,
    /// By the device's line, without vectors.
    Line,
}

/// The interrupt vectors of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vectors {
    /// How many it has, with that for changes of its configuration.
    pub count: u32,
    /// How its queues share them; `None` if it has no virtqueues just now.
    pub sharing: Option<Sharing>,
}

impl fmt::Display for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sharing = match self.sharing {
            Some(Sharing::Each) => "each",
            Some(Sharing::Shared) => "shared",
            Some(Sharing::Line) => "line",
            None => "none",
        };

        f.write_fmt(fmt!("{} {}", self.count, sharing))
    }
}

impl Vectors {
    /// No virtqueues.
    pub(super) const NONE: u32 = 0;

    /// As one word, other than [`Self::NONE`] if there are virtqueues.
    fn to_word(sharing: Sharing, count: u32) -> u32 {
        count << 2 | (sharing as u32 + 1)
    }

    pub(super) fn from_word(word: u32) -> Self {
        Self {
            count: word >> 2,
            sharing: match word & 3 {
                1 => Some(Sharing::Each),
                2 => Some(Sharing::Shared),
                3 => Some(Sharing::Line),
                _ => None,
            },
        }
    }
}

/// For changes of the configuration, and for all queues.
const SHARED: u32 = 2;

/// A budget of interrupt vectors, for all devices of a driver: a static.
pub struct Budget {
    limit: fn() -> u32,
    /// What is spent on devices with a vector for each queue (above), and on others (below): one
    /// word, so that devices may be probed side by side.
    spent: Atomic<u64>,
    /// The limit, and which of the two things to tell was told of it.
    told: Atomic<u64>,
}

impl Budget {
    /// A budget of as many vectors as `limit` says at the time, with all that devices have; 0 for
    /// what suits the machine: three quarters of its vectors, if these are few, else no limit.
    pub const fn new(limit: fn() -> u32) -> Self {
        Self {
            limit,
            spent: Atomic::new(0),
            told: Atomic::new(0),
        }
    }

    fn limit(&self) -> u32 {
        // SAFETY: Always safe to call.
        let of_machine = || match unsafe { bindings::storage_machine_vectors() } {
            0 => u32::MAX,
            all => all / 4 * 3,
        };

        match (self.limit)() {
            0 => of_machine(),
            limit => limit,
        }
    }

    fn split(word: u64) -> (u32, u32) {
        ((word >> 32) as u32, word as u32)
    }

    /// Spends what `f` makes of what is spent; `false` if it makes nothing of it.
    fn spend(&self, f: impl Fn(u32, u32) -> Option<(u32, u32)>) -> bool {
        let mut now = self.spent.load(Relaxed);

        loop {
            let (each, others) = Self::split(now);
            let Some((each, others)) = f(each, others) else {
                return false;
            };
            match self
                .spent
                .cmpxchg(now, u64::from(each) << 32 | u64::from(others), Relaxed)
            {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Whether something that is told once for each limit is to be told now.
    fn is_news(&self, limit: u32, sharing: Sharing) -> bool {
        let news = u64::from(limit) << 2 | sharing as u64;
        let told = self.told.load(Relaxed);

        if told >> 2 == news >> 2 && told >= news {
            return false;
        }
        self.told.cmpxchg(told, news, Relaxed).is_ok()
    }
}

/// What a device has of a budget. Goes back when it is dropped.
pub(super) struct Lease {
    budget: &'static Budget,
    cost: u32,
    sharing: Sharing,
    /// Those that interrupt.
    queues: u32,
}

impl Lease {
    /// For a device with so many `queues` that interrupt, whose vectors the kernel `managed`: it
    /// then keeps a place on each CPU, however many queues there are. `None` if it takes no
    /// vectors of the machine, as it is not behind virtio PCI.
    pub(super) fn take(
        budget: &'static Budget,
        vdev: *mut bindings::virtio_device,
        queues: u32,
        managed: bool,
    ) -> Option<Self> {
        // SAFETY: By the caller the device is bound.
        if !unsafe { bindings::storage_has_vectors(vdev) } {
            return None;
        }
        // SAFETY: Always safe to call.
        let cpus = unsafe { bindings::storage_num_online_cpus() };
        let each = 1 + if managed { cpus } else { queues };
        let limit = budget.limit();
        let fits = |a: u32, b: u32| a.saturating_add(b) <= limit;
        // Half is for those that come later, unless they could not take less.
        let first = if each > SHARED { limit / 2 } else { limit };

        let sharing = if budget.spend(|a, b| {
            let a = a.saturating_add(each);
            (a <= first && fits(a, b)).then_some((a, b))
        }) {
            Sharing::Each
        } else if budget.spend(|a, b| {
            let b = b.saturating_add(SHARED);
            fits(a, b).then_some((a, b))
        }) {
            Sharing::Shared
        } else {
            Sharing::Line
        };
        Some(Self {
            budget,
            cost: match sharing {
                Sharing::Each => each,
                Sharing::Shared => SHARED,
                Sharing::Line => 0,
            },
            sharing,
            queues,
        })
    }

    pub(super) fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Beyond the budget: the device cannot interrupt by its line.
    pub(super) fn share(&mut self) {
        self.change(Sharing::Shared, SHARED);
    }

    /// If the budget was the reason, and it was not told yet: its limit, and what is done.
    pub(super) fn news(&self) -> Option<(u32, &'static str)> {
        let limit = self.budget.limit();
        let what = match self.sharing {
            Sharing::Each => return None,
            Sharing::Shared => "the queues of a device share one",
            Sharing::Line => "devices interrupt by their line",
        };

        self.budget
            .is_news(limit, self.sharing)
            .then_some((limit, what))
    }

    /// The virtqueues were found: pays what the device has got, which is less than was wanted if
    /// it, or the machine, has no more. Returns that as one word, see [`Vectors::from_word`].
    pub(super) fn settle(&mut self, vdev: *mut bindings::virtio_device) -> u32 {
        // SAFETY: The device is bound, and its vectors stay while it has virtqueues.
        let count = unsafe { bindings::storage_count_vectors(vdev) };

        match count {
            0 => self.change(Sharing::Line, 0),
            count if self.sharing == Sharing::Each && count > self.queues => (),
            count => self.change(Sharing::Shared, count),
        }
        Vectors::to_word(self.sharing, count)
    }

    fn change(&mut self, sharing: Sharing, cost: u32) {
        self.give_back();
        // What a device has it has, also beyond the budget.
        self.budget
            .spend(|each, others| Some((each, others.saturating_add(cost))));
        self.sharing = sharing;
        self.cost = cost;
    }

    fn give_back(&self) {
        self.budget.spend(|each, others| {
            Some(match self.sharing {
                Sharing::Each => (each.saturating_sub(self.cost), others),
                _ => (each, others.saturating_sub(self.cost)),
            })
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
