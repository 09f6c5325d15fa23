// SPDX-License-Identifier: GPL-2.0

//! What is the same for both drivers: probe, sleep, removal.

use crate::{
    sync::{
        mutex_lock,
        mutex_unlock, //
    },
    virtio::{
        self,
        call,
        device,
        Place, //
    },
    world::{
        self,
        advance,
        advance_at_rest,
        below,
        byte,
        chance,
        is_done,
        is_over,
        is_quiet,
        w,
        waiting,
        FOREVER, //
    },
};
use storage::bindings as v;

/// The status of a device that was reset and then initialized by virtio core.
const NEGOTIATED: u8 = (v::VIRTIO_CONFIG_S_ACKNOWLEDGE
    | v::VIRTIO_CONFIG_S_DRIVER
    | v::VIRTIO_CONFIG_S_FEATURES_OK) as u8;

/// The longest that a driver may need to let go of a device that does not answer, in nanoseconds.
const PATIENCE: u64 = 10_000_000_000_000;

/// So often a device answers at one moment.
const MOST_ROUNDS: u32 = 100;

/// Longer than a driver waits for others to end what they do to its device.
const LONG: u64 = 150_000_000_000;

/// What a type of device makes of a life.
pub struct Life {
    /// What goes on by itself meanwhile.
    pub turn: fn(),
    /// Whether that is nothing, as long as the tasks wait.
    pub rests: fn() -> bool,
    /// One thing that users do, or the device.
    pub step: fn(),
    /// One that users do while the driver is at something long, as a removal.
    pub meanwhile: fn(),
    /// Whether all I/O has.
    pub has_ended: fn() -> bool,
    /// The administrator has the device reset.
    pub rescue: fn(),
    /// The last users go, of what was removed.
    pub leave: fn(),
    /// All is over, and nothing may be left.
    pub end: fn(),
}

/// The life of the device that is plugged in; `how` says how it ends.
pub fn live(life: &Life, how: u64) {
    let rebinds = device().rebinds;

    MEANWHILE.set(life.meanwhile);
    RESTS.set(life.rests);
    HAS_ENDED.set(life.has_ended);
    // What its driver leaves to another binding is that of the first.
    if rebinds {
        bind(life, 0, world::is_half_over);
        settle();
        device().popped.clear();
        device().going = false;
        device().go(Place::Here);
    }
    if !rebinds || !is_over() {
        bind(life, how, is_over);
        settle();
    }
    virtio::unplug();
    assert!(w().messages < 1000, "{} messages", w().messages);
    (life.end)();
    crate::mem::memory().end();
}

/// The device has a driver, until that leaves it.
fn bind(life: &Life, how: u64, is_over: fn() -> bool) {
    LEAVES.set(false);
    STRANDED.set(false);
    if probe(life.turn) {
        while !is_over() && !LEAVES.get() {
            (life.step)();
        }
        match how & 3 {
            0 => {}
            1 => shut_down(life.turn),
            _ => peace(life),
        }
    }
    end_of_removal(life.turn);
    (life.leave)();
}

/// The `usual` features of a device: each bit of `flags` takes one of `known` away, or gives it.
pub fn features(flags: u64, usual: u64, known: &[u32]) -> u64 {
    let taken = |(bit, feature): (usize, &u32)| (flags >> bit & 1) << feature;

    known
        .iter()
        .enumerate()
        .map(taken)
        .fold(usual, |all, bit| all ^ bit)
}

/// What goes on by itself: tasks, ends of I/O on another CPU, and what is tried again.
pub fn goes_on(softirq: fn() -> bool, rerun: fn()) {
    for _ in 0..100 {
        world::run_all();
        let ended = softirq();
        rerun();
        world::run_all();
        if !ended {
            break;
        }
    }
}

/// Waits for a task, while the device answers or not.
///
/// A device that swallows a command is given up by a driver that lets go of it. A probe waits for it for
/// ever, as that of the C driver does: so in time it answers here.
fn wait(id: u64, turn: fn(), limit: u64) {
    let begin = w().now;
    let end = begin + limit;
    let mut stuck = 0;
    let mut rounds = 0;

    turn();
    AWAITED.set(id);
    while !is_done(id) {
        let what = byte();
        let taken = device().taken;
        match what % 4 {
            3 if what >> 4 == 3 && !is_over() && !ASLEEP.get() => (MEANWHILE.get())(),
            // Such a refusal has virtio core listen again, though the driver leaves.
            3 if what >> 4 == 2 && device().going => tell_change(),
            3 => {}
            1 if !is_over() => {
                each_ring(|ring| ring.lie());
            }
            _ => {
                each_ring(|ring| while ring.answer() {});
            }
        }
        turn();
        while PROBING.get() && w().now > begin + limit / 80 && !is_done(id) && stuck < 10_000 {
            stuck += 1;
            repent();
            turn();
        }
        // Who lies no more answers at once.
        rounds += 1;
        if is_over() && rounds < MOST_ROUNDS && device().taken != taken {
            continue;
        }
        rounds = 0;
        if !is_done(id) && !advance_at_rest(FOREVER, end, waits_only) {
            turn();
            if PROBING.get() && stuck < 10_000 {
                stuck += 1;
                repent();
            } else if !is_done(id) && !advance(FOREVER) {
                if w().verbose {
                    virtio::dump();
                }
                panic!("these wait for ever: {}", waiting());
            }
        }
        turn();
        if w().now >= end {
            if w().verbose {
                virtio::dump();
            }
            panic!("no end after {} s: {}", limit / 1_000_000_000, waiting());
        }
    }
}

/// Whether [`wait`] waits for nothing but time.
fn waits_only() -> bool {
    !PROBING.get() && !is_done(AWAITED.get()) && RESTS.get()() && rings_rest(false)
}

/// Whether [`peace`] does.
fn is_peaceful() -> bool {
    device().place == Place::Here && RESTS.get()() && rings_rest(true) && !HAS_ENDED.get()()
}

/// Whether nobody has anything to do but the device, and that nothing that cannot wait.
pub fn is_still() -> bool {
    let rings = &device().rings;
    // SAFETY: The rings live.
    let is_known = |ring: &*mut virtio::Ring| unsafe { (**ring).is_known() };
    // SAFETY: As above.
    let has_answered = |ring: &*mut virtio::Ring| unsafe { (**ring).has_answered() };

    RESTS.get()() && rings.iter().all(is_known) && rings.first().is_none_or(has_answered)
}

/// Whether the device does nothing, once it is honest.
fn rings_rest(repents: bool) -> bool {
    // SAFETY: The rings live.
    let rests = |ring: &*mut virtio::Ring| unsafe { (**ring).is_at_rest(repents) };

    device().rings.iter().all(rests)
}

/// The device does something to each of its rings, and interrupts.
pub fn each_ring(mut f: impl FnMut(&mut virtio::Ring)) {
    for i in 0..device().rings.len() {
        let ring = device().rings[i];

        // SAFETY: The ring lives: none is deleted by the main task.
        f(unsafe { &mut *ring });
        virtio::interrupt(ring);
    }
}

/// Has the driver look at the device; whether it takes it.
fn probe(turn: fn()) -> bool {
    static mut RESULT: i32 = 0;

    device().status = NEGOTIATED;
    PROBING.set(true);
    let id = call("probe", |driver, vdev| {
        // SAFETY: The device is new.
        unsafe { RESULT = (*driver).probe.unwrap()(vdev) };
    });
    wait(id, turn, PATIENCE);
    PROBING.set(false);
    // SAFETY: One thread.
    let bound = unsafe { RESULT } == 0;
    if bound {
        device().status |= v::VIRTIO_CONFIG_S_DRIVER_OK as u8;
        // SAFETY: As above.
        unsafe {
            if let Some(scan) = (*virtio::driver((*device().vdev).id.device)).scan {
                scan(device().vdev);
            }
        }
    }
    turn();
    HAS_DRIVER.set(bound);
    bound
}

/// From here on only the administrator makes good what he did.
pub fn strand() {
    STRANDED.set(true);
}

fn repent() {
    device().be_honest();
    each_ring(|ring| ring.repent());
}

thread_local! {
    static PROBING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static HAS_DRIVER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// What users do meanwhile, unless they are frozen.
    static MEANWHILE: std::cell::Cell<fn()> = const { std::cell::Cell::new(|| ()) };
    /// See [`Life`].
    static RESTS: std::cell::Cell<fn() -> bool> = const { std::cell::Cell::new(|| false) };
    static HAS_ENDED: std::cell::Cell<fn() -> bool> = const { std::cell::Cell::new(|| false) };
    /// The task that is waited for.
    static AWAITED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    static ASLEEP: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// The device is about to be removed.
    static LEAVES: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// A reset by others did not come to its end.
    static STRANDED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// There is a reset that nobody waits for.
    static BEHIND: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// Somebody has the lock of the bus.
    static BUSY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Calls the driver in a task, and waits for it.
fn drive(
    name: &'static str,
    turn: fn(),
    f: impl FnOnce(*mut v::virtio_driver, *mut v::virtio_device) + 'static,
) {
    let id = call(name, f);

    wait(id, turn, PATIENCE);
}

/// The driver core holds this while it calls the driver for some of all that it does.
unsafe fn locked<R>(vdev: *mut v::virtio_device, f: impl FnOnce() -> R) -> R {
    let lock = (&raw mut (*vdev).dev.mutex).cast();

    mutex_lock(lock);
    let result = f();
    mutex_unlock(lock);
    result
}

/// So does the bus, for resets, sleep and shutdown; not so who unbinds the driver. To be released by
/// `BUSY.set(false)`.
fn lock_bus() {
    while BUSY.get() {
        world::sleep(10_000_000);
    }
    BUSY.set(true);
}

/// The system sleeps, or the bus resets the device; nobody waits for such a reset, if it is so.
fn sleep_and_wake(turn: fn()) {
    let how = byte();

    match (how & 8 == 0, how & 32 == 0) {
        (true, _) => {
            ASLEEP.set(true);
            drive("freeze", turn, move |driver, vdev| {
                // SAFETY: The device is bound. What the driver core does.
                unsafe {
                    let pm = (*driver).driver.pm;
                    let dev = &raw mut (*vdev).dev;

                    locked(vdev, || (*pm).prepare.unwrap()(dev));
                    lock_bus();
                    away(how, vdev, (*driver).freeze, (*driver).restore);
                    BUSY.set(false);
                    locked(vdev, || (*pm).complete.unwrap()(dev));
                }
            });
            ASLEEP.set(false);
        }
        (_, true) => drive("a reset", turn, move |driver, vdev| {
            reset(how, driver, vdev)
        }),
        // One at a time.
        _ if BEHIND.replace(true) => {}
        _ => {
            call("a reset behind the back", move |driver, vdev| {
                reset(how, driver, vdev);
                BEHIND.set(false);
            });
        }
    }
}

/// The bus resets the device.
fn reset(how: u8, driver: *mut v::virtio_driver, vdev: *mut v::virtio_device) {
    lock_bus();
    // SAFETY: The device is there until all tasks have ended, and the driver's table is static.
    unsafe { away(how, vdev, (*driver).reset_prepare, (*driver).reset_done) };
    BUSY.set(false);
}

type Callback = Option<unsafe extern "C" fn(*mut v::virtio_device) -> i32>;

/// What `virtio_device_freeze()` and `..._restore()` do, or `virtio_device_reset_prepare()` and
/// `..._done()`: as long as the device has a driver, which may leave it meanwhile.
unsafe fn away(how: u8, vdev: *mut v::virtio_device, leave: Callback, come_back: Callback) {
    if !HAS_DRIVER.get() || leave.unwrap()(vdev) != 0 {
        return;
    }
    match device().tardy {
        1 if how & 8 != 0 => return STRANDED.set(true),
        2 if how & 8 != 0 => world::sleep(LONG),
        _ => world::sleep(1_000_000_000),
    }
    // It comes back reset, with the features negotiated; or, from sleep, it does not.
    if HAS_DRIVER.get() && how & 24 != 16 {
        device().go(Place::Here);
        // Its driver may have taken it back meanwhile.
        device().forget();
        device().status = NEGOTIATED;
        device().no_queues = how % 8 == 7;
        let _ = come_back.unwrap()(vdev);
        device().no_queues = false;
    }
}

/// The device tells that its configuration changed, or its status.
pub fn tell_change() {
    // SAFETY: The device is bound; as `virtio_config_changed()` does.
    unsafe {
        let vdev = device().vdev;

        w().irq += 1;
        (*virtio::driver((*vdev).id.device)).config_changed.unwrap()(vdev);
        w().irq -= 1;
    }
}

/// From here on the device is honest, and what it swallowed it answers. All I/O ends then, one way or
/// another, whatever came before: `is_over` tells when.
///
/// A reset by others that does not come to its end, nobody but the administrator makes good.
fn peace(life: &Life) {
    let turn = life.turn;
    let end = w().now + PATIENCE;
    let mut next = w().now;
    let mut rounds = 0;

    crate::mem::memory().fail_at = 0;
    crate::mem::memory().scarce = false;
    crate::world::say(|| format!("peace: status {:x}, {:?}", device().status, device().place));
    repent();
    tell_change();
    crate::world::say(|| format!("status {:x}", device().status));
    loop {
        let taken = device().taken;

        turn();
        repent();
        turn();
        if (life.has_ended)() {
            return;
        }
        if STRANDED.get() && w().now >= next {
            next = w().now + LONG;
            (life.rescue)();
        }
        if w().now >= end {
            if w().verbose {
                virtio::dump();
            }
            panic!("I/O that never ends; these wait: {}", waiting());
        }
        // Who is honest answers at once.
        rounds += 1;
        if rounds < MOST_ROUNDS && device().taken != taken {
            continue;
        }
        rounds = 0;
        let horizon = if STRANDED.get() { end.min(next) } else { end };
        advance_at_rest(w().now + 1_000_000_000, horizon, is_peaceful);
    }
}

/// The system goes down.
fn shut_down(turn: fn()) {
    drive("shutdown", turn, |driver, vdev| {
        lock_bus();
        // SAFETY: The device is bound.
        unsafe { locked(vdev, || (*driver).shutdown.unwrap()(vdev)) };
        BUSY.set(false);
    });
}

/// The device is unplugged, or the driver unbound.
fn end_of_removal(turn: fn()) {
    if HAS_DRIVER.get() {
        device().going = device().unloads;
        // Who begins to reset the device only now, is refused.
        if device().going && !BEHIND.replace(true) {
            call("a late reset", |driver, vdev| {
                reset(8, driver, vdev);
                BEHIND.set(false);
            });
        }
        drive("remove", turn, |driver, vdev| {
            let remove = || {
                // SAFETY: The device is bound.
                unsafe { (*driver).remove.unwrap()(vdev) };
                HAS_DRIVER.set(false);
                // One with a queue for administration cannot be reset without the others: it was
                // when they went, see `del_vqs()`.
                assert!(
                    device().status == 0 || device().place == Place::Away || device().admin,
                    "a device runs on without a driver"
                );
            };
            // SAFETY: The device is there.
            unsafe { locked(vdev, remove) };
        });
    }
    turn();
}

/// Nothing goes on any more.
fn settle() {
    crate::mem::memory().fail_at = 0;
    while !crate::work::is_idle() || !is_quiet() {
        crate::world::run_all();
        if crate::work::is_idle() && is_quiet() {
            break;
        }
        assert!(
            advance_at_rest(FOREVER, FOREVER, || true),
            "these wait for ever: {}",
            waiting()
        );
    }
}

/// The device interrupts for this ring, if there is one.
pub fn some_ring(at: usize) {
    if let Some(ring) = device().rings.get(at) {
        virtio::interrupt(*ring);
    }
}

/// What a device of any type does, or what happens to it: step `n` of a life.
pub fn step(n: u8, turn: fn()) {
    let ring = || {
        let rings = &device().rings;
        (!rings.is_empty()).then(|| rings[below(rings.len())])
    };

    match n {
        4 | 5 => {
            if let Some(ring) = ring() {
                // SAFETY: The ring lives.
                while unsafe { (*ring).answer() } {}
                virtio::interrupt(ring);
            }
        }
        6 | 7 => {
            if let Some(ring) = ring() {
                for _ in 0..=below(4) {
                    // SAFETY: As above.
                    unsafe { (*ring).lie() };
                }
                if !chance(3) {
                    virtio::interrupt(ring);
                }
            }
        }
        8 => {
            for _ in 0..=below(16) {
                if let Some(ring) = ring() {
                    virtio::interrupt(ring);
                }
            }
        }
        9 => virtio::scribble(),
        11 => {
            advance(w().now + u64::from(byte()) * 1_000_000_000);
        }
        12 => sleep_and_wake(turn),
        13 => match byte() % 14 {
            0 => device().status |= v::VIRTIO_CONFIG_S_NEEDS_RESET as u8,
            1 => {
                if let Some(ring) = ring() {
                    // SAFETY: As above.
                    unsafe { (*ring).break_it() };
                }
            }
            2 => crate::mem::memory().fail_at = 1 + u32::from(byte()),
            3 => {
                device().status |= v::VIRTIO_CONFIG_S_NEEDS_RESET as u8;
                tell_change();
            }
            4 => device().go(Place::Away),
            5 => device().go(Place::CutOff),
            6 => device().go(Place::Here),
            7 => {
                device().forget();
                tell_change();
            }
            8 => device().no_queues ^= true,
            9 => device().stubborn ^= true,
            10 => device().deaf = true,
            11 => device().hear(),
            12 => device().be_honest(),
            // What follows in the input is of the end.
            _ => LEAVES.set(true),
        },
        _ => {}
    }
}
