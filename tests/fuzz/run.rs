// SPDX-License-Identifier: GPL-2.0

//! What is the same for both drivers: probe, sleep, removal.

use crate::{
    virtio::{
        self,
        call,
        device, //
    },
    world::{
        advance,
        byte,
        is_done,
        is_over,
        w,
        waiting,
        FOREVER, //
    },
};
use storage::bindings as v;

/// The longest that a driver may need to let go of a device that does not answer, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000_000;

/// Waits for a task, while the device answers or not.
///
/// A device that swallows a command is given up by a driver that lets go of it. A probe waits for it for
/// ever, as that of the C driver does: so in time it answers here.
fn wait(id: usize, turn: fn(), limit: u64) {
    let begin = w().now;
    let end = begin + limit;
    let mut stuck = 0;

    turn();
    while !is_done(id) {
        match byte() % 4 {
            3 => {}
            1 if !is_over() => {
                for ring in device().rings.clone() {
                    // SAFETY: The ring lives: nobody ran since.
                    unsafe { (*ring).lie() };
                    virtio::interrupt(ring);
                }
            }
            _ => {
                for ring in device().rings.clone() {
                    // SAFETY: As above.
                    while unsafe { (*ring).answer() } {}
                    virtio::interrupt(ring);
                }
            }
        }
        turn();
        while PROBING.get() && w().now > begin + limit / 8 && !is_done(id) && stuck < 10_000 {
            stuck += 1;
            repent();
            turn();
        }
        if !is_done(id) && !advance(FOREVER) {
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

/// Has the driver look at the device; whether it takes it.
pub fn probe(turn: fn()) -> bool {
    static mut RESULT: i32 = 0;

    device().status = (v::VIRTIO_CONFIG_S_ACKNOWLEDGE
        | v::VIRTIO_CONFIG_S_DRIVER
        | v::VIRTIO_CONFIG_S_FEATURES_OK) as u8;
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
    BOUND.set(bound);
    bound
}

fn repent() {
    for ring in device().rings.clone() {
        // SAFETY: The ring lives: nobody ran since.
        unsafe { (*ring).repent() };
        virtio::interrupt(ring);
    }
}

thread_local! {
    static PROBING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static BOUND: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Calls the driver in a task, and waits for it.
pub fn drive(
    name: &'static str,
    turn: fn(),
    f: impl FnOnce(*mut v::virtio_driver, *mut v::virtio_device) + 'static,
) {
    let id = call(name, f);

    wait(id, turn, PATIENCE);
}

/// The system sleeps.
pub fn sleep_and_wake(turn: fn()) {
    let ops = |driver: *mut v::virtio_driver| {
        // SAFETY: Drivers are static.
        unsafe { ((*driver).freeze, (*driver).restore) }
    };

    drive("freeze", turn, move |driver, vdev| {
        let (freeze, restore) = ops(driver);
        // SAFETY: The device is bound. What `virtio_device_freeze()` and `..._restore()` do.
        unsafe {
            if freeze.unwrap()(vdev) != 0 {
                return;
            }
            crate::world::sleep(1_000_000_000);
            // The device comes back reset, with the features negotiated.
            device().status = (v::VIRTIO_CONFIG_S_ACKNOWLEDGE
                | v::VIRTIO_CONFIG_S_DRIVER
                | v::VIRTIO_CONFIG_S_FEATURES_OK) as u8;
            if byte() % 8 == 7 {
                device().no_queues = true;
            }
            let _ = restore.unwrap()(vdev);
            device().no_queues = false;
        }
    });
}

/// The device is unplugged, or the driver unbound.
pub fn end_of_removal(turn: fn()) {
    if BOUND.replace(false) {
        drive("remove", turn, |driver, vdev| {
            // SAFETY: The device is bound.
            unsafe { (*driver).remove.unwrap()(vdev) };
        });
        assert!(device().status == 0, "a device runs on without a driver");
    }
    turn();
}

/// Nothing goes on any more.
pub fn finish() {
    crate::mem::memory().fail_at = 0;
    while !crate::work::is_idle() || !waiting().is_empty() {
        crate::world::run_all();
        if crate::work::is_idle() && waiting().is_empty() {
            break;
        }
        assert!(advance(FOREVER), "these wait for ever: {}", waiting());
    }
    virtio::unplug();
    assert!(w().messages < 1000, "{} messages", w().messages);
}
