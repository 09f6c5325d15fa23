// SPDX-License-Identifier: GPL-2.0

//! This module provides the `TagSet` struct to wrap the C `struct blk_mq_tag_set`.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::operations::{
    Operations,
    OperationsVTable,
    QueueCounts, //
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

/// A tag set of any driver, to be kept alive.
pub(crate) trait AnyTagSet: Send + Sync {}

impl<T: Operations> AnyTagSet for TagSet<T> {}

/// A wrapper for the C `struct blk_mq_tag_set`: the requests of the disks made of it.
///
/// # Invariants
///
/// `inner` is initialized and valid, and its `driver_data` comes from `into_foreign()`. It has a
/// hardware queue for each that `counts` has, or fewer if none is polled.
#[pin_data(PinnedDrop)]
pub struct TagSet<T: Operations> {
    counts: QueueCounts,
    #[pin]
    inner: Opaque<bindings::blk_mq_tag_set>,
    _p: PhantomData<T>,
}

// SAFETY: The block layer serializes what it does with a tag set; the driver's data is `Send`.
unsafe impl<T: Operations> Send for TagSet<T> {}
// SAFETY: As above; the driver's data is `Sync`.
unsafe impl<T: Operations> Sync for TagSet<T> {}

impl<T: Operations> TagSet<T> {
    /// Allocates `num_tags` requests for each of the hardware queues, of which there are `queues`:
    /// one at least that interrupts. May sleep.
    ///
    /// C counterpart: `blk_mq_alloc_tag_set()`.
    pub fn new(
        num_tags: u32,
        queues: QueueCounts,
        data: T::TagSetData,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Before `inner`: the callbacks read it.
            counts: {
                queues.check()?;
                if queues.poll > 0 && !T::HAS_POLL {
                    return Err(EINVAL);
                }
                queues
            },
            inner <- Opaque::try_ffi_init(move |set: *mut bindings::blk_mq_tag_set| {
                let data = data.into_foreign();

                // SAFETY: `set` is valid for writes.
                to_result(unsafe {
                    set.write(bindings::blk_mq_tag_set {
                        ops: OperationsVTable::<T>::build(),
                        nr_hw_queues: queues.all(),
                        queue_depth: num_tags,
                        numa_node: bindings::NUMA_NO_NODE,
                        cmd_size: size_of::<T::RequestData>() as u32,
                        driver_data: data.cast(),
                        nr_maps: queues.maps(),
                        ..Default::default()
                    });
                    bindings::blk_mq_alloc_tag_set(set)
                })
                .inspect_err(|_| {
                    // SAFETY: The tag set does not exist.
                    drop(unsafe { T::TagSetData::from_foreign(data) })
                })
            }),
            _p: PhantomData,
        }? Error)
    }

    /// The counts that the tag set was made with.
    ///
    /// # Safety
    ///
    /// `set` must be that of a `TagSet<T>`, which may still be under way in [`Self::new`].
    pub(super) unsafe fn counts(set: *mut bindings::blk_mq_tag_set) -> QueueCounts {
        // SAFETY: By this function's safety requirements; the counts are there before `inner`.
        unsafe { (*container_of!(Opaque::cast_from(set), Self, inner)).counts }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::blk_mq_tag_set {
        self.inner.get()
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for TagSet<T> {
    fn drop(self: Pin<&mut Self>) {
        let set = self.as_raw();

        // SAFETY: The tag set is valid and in use no more.
        unsafe {
            bindings::blk_mq_free_tag_set(set);
            drop(T::TagSetData::from_foreign((*set).driver_data.cast()));
        }
    }
}
