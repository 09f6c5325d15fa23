// SPDX-License-Identifier: GPL-2.0

//! Bio mode: bios go straight to the virtqueues, without requests, tags or a scheduler.
//!
//! Here a bio finds its queue, together with others if it can; what comes of it is in `bio_queue`.

use crate::{
    bio_queue::BioQueue,
    gate::Gate, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use storage::{
    block::{
        bio::{
            Bio,
            BioList, //
        },
        plug, //
    },
    cpu_map::CpuMap,
    virtio::queue::Queue,
};

/// The path of a disk's bios: a queue for each CPU, as far as the device has them.
pub(crate) struct BioPath {
    /// Those that interrupt, then those that are polled.
    pub(crate) queues: KVec<Arc<Queue<BioQueue>>>,
    /// Which of them each CPU uses, and for bios that are polled for.
    pub(crate) map: Arc<CpuMap>,
    pub(crate) poll_map: Option<CpuMap>,
    pub(crate) gate: Arc<Gate>,
}

impl BioPath {
    /// Takes a bio of the disk, which may be larger than its limits.
    pub(crate) fn submit(this: &Arc<plug::Plugged<Self>>, bio: Bio) {
        let Some(mut bio) = bio.split_to_limits() else {
            return;
        };

        if let (true, Some(map)) = (bio.is_polled(), &this.poll_map) {
            bio.set_cookie(map.current() as u32);
        }
        if let Err(bio) = plug::add(this, bio) {
            let mut bios = BioList::new();

            bios.push(bio);
            this.submit_list(bios, false);
        }
    }

    /// Gives bios to this CPU's queue, or to those that they are polled on: one lock and one kick
    /// for those in a row that go to the same. Unless `atomic`, sleeps while the line is too long.
    pub(crate) fn submit_list(&self, mut bios: BioList, atomic: bool) {
        let here = self.map.current();

        while let Some(bio) = bios.pop() {
            let index = self.queue_of(&bio, here);
            let Some(queue) = self.queues.get(index) else {
                return;
            };
            // Who polls must not sleep: nobody else would make the line shorter.
            let may_sleep = !atomic && index == here;
            let next = || bios.pop_if(|bio| self.queue_of(bio, here) == index);

            BioQueue::take_row(queue, bio, next, may_sleep);
        }
    }

    /// The queue of a bio that is submitted by a CPU whose queue is `here`.
    #[inline]
    fn queue_of(&self, bio: &Bio, here: usize) -> usize {
        if bio.is_polled() && self.poll_map.is_some() {
            bio.cookie() as usize
        } else {
            here
        }
    }

    /// Ends what the device has done on the polled queue `index`.
    pub(crate) fn poll(&self, index: usize) -> usize {
        self.queues.get(index).map_or(0, BioQueue::poll)
    }

    /// As [`Self::poll`], on all polled queues.
    pub(crate) fn poll_all(&self) {
        if let Some(map) = &self.poll_map {
            for queue in self.queues.iter().skip(map.first()) {
                BioQueue::poll(queue);
            }
        }
    }

    /// From here on bios wait, and flushes between their steps; to be followed by a
    /// [release](Self::release).
    pub(crate) fn hold(&self) {
        self.queues.iter().for_each(|queue| BioQueue::hold(queue));
    }

    /// Lets them go on, if nobody else holds them.
    pub(crate) fn release(&self) {
        self.queues.iter().for_each(BioQueue::release);
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_drained(&self) -> bool {
        self.queues
            .iter()
            .all(|queue| queue.lock().ring.in_flight() == 0)
    }

    /// Whether nothing is in flight, nor waits to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.queues.iter().all(|queue| BioQueue::is_idle(queue)) && self.gate.is_idle()
    }
}

impl plug::Batch for BioPath {
    fn submit_batch(&self, bios: BioList, atomic: bool) {
        self.submit_list(bios, atomic);
    }
}
