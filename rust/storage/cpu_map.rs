// SPDX-License-Identifier: GPL-2.0

//! A map of CPUs to queues for drivers without blk-mq.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use crate::bindings;
use kernel::prelude::*;

/// How many of `max` queues it makes sense to use: not more than there are CPUs; all of those if
/// `max` is 0. C counterpart: `blk_mq_num_possible_queues()`.
pub fn num_possible_queues(max: u32) -> u32 {
    // SAFETY: Always safe to call.
    unsafe { bindings::blk_mq_num_possible_queues(max) }
}

/// Which queue each CPU uses.
pub struct CpuMap {
    queues: KVec<u32>,
    first: u32,
}

impl CpuMap {
    /// Spreads the CPUs evenly over the `queues` (one at least) that begin with number `first`:
    /// the same map that blk-mq makes. May sleep. C counterpart: `blk_mq_map_queues()`.
    pub fn new(first: u32, queues: u32) -> Result<Self> {
        // SAFETY: Always safe to call.
        let cpus = unsafe { bindings::storage_nr_cpu_ids() };
        let mut map = KVec::from_elem(first, cpus as usize, GFP_KERNEL)?;
        let mut raw = bindings::blk_mq_queue_map {
            mq_map: map.as_mut_ptr(),
            nr_queues: queues,
            queue_offset: first,
        };

        // SAFETY: `mq_map` has an entry for each CPU.
        unsafe { bindings::blk_mq_map_queues(&mut raw) };
        Ok(Self { queues: map, first })
    }

    /// The lowest number of a queue.
    pub fn first(&self) -> usize {
        self.first as usize
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.queues
    }

    /// The queue of the current CPU; a hint, since the task may move.
    #[inline]
    pub fn current(&self) -> usize {
        // SAFETY: Always safe to call.
        let cpu = unsafe { bindings::storage_smp_processor_id() };

        let queue = self.queues.get(cpu as usize).unwrap_or(&self.first);
        *queue as usize
    }
}
