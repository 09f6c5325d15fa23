// SPDX-License-Identifier: GPL-2.0

//! The world in which the modules run: the input that decides everything, a clock, and tasks.
//!
//! A task is a coroutine with a stack of its own. The main one is the fuzzer's: it plays the users and
//! the device, is interrupt context for the modules, and must not sleep. What may sleep runs in
//! other tasks, which go on when something wakes them. One input, one sequence of events.

use std::{
    arch::global_asm,
    ffi::c_void,
    ptr::null_mut, //
};

/// So many switches of tasks at one moment are an endless loop.
const MAX_SWITCHES: u64 = 50_000;

const STACK: usize = 256 << 10;

/// A jiffy in nanoseconds, at 250 Hz.
pub const JIFFY: u64 = 4_000_000;

pub const FOREVER: u64 = u64::MAX;

/// What the kernel counts.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static mut jiffies: u64 = 0;

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Ready,
    Blocked,
    Done,
}

struct Task {
    sp: *mut u8,
    stack: *mut u8,
    state: State,
    /// What it waits for, and until when.
    chan: usize,
    until: u64,
    run: Option<Box<dyn FnOnce()>>,
    name: &'static str,
    /// Its number, of all tasks that there ever were.
    number: u64,
    /// How often it slept in a row, and whether other tasks did so before it.
    naps: u64,
    looks: bool,
    /// How often it said that it allocates without I/O.
    no_io: u32,
    /// Of the context, which a task takes with it.
    rcu: u32,
}

#[derive(Default)]
pub struct World {
    input: &'static [u8],
    pos: usize,
    /// Nanoseconds.
    pub now: u64,
    tasks: Vec<Option<Box<Task>>>,
    current: usize,
    main_sp: usize,
    stacks: Vec<usize>,
    switches: u64,
    spawned: u64,
    /// Spin locks held, and RCU read sections.
    pub atomic: u32,
    pub rcu: u32,
    /// An interrupt handler runs.
    pub irq: u32,
    /// Calls at a time to come.
    timers: Vec<(u64, usize, fn(usize))>,
    /// The main task only lets time go on: as long as this says so, and until then.
    rests: Option<(fn() -> bool, u64)>,
    /// Wakes that came for a task that prepares to wait.
    pub messages: usize,
    /// How many lives there were.
    lives: u64,
    pub verbose: bool,
    /// Others go on, now and then, when a task is about to take a lock that may sleep.
    pub preempts: bool,
}

struct Global(std::cell::UnsafeCell<Option<World>>);
// SAFETY: The program has one thread.
unsafe impl Sync for Global {}
static WORLD: Global = Global(std::cell::UnsafeCell::new(None));

/// The world. Borrow its fields for a moment only: all code here may be entered again.
pub fn w() -> &'static mut World {
    // SAFETY: One thread; see above.
    unsafe { (*WORLD.0.get()).get_or_insert_with(World::default) }
}

/// Begins a run on `input`.
pub fn begin(input: &[u8]) {
    let w = w();

    // SAFETY: The run ends before the input goes.
    w.input = unsafe { core::mem::transmute::<&[u8], &'static [u8]>(input) };
    w.pos = 0;
    set_now(1_000_000_000);
    w.switches = 0;
    w.messages = 0;
    w.preempts = false;
    w.lives += 1;
    assert!(w.tasks.iter().all(Option::is_none), "tasks of the last run");
    assert!(w.atomic == 0 && w.rcu == 0 && w.irq == 0);
    w.timers.clear();
    crate::work::begin();
}

fn set_now(now: u64) {
    w().now = now;
    // SAFETY: One thread.
    unsafe { jiffies = now / JIFFY };
}

/// The next byte of the input, 0 behind its end.
pub fn byte() -> u8 {
    let w = w();
    let byte = w.input.get(w.pos).copied().unwrap_or(0);

    w.pos += 1;
    byte
}

/// The number of this life.
pub fn life() -> u64 {
    w().lives
}

pub fn word() -> u64 {
    u64::from_le_bytes(core::array::from_fn(|_| byte()))
}

/// A number below `n`.
pub fn below(n: usize) -> usize {
    if n <= 1 {
        return 0;
    }
    (if n > 256 { usize::from(byte()) << 8 } else { 0 } | usize::from(byte())) % n
}

pub fn chance(of: u8) -> bool {
    byte() % of == of - 1
}

/// Tells who wants to see all that happens.
pub fn say(what: impl FnOnce() -> String) {
    if w().verbose {
        eprintln!("{:>9.3} - {}", w().now as f64 / 1e9, what());
    }
}

pub fn is_over() -> bool {
    w().pos >= w().input.len()
}

/// Whether half of it is over.
pub fn is_half_over() -> bool {
    w().pos >= w().input.len() / 2
}

#[cfg(not(target_arch = "x86_64"))]
compile_error!("tasks need a switch of stacks for this architecture");

// Saves what a function must keep, and goes on where the other stack did that.
global_asm!(
    ".globl fuzz_switch",
    "fuzz_switch:",
    "push rbp; push rbx; push r12; push r13; push r14; push r15",
    "mov [rdi], rsp",
    "mov rsp, rsi",
    "pop r15; pop r14; pop r13; pop r12; pop rbx; pop rbp",
    "ret",
);

extern "C" {
    fn fuzz_switch(save: *mut usize, to: usize);
    fn mmap(addr: *mut c_void, len: usize, prot: i32, flags: i32, fd: i32, at: i64) -> *mut c_void;
}

extern "C" fn entry() -> ! {
    let id = w().current;
    let run = w().tasks[id].as_mut().and_then(|task| task.run.take());

    run.expect("a task has something to run")();
    assert!(w().atomic == 0 && w().rcu == 0, "a task ends in a lock");
    assert!(*no_io() == 0);
    w().tasks[id].as_mut().unwrap().state = State::Done;
    leave();
    unreachable!();
}

/// Back to the main task.
fn leave() {
    let w = w();
    let id = w.current;
    let task = &mut **w.tasks[id].as_mut().unwrap();

    // SAFETY: The main task waits in `run_all()`.
    unsafe { fuzz_switch((&raw mut task.sp).cast(), w.main_sp) };
}

/// How often the current task slept in a row, to go on with that in another one.
pub fn naps() -> u64 {
    let w = w();

    w.tasks[w.current].as_ref().map_or(0, |task| task.naps)
}

/// See [`naps`].
pub fn set_naps(naps: u64) {
    let w = w();

    if let Some(task) = w.tasks[w.current].as_mut() {
        task.naps = naps;
        task.looks = naps > 0;
    }
}

/// Starts a task. Returns its number.
pub fn spawn(name: &'static str, run: impl FnOnce() + 'static) -> u64 {
    let w = w();
    w.spawned += 1;
    let stack = w.stacks.pop().unwrap_or_else(|| {
        // SAFETY: New memory, readable, writable, private, anonymous.
        unsafe { mmap(null_mut(), STACK, 3, 0x22, -1, 0) as usize }
    });
    // SAFETY: The top of the stack: six registers, the entry, and where that would return to, which
    // keeps the alignment that a call makes.
    let sp = unsafe {
        let top = (stack + STACK - 16) as *mut usize;
        top.sub(1).write(0);
        top.sub(2).write(entry as usize);
        core::ptr::write_bytes(top.sub(8), 0, 6);
        top.sub(8)
    };
    let task = Box::new(Task {
        sp: sp.cast(),
        stack: stack as *mut u8,
        state: State::Ready,
        chan: 0,
        until: FOREVER,
        run: Some(Box::new(run)),
        name,
        number: w.spawned,
        naps: 0,
        looks: false,
        no_io: 0,
        rcu: 0,
    });
    // 0 is the main task.
    if w.tasks.is_empty() {
        w.tasks.push(None);
    }
    match w.tasks.iter().skip(1).position(Option::is_none) {
        Some(free) => w.tasks[free + 1] = Some(task),
        None => w.tasks.push(Some(task)),
    }
    w.spawned
}

/// Whether the task with this number is at its end.
pub fn is_done(number: u64) -> bool {
    w().tasks.iter().flatten().all(|task| task.number != number)
}

pub fn in_task() -> bool {
    w().current != 0
}

pub fn current() -> usize {
    w().current
}

/// Nobody may sleep here who holds a spin lock, reads under RCU, or is an interrupt.
pub fn might_sleep() {
    let w = w();

    assert!(w.atomic == 0, "sleeps with a spin lock held");
    assert!(w.rcu == 0, "sleeps in an RCU read section");
    assert!(w.irq == 0 && w.current != 0, "sleeps in an interrupt");
}

/// Sleeps until somebody wakes `chan`, or until the time `until`. Returns whether it was woken.
pub fn block(chan: usize, until: u64) -> bool {
    might_sleep();
    let w = w();
    let task = &mut **w.tasks[w.current].as_mut().unwrap();

    task.state = State::Blocked;
    task.chan = chan;
    if chan != NAP {
        task.naps = 0;
    }
    task.until = until;
    leave();
    let task = &mut **crate::world::w().tasks[crate::world::w().current]
        .as_mut()
        .unwrap();
    core::mem::take(&mut task.chan) == 0
}

/// How often the current task said that it allocates without I/O, and did not end that.
pub fn no_io() -> &'static mut u32 {
    let w = w();

    &mut w.tasks[w.current].as_mut().expect("a task").no_io
}

/// Sleeps for a while: not less, but more if it is done again and again, as on a loaded machine; so that
/// who waits for long does not take long.
pub fn sleep(ns: u64) {
    let w = w();
    let task = &mut **w.tasks[w.current].as_mut().unwrap();
    // Nobody sleeps less than a moment: time goes on.
    let ns = ns.max(1000);
    let longer = ns.saturating_mul(1 << (task.naps / 4).min(20));
    // Who looks again and again by work items, or seldom, counts no looks, but the time.
    let longest = match task.naps {
        48.. if task.looks || ns >= LONG_NAP / 2 => 10 * LONG_NAP,
        _ => LONG_NAP,
    };

    let until = w.now.saturating_add(ns.max(longer.min(longest)));

    task.naps += 1;
    if is_next(until) {
        might_sleep();
        set_now(until);
        w.switches = 0;
        return;
    }
    block(NAP, until);
}

/// Whether nothing happens before the current task, which is about to sleep, wakes at `until`:
/// nothing to other tasks, and nothing by the main one.
fn is_next(until: u64) -> bool {
    let w = w();
    let Some((rests, horizon)) = w.rests else {
        return false;
    };
    let is_later = |(id, task): (usize, &Option<Box<Task>>)| match task {
        Some(task) if id != w.current => task.state == State::Blocked && task.until > until,
        _ => true,
    };

    until < horizon
        && w.timers.iter().all(|t| t.0 > until)
        && w.tasks.iter().enumerate().all(is_later)
        && !crate::work::is_due()
        && rests()
}

/// So long a nap becomes at most, unless it is meant to be longer.
pub const LONG_NAP: u64 = 100_000_000;

/// What those wait for who sleep.
const NAP: usize = usize::MAX;

/// Lets all go on who wait for `chan`.
pub fn wake(chan: usize) {
    for task in w().tasks.iter_mut().flatten() {
        if task.state == State::Blocked && task.chan == chan {
            task.state = State::Ready;
            task.chan = 0;
        }
    }
}

/// Has `f` called with `arg` at `when`.
pub fn at(when: u64, arg: usize, f: fn(usize)) {
    w().timers.push((when, arg, f));
}

/// Forgets such a call; whether there was one.
pub fn forget(arg: usize, f: fn(usize)) -> bool {
    let timers = &mut w().timers;
    let before = timers.len();

    timers.retain(|t| t.1 != arg || !core::ptr::fn_addr_eq(t.2, f));
    timers.len() != before
}

/// Whether there is one.
pub fn waits(arg: usize, f: fn(usize)) -> bool {
    w().timers
        .iter()
        .any(|t| t.1 == arg && core::ptr::fn_addr_eq(t.2, f))
}

/// Runs all tasks until all of them wait. By the main task only.
pub fn run_all() {
    assert!(w().current == 0 && w().atomic == 0 && w().irq == 0);
    loop {
        crate::work::start();
        let w = w();
        let ready = |t: &Option<Box<Task>>| t.as_ref().is_some_and(|t| t.state == State::Ready);
        let Some(id) = w.tasks.iter().position(ready) else {
            return;
        };

        w.switches += 1;
        assert!(
            w.switches < MAX_SWITCHES,
            "an endless loop of {}",
            w.tasks[id].as_ref().unwrap().name
        );
        let task = &mut **w.tasks[id].as_mut().unwrap();
        let sp = task.sp as usize;
        w.current = id;
        w.rcu = task.rcu;
        // SAFETY: The task left there, or it is new.
        unsafe { fuzz_switch(&raw mut w.main_sp, sp) };
        let w = crate::world::w();
        w.current = 0;
        if w.tasks[id].as_ref().unwrap().state == State::Done {
            let task = w.tasks[id].take().unwrap();
            w.stacks.push(task.stack as usize);
            // There may have been many, and all are looked at.
            while w.tasks.last().is_some_and(Option::is_none) {
                w.tasks.pop();
            }
        }
    }
}

/// Goes on to the next moment at which something is to happen, not later than `limit`, and lets it
/// happen. `false` if there is none.
pub fn advance(limit: u64) -> bool {
    let next = next();

    if next > limit || next == FOREVER {
        if limit != FOREVER {
            set_now(w().now.max(limit));
        }
        return false;
    }
    let_happen(next);
    true
}

/// As [`advance`], but if the input is over, it goes on before `horizon` as long as the main task
/// `rests`: as if that had called it again and again, having looked in vain for something to do.
pub fn advance_at_rest(limit: u64, horizon: u64, rests: fn() -> bool) -> bool {
    if !is_over() {
        return advance(limit);
    }
    pass(limit, horizon, rests)
}

/// As the above, while the input goes on.
pub fn pass(limit: u64, horizon: u64, rests: fn() -> bool) -> bool {
    w().rests = Some((rests, horizon));
    let has_gone_on = advance(limit);
    while has_gone_on && rests() && next() < horizon {
        let_happen(next());
    }
    w().rests = None;
    has_gone_on
}

/// When something is to happen next.
fn next() -> u64 {
    let w = w();
    let sleeps = |t: &Box<Task>| (t.state == State::Blocked).then_some(t.until);
    let tasks = w
        .tasks
        .iter()
        .flatten()
        .filter_map(sleeps)
        .min()
        .unwrap_or(FOREVER);

    w.timers
        .iter()
        .map(|t| t.0)
        .min()
        .unwrap_or(FOREVER)
        .min(tasks)
}

/// Time goes on to `next`.
fn let_happen(next: u64) {
    let w = w();

    if next > w.now {
        set_now(next);
        // It is no loop without an end, or one that `run::drive()` finds.
        w.switches = 0;
    }
    let now = w.now;
    for task in w.tasks.iter_mut().flatten() {
        if task.state == State::Blocked && task.until <= now {
            task.state = State::Ready;
        }
    }
    if w.timers.iter().any(|t| t.0 <= now) {
        let due: Vec<_> = w.timers.iter().filter(|t| t.0 <= now).copied().collect();
        w.timers.retain(|t| t.0 > now);
        for (_, arg, f) in due {
            f(arg);
        }
    }
    run_all();
}

/// Whether nobody runs, nor waits.
pub fn is_quiet() -> bool {
    w().tasks.iter().all(Option::is_none)
}

/// Who waits, for a message.
pub fn waiting() -> String {
    let name = |t: &Box<Task>| match w().verbose {
        true => format!("{} (for {:#x})", t.name, t.chan),
        false => t.name.to_string(),
    };
    let names: Vec<_> = w().tasks.iter().flatten().map(name).collect();

    names.join(", ")
}

/// As [`might_sleep`], but the main task may: it makes the modules' life before the first run.
pub fn might_sleep_if_in_task() {
    let w = w();

    assert!(
        w.atomic == 0 && w.rcu == 0 && w.irq == 0,
        "memory that may sleep, in atomic context"
    );
}
