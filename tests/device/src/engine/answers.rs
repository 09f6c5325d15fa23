// SPDX-License-Identifier: GPL-2.0

//! Answers on their way to the driver: in the order, at the time and with the faults that they were
//! planned with.

use super::{
    Ring,
    State, //
};
use crate::{
    faults::{
        Delivery,
        FalseId, //
    },
    lies::put_id,
    model::{
        Asks,
        Ends,
        Key, //
    },
    settings::Order, //
};
use std::{
    collections::BTreeMap,
    io::Write,
    time::Instant, //
};
use vhost_user_backend::VringT;
use virtio_queue::{
    QueueOwnedT,
    QueueT, //
};
use vm_memory::{
    Bytes,
    GuestAddress,
    GuestAddressSpace, //
};

/// An answer that the driver has not seen yet.
pub(super) struct Answer {
    pub(super) due: Instant,
    pub(super) queue: u16,
    pub(super) id: u16,
    pub(super) used: u32,
    pub(super) delivery: Delivery,
    pub(super) key: Option<Key>,
    /// Where the answer begins in memory.
    pub(super) at: Option<GuestAddress>,
}

impl State {
    /// Ends requests that wait: those that were dropped get another answer, the others theirs.
    pub(super) fn end(&mut self, ends: &Ends) {
        let all = std::mem::take(&mut self.held);
        let (mut ended, held): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|answer| answer.key.as_ref().is_some_and(&ends.which));

        self.held = held;
        for answer in &mut self.pending {
            if answer.key.as_ref().is_some_and(&ends.which) {
                answer.due = Instant::now();
            }
        }
        for answer in &mut ended {
            answer.due = Instant::now();
            if let (Some(ring), Some(at)) = (self.rings.get(&answer.queue), answer.at) {
                if let Err(e) = ring.memory.memory().write_slice(&ends.answer, at) {
                    eprintln!("blkdev: an answer: {e}");
                }
            }
        }
        self.pending.append(&mut ended);
    }

    /// Whether a request waits: dropped, or for its time. One that was swallowed does not.
    pub(super) fn has(&self, asks: &Asks) -> bool {
        let waits = |answer: &Answer| answer.key.as_ref().is_some_and(&asks.which);

        self.held.iter().any(waits) || self.pending.iter().any(waits)
    }

    /// Puts messages into the buffers that the driver gave for them.
    pub(super) fn send(&mut self) {
        while let Some(message) = self.messages.front().cloned() {
            let Some(ring) = self.rings.get(&message.queue).cloned() else {
                return;
            };
            let memory = ring.memory.memory();
            let next = match ring.vring.get_mut().get_queue_mut().iter(memory.clone()) {
                Ok(mut chains) => chains.next(),
                Err(_) => None,
            };
            let Some(chain) = next else {
                // The driver shall tell of the next buffer, unless it came just now.
                if ring.vring.enable_notification().unwrap_or(false) {
                    continue;
                }
                return;
            };
            let id = chain.head_index();
            let bytes = &message.bytes;
            let written = chain
                .writer(&memory)
                .map_err(|e| format!("{e:?}"))
                .and_then(|mut to| to.write_all(bytes).map_err(|e| e.to_string()));
            let outcome = written.map_or_else(|e| e, |()| "sent".into());

            self.note(&format!(
                "message q={} bytes={bytes:02x?} {outcome}",
                message.queue
            ));
            self.pending.push(Answer {
                due: Instant::now(),
                queue: message.queue,
                id,
                used: message.delivery.used.unwrap_or(bytes.len() as u32),
                delivery: message.delivery,
                key: None,
                at: None,
            });
            self.messages.pop_front();
        }
    }

    /// Hands due answers to the driver, with one interrupt for each ring.
    pub(super) fn deliver(&mut self) {
        let now = Instant::now();
        let all = std::mem::take(&mut self.pending);
        let (mut due, later): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|answer| answer.due <= now);

        self.pending = later;
        match self.order {
            Order::Fifo => (),
            Order::Reversed => due.reverse(),
            Order::Random => due.sort_by_key(|answer| answer.due),
        }
        let mut interrupts: BTreeMap<u16, bool> = BTreeMap::new();
        for answer in &due {
            let Some(ring) = self.rings.get(&answer.queue) else {
                continue;
            };
            let all = due.iter().chain(&self.pending).chain(&self.held);
            let forced = put(ring, answer, |id| {
                all.clone()
                    .any(|other| other.queue == answer.queue && other.id == id)
            });
            if !answer.delivery.noirq {
                *interrupts.entry(answer.queue).or_default() |= forced;
            }
        }
        for (queue, forced) in interrupts {
            if let Some(ring) = self.rings.get(&queue) {
                if ring.vring.needs_notification().unwrap_or(true) || forced {
                    (ring.interrupt)();
                }
            }
        }
    }
}

/// Puts one answer into the used ring; true if only we know that an interrupt is due. `taken` tells
/// which ids we owe an answer.
fn put(ring: &Ring, answer: &Answer, taken: impl Fn(u16) -> bool) -> bool {
    let size = ring.vring.get_ref().get_queue().size();
    let id = match answer.delivery.id {
        None => answer.id.into(),
        Some(FalseId::Value(id)) => id,
        Some(FalseId::Other) => other_id(size, answer.id, taken),
    };

    put_id(ring, id, answer.used, 1 + u16::from(answer.delivery.double))
}

/// An id that is not that of the request, nor of another one: a driver takes its ids from the lower
/// end, so one of the upper end is not even of a request that we have not seen yet. Else a driver could
/// not tell: that request would end with whatever lies where its status belongs.
fn other_id(size: u16, id: u16, taken: impl Fn(u16) -> bool) -> u32 {
    let free = (0..size).rev().find(|other| *other != id && !taken(*other));

    u32::from(free.unwrap_or((id + 1) % size))
}
