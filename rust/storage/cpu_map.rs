// SPDX-License-Identifier: GPL-2.0

//! Maps of CPUs to queues: for drivers without blk-mq, and for the maps of those with it.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use crate::bindings;
use kernel::{
    alloc::NumaNode,
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
pub struct CpuMap {
    queues: KVec<u32>,
    first: u32,
}

impl CpuMap {
    /// Spreads the CPUs evenly over the `queues` (one at least) that begin with number `first`:
    /// the same map that blk-mq makes. May sleep. C counterpart: `blk_mq_map_queues()`.
    pub fn new(first: u32, queues: u32) -> Result<Self> {
        Self::make(first, queues, |raw| {
            // SAFETY: `mq_map` has an entry for each CPU.
            unsafe { bindings::blk_mq_map_queues(raw) }
        })
    }

    /// Gives each CPU that of `queues` queues, from 0 on, whose interrupt it gets, as the bus of
    /// `dev` says, which counts them from `offset` on. May sleep. C counterpart:
    /// `blk_mq_map_hw_queues()`.
    ///
    /// # Safety
    ///
    /// The bus must know as many interrupts of the device, and keep them meanwhile.
    pub(crate) unsafe fn of_interrupts(
        dev: &device::Device,
        offset: u32,
        queues: u32,
    ) -> Result<Self> {
        let dev: *const device::Device = dev;

        Self::make(0, queues, |raw| {
            // SAFETY: `mq_map` has an entry for each CPU; `device::Device` is a transparent
            // wrapper; the rest by this function's safety requirements.
            unsafe { bindings::blk_mq_map_hw_queues(raw, dev.cast_mut().cast(), offset) }
        })
    }

    fn make(
        first: u32,
        queues: u32,
        fill: impl FnOnce(&mut bindings::blk_mq_queue_map),
    ) -> Result<Self> {
        // SAFETY: Always safe to call.
        let cpus = unsafe { bindings::storage_nr_cpu_ids() };
        let mut map = KVec::from_elem(first, cpus as usize, GFP_KERNEL)?;

        fill(&mut bindings::blk_mq_queue_map {
            mq_map: map.as_mut_ptr(),
            nr_queues: queues,
            queue_offset: first,
        });
        Ok(Self { queues: map, first })
    }

    /// Copies the map to one of blk-mq's, for those queues that this has; the CPUs of others get
    /// its first one.
    ///
    /// # Safety
    ///
    /// `raw` must be a map of a tag set, with an entry for each CPU.
    pub(crate) unsafe fn copy_to(&self, raw: &mut bindings::blk_mq_queue_map) {
        for (cpu, queue) in self.queues.iter().enumerate() {
            let queue = queue - self.first;
            let queue = if queue < raw.nr_queues { queue } else { 0 };

            // SAFETY: Both maps have an entry for each CPU.
            unsafe { raw.mq_map.add(cpu).write(raw.queue_offset + queue) };
        }
    }

    /// The lowest number of a queue.
    pub fn first(&self) -> usize {
        self.first as usize
    }

    /// The memory next to the first of the CPUs that use `queue`.
    pub fn node_of(&self, queue: usize) -> NumaNode {
        let cpu = self.queues.iter().position(|used| *used as usize == queue);

        // SAFETY: The map has an entry for each CPU.
        cpu.and_then(|cpu| NumaNode::new(unsafe { bindings::storage_cpu_to_node(cpu as u32) }).ok())
            .unwrap_or(NumaNode::NO_NODE)
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
