// SPDX-License-Identifier: GPL-2.0

//! The engine: takes requests off the rings, has them done, and answers in the order, at the time
//! and with the faults that the test wants. It knows nothing of the two front ends, nor what the
//! requests mean (`model.rs`).

mod answers;
mod orders;

use crate::{
    falsehoods,
    faults::Delivery,
    lies::{
        cheat,
        overwrite,
        Liar,
        Lie,
        Random, //
    },
    model::{
        Exchange,
        Message,
        Model,
        Served, //
    },
    settings::Order, //
};
use answers::Answer;
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
    GuestAddressSpace,
    GuestMemoryAtomic,
    GuestMemoryLoadGuard,
    GuestMemoryMmap, //
};

pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;
pub type Vring = VringMutex<Memory>;
pub type Guard = GuestMemoryLoadGuard<GuestMemoryMmap>;

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
    /// The configuration space has these bytes at this offset now; the driver should be told, or not.
    fn config_changed(&self, offset: usize, bytes: &[u8], tell: bool) -> Result<(), String>;

    /// Ends the connection.
    fn disconnect(&self) -> Result<(), String>;
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
    /// Nothing is taken off the rings, or off those from this one on.
    silent: bool,
    idle_from: Option<u16>,
    /// A change of the configuration is not told.
    unheard: bool,
    /// So many more changes of the configuration are to come at random.
    changes: u64,
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
    /// How many answers were delivered wrongly, and notifications not heard, and when the last was.
    wrong: u64,
    last_wrong: Instant,
    log: Option<File>,
    front: Option<Arc<dyn Front>>,
}

pub struct Engine {
    state: Mutex<State>,
    wake: Condvar,
}

/// In the orders that are none, how long answers are gathered at least.
const WINDOW: Duration = Duration::from_millis(2);

/// How late all answers are once all lies are told, until the test knows: else who uses the disk would take the
/// guest's time from those whose devices have not come as far.
const IDLE: Duration = Duration::from_millis(200);

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
                idle_from: None,
                unheard: false,
                changes: 0,
                deaf: 0,
                stale: false,
                rings: BTreeMap::new(),
                pending: Vec::new(),
                held: Vec::new(),
                messages: VecDeque::new(),
                seen: 0,
                wrong: 0,
                last_wrong: Instant::now(),
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
            state.went_wrong();
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

    /// Changes fields of the configuration space at random, so many times, some of which the driver is
    /// told of; in a thread of its own.
    pub fn change(self: &Arc<Self>, seed: u64, count: u64) {
        let engine = self.clone();

        self.lock().changes = count;
        std::thread::spawn(move || {
            let mut random = Random::new(seed);

            for left in (0..count).rev() {
                engine.lock().change(&mut random);
                std::thread::sleep(Duration::from_micros(random.below(2000)));
                engine.lock().changes = left;
            }
        });
    }

    /// Waits until all lies are told, but not longer than this; whether they are.
    pub fn all_told(&self, most: Duration) -> bool {
        let end = Instant::now() + most;

        loop {
            if self.lock().liar.as_ref().is_none_or(Liar::is_done) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
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

    fn change(&mut self, random: &mut Random) {
        let (field, value) = falsehoods::field(random);

        self.unheard = random.below(8) != 0;
        // One that the configuration space has no room for is none.
        let _ = self.set_config(field, value);
        self.unheard = false;
    }

    fn went_wrong(&mut self) {
        self.wrong += 1;
        self.last_wrong = Instant::now();
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
        if self.silent || self.idle_from.is_some_and(|first| queue >= first) {
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
                if served.delivery != Delivery::default() {
                    self.went_wrong();
                }
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
        if let Some(asks) = &served.asks {
            let has = self.has(asks);
            let place = self.model.false_answer(queue, &output);

            self.note(&format!("# has it: {has}"));
            overwrite(memory, place, &[asks.answers[usize::from(!has)]]);
        }
        let now = Instant::now();
        let window = self.latency.max(WINDOW);
        let due = match self.order {
            Order::Fifo => now + self.latency,
            Order::Reversed => self.pending.last().map_or(now + window, |other| other.due),
            Order::Random => now + window.mul_f64(self.random.share()),
        } + Duration::from_millis(served.delivery.delay.into());
        let mut answer = Answer {
            due,
            queue,
            id,
            used: served.delivery.used.unwrap_or(served.used),
            delivery: served.delivery,
            key: served.key,
            at: output.first().map(|buffer| buffer.addr()),
        };

        if self.liar.as_ref().is_some_and(Liar::is_done) {
            answer.due += IDLE;
        }
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
            Some(Lie::News(bytes)) if self.model.false_message(bytes).is_some() => {
                self.messages.extend(self.model.false_message(bytes));
                self.send();
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
}

/// Whether there is a request, as far as the ring is mapped.
fn has_request(ring: &Ring) -> bool {
    let vring = ring.vring.get_ref();
    let queue = vring.get_queue();
    let index = queue.avail_idx(&*ring.memory.memory(), Ordering::Acquire);

    index.is_ok_and(|index| index.0 != queue.next_avail())
}

#[cfg(test)]
#[path = "engine_test.rs"]
mod tests;
