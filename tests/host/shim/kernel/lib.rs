// SPDX-License-Identifier: GPL-2.0

//! What the pure files use of the kernel crate.

pub use core::fmt;

pub mod page {
    pub const PAGE_SIZE: usize = 4096;
}

pub mod sync {
    pub mod atomic {
        use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

        pub struct Atomic<T>(AtomicU64, core::marker::PhantomData<T>);
        pub struct Full;
        pub struct Relaxed;

        impl Atomic<u64> {
            pub const fn new(value: u64) -> Self {
                Self(AtomicU64::new(value), core::marker::PhantomData)
            }

            pub fn load(&self, _: Relaxed) -> u64 {
                self.0.load(SeqCst)
            }

            pub fn cmpxchg(&self, old: u64, new: u64, _: Full) -> Result<u64, u64> {
                self.0.compare_exchange(old, new, SeqCst, SeqCst)
            }
        }
    }
}
