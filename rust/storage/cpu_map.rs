// SPDX-License-Identifier: GPL-2.0

//! A map of CPUs to queues for drivers without blk-mq.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use crate::bindings;
use kernel::{
    device,
    prelude::*, //
};

/// How many of `max` queues it makes sense to use: not more than there are CPUs; all of those if
/// `max` is 0. C counterpart: `blk_mq_num_possible_queues()`.
pub fn num_possible_queues(max: u32) -> u32 {
    // SAFETY: Always safe to call.
    unsafe { bindings::blk_mq_num_possible_queues(max) }
}

/// Which queue each CPU uses.
pub struct CpuMap(KVec<u32>);

impl CpuMap {
    /// Gives each CPU the queue, of `queues`, whose interrupt it gets, as the bus of `dev` says:
    /// the same map that blk-mq would use. May sleep.
    pub fn new(dev: &device::Device, queues: u32) -> Result<Self> {
        // SAFETY: Always safe to call.
        let cpus = unsafe { bindings::storage_nr_cpu_ids() };
        let mut map = KVec::from_elem(0, cpus as usize, GFP_KERNEL)?;
        let mut raw = bindings::blk_mq_queue_map {
            mq_map: map.as_mut_ptr(),
            nr_queues: queues,
            queue_offset: 0,
        };
        let dev: *const device::Device = dev;

        // SAFETY: `mq_map` has an entry for each CPU; `device::Device` is a transparent wrapper.
        unsafe { bindings::blk_mq_map_hw_queues(&mut raw, dev.cast_mut().cast(), 0) };
        Ok(Self(map))
    }

    /// The queue of the current CPU; a hint, since the task may move.
    #[inline]
    pub fn current(&self) -> usize {
        // SAFETY: Always safe to call.
        let cpu = unsafe { bindings::storage_smp_processor_id() };

        self.0.get(cpu as usize).map_or(0, |queue| *queue as usize)
    }
}
