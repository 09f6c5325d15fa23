// SPDX-License-Identifier: GPL-2.0

//! The engine: takes requests off the rings, has them done, and answers in the order, at the time
//! and with the faults that the test wants. It knows nothing of the two front ends, nor what the
//! requests mean (`model.rs`).

use crate::{
    faults::{
        Delivery,
        FalseId, //
    },
    lies::{
        Liar,
        Lie,
        Random, //
    },
    model::{
        Ends,
        Exchange,
        Key,
        Message,
        Model,
        Served, //
    },
    settings::Order, //
};
use std::{
    collections::{
        BTreeMap,
        VecDeque, //
    },
    fs::File,
    io::{
        Read,
        Write, //
    },
    path::PathBuf,
    sync::{
        atomic::Ordering,
        Arc,
        Condvar,
        Mutex,
        MutexGuard, //
    },
    time::{
        Duration,
        Instant, //
    },
};
use vhost_user_backend::{
    VringMutex,
    VringT, //
};
use virtio_queue::{
    DescriptorChain,
    QueueOwnedT,
    QueueT, //
};
use vm_memory::{
    Address,
    Bytes,
    GuestAddress,
    GuestAddressSpace,
    GuestMemoryAtomic,
    GuestMemoryLoadGuard,
    GuestMemoryMmap, //
};

pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;
pub type Vring = VringMutex<Memory>;
type Guard = GuestMemoryLoadGuard<GuestMemoryMmap>;

/// A running ring: its queue, the memory that it lies in, and its interrupt.
#[derive(Clone)]
pub struct Ring {
    pub vring: Vring,
    pub memory: Memory,
    pub interrupt: Arc<dyn Fn() + Send + Sync>,
    /// Maps what the driver has made accessible by now.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
}

/// Where a field of the configuration space lies: offset and bytes.
type Place = fn(&str) -> Result<(usize, usize), String>;

/// What the engine has to know of the device's settings.
pub struct Options {
    pub config: Vec<u8>,
    pub place: Place,
    pub order: Order,
    pub latency_ms: u64,
    pub seed: u64,
    pub log: Option<PathBuf>,
}

/// What a front end does beside rings.
pub trait Front: Send + Sync {
    /// The configuration space has these bytes at this offset now; the driver should be told.
    fn config_changed(&self, offset: usize, bytes: &[u8]) -> Result<(), String>;

    /// Ends the connection.
    fn disconnect(&self) -> Result<(), String>;
}

/// An answer that the driver has not seen yet.
struct Answer {
    due: Instant,
    queue: u16,
    id: u16,
    used: u32,
    delivery: Delivery,
    key: Option<Key>,
    /// Where the answer begins in memory.
    at: Option<GuestAddress>,
}

struct State {
    model: Box<dyn Model>,
    place: Place,
    config: Vec<u8>,
    order: Order,
    latency: Duration,
    random: Random,
    /// Who cheats, if anybody.
    liar: Option<Liar>,
    /// Nothing is taken off the rings.
    silent: bool,
    /// So many notifications of the driver are not heard.
    deaf: u64,
    /// The event index of the rings is not kept up.
    stale: bool,
    rings: BTreeMap<u16, Ring>,
    pending: Vec<Answer>,
    /// Dropped, until they are released.
    held: Vec<Answer>,
    /// Those that the driver had no buffer for yet.
    messages: VecDeque<Message>,
    seen: u64,
    log: Option<File>,
    front: Option<Arc<dyn Front>>,
}

pub struct Engine {
    state: Mutex<State>,
    wake: Condvar,
}

/// In the orders that are none, how long answers are gathered at least.
const WINDOW: Duration = Duration::from_millis(2);

impl Engine {
    pub fn new(model: Box<dyn Model>, options: Options) -> Result<Arc<Self>, String> {
        let log = match &options.log {
            Some(path) => Some(File::create(path).map_err(|e| format!("{}: {e}", path.display()))?),
            None => None,
        };
        let engine = Arc::new(Self {
            state: Mutex::new(State {
                model,
                place: options.place,
                config: options.config,
                order: options.order,
                latency: Duration::from_millis(options.latency_ms),
                random: Random::new(options.seed),
                liar: None,
                silent: false,
                deaf: 0,
                stale: false,
                rings: BTreeMap::new(),
                pending: Vec::new(),
                held: Vec::new(),
                messages: VecDeque::new(),
                seen: 0,
                log,
                front: None,
            }),
            wake: Condvar::new(),
        });
        let late = engine.clone();
        std::thread::spawn(move || late.deliver_late());
        Ok(engine)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one thread leaves nothing to trust.
        self.state.lock().expect("another thread panicked")
    }

    pub fn set_front(&self, front: Arc<dyn Front>) {
        self.lock().front = Some(front);
    }

    /// The bytes of the configuration space; zeroes after its end.
    pub fn read_config(&self, offset: usize, size: usize) -> Vec<u8> {
        let state = self.lock();

        (offset..offset + size)
            .map(|at| state.config.get(at).copied().unwrap_or(0))
            .collect()
    }

    /// The driver writes to the configuration space.
    pub fn write_config(&self, offset: usize, bytes: &[u8]) {
        let mut state = self.lock();

        if let Some(to) = state.config.get_mut(offset..offset + bytes.len()) {
            to.copy_from_slice(bytes);
        }
        state.note(&format!("# config offset={offset} bytes={bytes:?}"));
    }

    /// The driver has accepted these features.
    pub fn accepted(&self, features: u64) {
        self.lock().model.accepted(features);
    }

    /// A ring runs now; what is in it already will be kicked.
    pub fn attach(&self, queue: u16, ring: Ring) {
        self.lock().rings.insert(queue, ring);
    }

    /// A ring stops: its answers that are not dropped go out first.
    pub fn settle(&self, queue: u16) {
        let mut state = self.lock();

        for answer in &mut state.pending {
            if answer.queue == queue {
                answer.due = Instant::now();
            }
        }
        state.deliver();
        state.detach(queue);
        state.note(&format!("# ring {queue} stops"));
    }

    /// All rings are gone, with all answers.
    pub fn detach_all(&self) {
        let mut state = self.lock();

        state.rings.clear();
        state.pending.clear();
        state.held.clear();
    }

    /// The driver added something to a ring.
    pub fn kick(&self, queue: u16) {
        let mut state = self.lock();

        if state.deaf > 0 {
            state.deaf -= 1;
            state.note(&format!("# ring {queue}: not heard"));
            return;
        }
        state.kick(queue);
        self.wake.notify_one();
    }

    /// Delivers what is due later, for ever.
    fn deliver_late(&self) {
        let mut state = self.lock();

        loop {
            state.deliver();
            let next = state.pending.iter().map(|answer| answer.due).min();
            let wait = next.map_or(Duration::from_secs(3600), |due| {
                due.saturating_duration_since(Instant::now())
            });
            (state, _) = self
                .wake
                .wait_timeout(state, wait)
                .expect("another thread panicked");
        }
    }

    /// Does what a test asks for; see `control.rs`.
    pub fn command(&self, verb: &str, words: &str) -> Result<String, String> {
        let reply = self.lock().command(verb, words)?;

        self.wake.notify_one();
        Ok(reply)
    }
}

impl State {
    fn note(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            // Unbuffered, so that a test can look at any time.
            if let Err(e) = log.write_all(format!("{line}\n").as_bytes()) {
                eprintln!("blkdev: the log: {e}");
            }
        }
    }

    fn detach(&mut self, queue: u16) {
        self.rings.remove(&queue);
        self.pending.retain(|answer| answer.queue != queue);
        self.held.retain(|answer| answer.queue != queue);
    }

    fn kick(&mut self, queue: u16) {
        let Some(ring) = self.rings.get(&queue).cloned() else {
            return;
        };
        if self.silent {
            return;
        }
        if self.model.is_inbox(queue) {
            self.send();
            self.deliver();
            return;
        }
        loop {
            let _ = ring.vring.disable_notification();
            loop {
                // What a request lies in may be newer than the kick that brought us here.
                if has_request(&ring) {
                    (ring.refresh)();
                }
                let memory = ring.memory.memory();
                let next = match ring.vring.get_mut().get_queue_mut().iter(memory.clone()) {
                    Ok(mut chains) => chains.next(),
                    // The ring was stopped just now.
                    Err(virtio_queue::Error::QueueNotReady) => return,
                    Err(e) => {
                        eprintln!("blkdev: ring {queue}: {e}");
                        return;
                    }
                };
                let Some(chain) = next else { break };
                self.serve(queue, &memory, chain);
            }
            // Without this the driver finds an old event index, by which no kick is wanted.
            if self.stale || !ring.vring.enable_notification().unwrap_or(false) {
                break;
            }
        }
        self.deliver();
    }

    /// Does one request, and plans its answer.
    fn serve(&mut self, queue: u16, memory: &Guard, chain: DescriptorChain<Guard>) {
        let id = chain.head_index();
        let (output, input): (Vec<_>, Vec<_>) =
            chain.clone().partition(|buffer| buffer.is_write_only());
        let lie = self.lie(queue);
        if lie == Some(Lie::Swallow) {
            return;
        }
        let served = match self.exchange(queue, memory, chain.clone()) {
            Ok(mut served) => {
                if let Some(lie) = lie {
                    lie.bend(&mut served.delivery);
                }
                self.seen += 1;
                self.note(&format!("n={} q={queue} {}", self.seen, served.note));
                served
            }
            Err(why) => {
                self.note(&format!("# bad request: {why}"));
                Served::default()
            }
        };
        if let Some(ends) = &served.ends {
            self.end(ends);
        }
        let now = Instant::now();
        let window = self.latency.max(WINDOW);
        let due = match self.order {
            Order::Fifo => now + self.latency,
            Order::Reversed => self.pending.last().map_or(now + window, |other| other.due),
            Order::Random => now + window.mul_f64(self.random.share()),
        };
        let mut answer = Answer {
            due,
            queue,
            id,
            used: served.delivery.used.unwrap_or(served.used),
            delivery: served.delivery,
            key: served.key,
            at: output.first().map(|buffer| buffer.addr()),
        };

        match lie {
            Some(Lie::Late(ms)) => answer.due += Duration::from_millis(ms),
            Some(Lie::Answer(bytes)) => {
                let place = self.model.false_answer(queue, &output);
                overwrite(memory, place, &bytes);
            }
            Some(Lie::Header(bytes)) => {
                let place = input.first().map(|buffer| (buffer.addr(), buffer.len()));
                overwrite(memory, place, &bytes);
            }
            Some(lie) => {
                if let Some(ring) = self.rings.get(&queue) {
                    cheat(ring, id, lie);
                }
            }
            None => (),
        }

        if answer.delivery.swallow {
            return;
        }
        if answer.delivery.drop {
            self.held.push(answer);
        } else {
            self.pending.push(answer);
        }
    }

    /// What to lie about the next answer of a queue.
    fn lie(&mut self, queue: u16) -> Option<Lie> {
        let size = self.rings.get(&queue)?.vring.get_ref().get_queue().size();
        let lie = self.liar.as_mut()?.next(size)?;

        self.note(&format!("# lie q={queue} {lie:?}"));
        Some(lie)
    }

    /// Reads the request and has it done.
    fn exchange(
        &mut self,
        queue: u16,
        memory: &Guard,
        chain: DescriptorChain<Guard>,
    ) -> Result<Served, String> {
        let (writable, readable): (Vec<_>, Vec<_>) =
            chain.clone().partition(|buffer| buffer.is_write_only());
        let lengths = |buffers: &[virtio_queue::desc::split::Descriptor]| {
            buffers
                .iter()
                .map(|buffer| buffer.len())
                .collect::<Vec<_>>()
        };
        let broken = |e| format!("{e:?}");
        let mut reader = chain.clone().reader(memory).map_err(broken)?;
        let mut input = vec![0; reader.available_bytes()];
        reader.read_exact(&mut input).map_err(|e| e.to_string())?;
        let output = chain.writer(memory).map_err(broken)?;
        let room = output.available_bytes();

        self.model.serve(Exchange {
            queue,
            input,
            output,
            room,
            readable: lengths(&readable),
            writable: lengths(&writable),
        })
    }

    /// Ends requests that wait: those that were dropped get another answer, the others theirs.
    fn end(&mut self, ends: &Ends) {
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

    /// Puts messages into the buffers that the driver gave for them.
    fn send(&mut self) {
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
    fn deliver(&mut self) {
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

    fn front(&self) -> Result<Arc<dyn Front>, String> {
        self.front.clone().ok_or("no front end yet".into())
    }

    fn command(&mut self, verb: &str, words: &str) -> Result<String, String> {
        let number = || crate::faults::parse_number(words);
        let two = || {
            words
                .split_once(' ')
                .ok_or(format!("{verb} takes two words"))
        };

        match verb {
            "release" => {
                let mut held = std::mem::take(&mut self.held);
                held.iter_mut()
                    .for_each(|answer| answer.due = Instant::now());
                self.pending.extend(held);
                self.deliver();
                self.rings.values().for_each(|ring| (ring.interrupt)());
            }
            "silence" => self.silent = true,
            "stale" => self.stale = true,
            "fresh" => self.stale = false,
            "resume" => {
                self.silent = false;
                for queue in self.rings.keys().copied().collect::<Vec<_>>() {
                    self.kick(queue);
                }
            }
            "deaf" => self.deaf = number()?,
            "lies" => self.liar = Some(Liar::parse(words)?),
            "truth" => {
                let told = self.liar.take().map_or(0, |liar| liar.told);
                return Ok(told.to_string());
            }
            "latency" => self.latency = Duration::from_millis(number()?),
            "order" => {
                self.order = serde_json::from_value(words.into()).map_err(|e| e.to_string())?
            }
            "config" => {
                let (field, value) = two()?;
                self.set_config(field, crate::faults::parse_number(value)?)?;
            }
            "forget" => self.messages.clear(),
            "mark" => self.note(&format!("# {words}")),
            "state" => {
                return Ok(format!(
                    "seen={} lies={} pending={} dropped={} rings={}",
                    self.seen,
                    self.liar.as_ref().map_or(0, |liar| liar.told),
                    self.pending.len(),
                    self.held.len(),
                    self.rings.len()
                ))
            }
            "disconnect" => {
                self.rings.clear();
                self.pending.clear();
                self.held.clear();
                self.front()?.disconnect()?;
            }
            _ => {
                let reply = self.model.command(verb, words);
                let reply = reply.ok_or(format!("no command {verb}"))??;

                for (field, value) in reply.config {
                    self.set_config(field, value)?;
                }
                self.messages.extend(reply.messages);
                self.send();
                self.deliver();
            }
        }
        Ok(String::new())
    }

    fn set_config(&mut self, field: &str, value: u64) -> Result<(), String> {
        let (offset, size) = (self.place)(field)?;
        let bytes = &value.to_le_bytes()[..size];
        let to = self.config.get_mut(offset..offset + size);

        to.ok_or("the configuration space ends before")?
            .copy_from_slice(bytes);
        self.front()?.config_changed(offset, bytes)
    }
}

/// Whether there is a request, as far as the ring is mapped.
fn has_request(ring: &Ring) -> bool {
    let vring = ring.vring.get_ref();
    let queue = vring.get_queue();
    let index = queue.avail_idx(&*ring.memory.memory(), Ordering::Acquire);

    index.is_ok_and(|index| index.0 != queue.next_avail())
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

/// The same, several times, for an id that may be none.
fn put_id(ring: &Ring, id: u32, used: u32, times: u16) -> bool {
    let memory = ring.memory.memory();
    let mut vring = ring.vring.get_mut();
    let queue = vring.get_queue_mut();

    match u16::try_from(id) {
        Ok(id) if id < queue.size() && times == 1 => {
            let result = queue.add_used(&*memory, id, used);
            if let Err(e) = result {
                eprintln!("blkdev: the used ring: {e}");
            }
            false
        }
        // An id that the crate refuses, as it should; or one that the driver shall find twice at once:
        // between the two it could use the id anew, for a request that we have not even seen.
        _ => {
            let base = GuestAddress(queue.used_ring());
            let next = queue.next_used();
            let index = next.wrapping_add(times);
            let done = (0..times)
                .try_for_each(|i| {
                    let slot = next.wrapping_add(i) % queue.size();
                    let element = base.unchecked_add(4 + 8 * u64::from(slot));
                    memory.write_obj([id.to_le(), used.to_le()], element)
                })
                .and_then(|()| {
                    queue.set_next_used(index);
                    memory.store(index.to_le(), base.unchecked_add(2), Ordering::Release)
                });
            if let Err(e) = done {
                eprintln!("blkdev: the used ring: {e}");
            }
            true
        }
    }
}

/// Lies that are told at once, by the ring itself.
fn cheat(ring: &Ring, id: u16, lie: Lie) {
    let memory = ring.memory.memory();
    let done = match lie {
        Lie::Ghost(id) => {
            put_id(ring, id, 1, 1);
            Ok(())
        }
        Lie::Jump(by) => {
            let vring = ring.vring.get_ref();
            let queue = vring.get_queue();
            let index = queue.next_used().wrapping_add(by);
            let place = GuestAddress(queue.used_ring() + 2);

            memory.store(index.to_le(), place, Ordering::Release)
        }
        Lie::Descriptor(bytes) => {
            let table = ring.vring.get_ref().get_queue().desc_table();

            memory.write_slice(&bytes, GuestAddress(table + 16 * u64::from(id)))
        }
        Lie::Event(index) => {
            let vring = ring.vring.get_ref();
            let queue = vring.get_queue();
            let place = GuestAddress(queue.used_ring() + 4 + 8 * u64::from(queue.size()));

            memory.store(index.to_le(), place, Ordering::Release)
        }
        Lie::Storm(count) => {
            (0..count).for_each(|_| (ring.interrupt)());
            Ok(())
        }
        _ => Ok(()),
    };

    if let Err(e) = done {
        eprintln!("blkdev: a lie: {e}");
    }
}

/// Writes as much of `bytes` as there is room for.
fn overwrite(memory: &Guard, place: Option<(GuestAddress, u32)>, bytes: &[u8]) {
    let Some((at, room)) = place else { return };
    let end = bytes.len().min(room as usize);

    if let Err(e) = memory.write_slice(&bytes[..end], at) {
        eprintln!("blkdev: a lie: {e}");
    }
}

/// An id that is not that of the request, nor of another one: a driver takes its ids from the lower
/// end, so one of the upper end is not even of a request that we have not seen yet. Else a driver could
/// not tell: that request would end with whatever lies where its status belongs.
fn other_id(size: u16, id: u16, taken: impl Fn(u16) -> bool) -> u32 {
    let free = (0..size).rev().find(|other| *other != id && !taken(*other));

    u32::from(free.unwrap_or((id + 1) % size))
}

#[cfg(test)]
#[path = "engine_test.rs"]
mod tests;
