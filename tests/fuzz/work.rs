// SPDX-License-Identifier: GPL-2.0

//! Workqueues: each work item that is due gets a task, one at a time for the same item.

use crate::world::{
    self,
    block,
    spawn,
    w,
    wake,
    FOREVER,
    JIFFY, //
};
use kernel::bindings as b;
use std::ffi::{
    c_int,
    c_uint,
    c_ulong,
    c_void, //
};

#[derive(Default)]
struct Works {
    pending: Vec<usize>,
    running: Vec<usize>,
    /// Such as may not be queued any more.
    disabled: Vec<usize>,
    /// How often those slept in a row that queued themselves again and again: one that looks after
    /// something by itself sleeps as long as a task that does.
    naps: Vec<(usize, u64)>,
    /// How often those were started in a row by nobody else than themselves, that watch something.
    looks: Vec<(usize, u32)>,
}

static mut WORKS: Works = Works {
    pending: Vec::new(),
    running: Vec::new(),
    disabled: Vec::new(),
    naps: Vec::new(),
    looks: Vec::new(),
};

fn works() -> &'static mut Works {
    // SAFETY: One thread; borrowed for a moment only.
    unsafe { &mut *(&raw mut WORKS) }
}

/// Forgets those of the last run.
pub fn begin() {
    works().disabled.clear();
    works().naps.clear();
    works().looks.clear();
}

/// Whether something waits or runs.
pub fn is_idle() -> bool {
    works().pending.is_empty() && works().running.is_empty()
}

/// Whether something waits that could run.
pub fn is_due() -> bool {
    let works = works();

    works
        .pending
        .iter()
        .any(|work| !works.running.contains(work))
}

/// Gives what is due a task.
pub fn start() {
    loop {
        let works = works();
        let running = &works.running;
        let Some(at) = works
            .pending
            .iter()
            .position(|work| !running.contains(work))
        else {
            return;
        };
        let work = works.pending.remove(at);

        works.running.push(work);
        spawn("a work item", move || {
            let ptr = work as *mut b::work_struct;

            world::set_naps(take_naps(work));
            // SAFETY: Who enqueued it keeps it until it ran. The function may free it.
            unsafe { (*ptr).func.expect("a work item has a function")(ptr) };
            let works = crate::work::works();
            works.running.retain(|other| *other != work);
            if works.pending.contains(&work) {
                works.naps.push((work, world::naps()));
            }
            wake(work);
        });
    }
}

/// How often an item slept in a row when it last queued itself.
fn take_naps(work: usize) -> u64 {
    let naps = &mut works().naps;
    let at = naps.iter().position(|(other, _)| *other == work);

    at.map_or(0, |at| naps.swap_remove(at).1)
}

fn enqueue(work: usize) -> bool {
    if works().pending.contains(&work) || works().disabled.contains(&work) {
        return false;
    }
    works().pending.push(work);
    true
}

#[no_mangle]
extern "C" fn alloc_workqueue_noprof() -> *mut c_void {
    core::ptr::dangling_mut::<u64>().cast()
}

#[no_mangle]
extern "C" fn destroy_workqueue(_wq: *mut c_void) {}

#[no_mangle]
extern "C" fn __flush_workqueue(_wq: *mut c_void) {}

#[no_mangle]
unsafe extern "C" fn rust_helper_init_work_with_key(
    work: *mut b::work_struct,
    func: b::work_func_t,
    _onstack: bool,
    _name: *const u8,
    _key: *mut c_void,
) {
    (*work).func = func;
    works().disabled.retain(|other| *other != work as usize);
}

#[no_mangle]
extern "C" fn queue_work_on(_cpu: c_int, _wq: *mut c_void, work: *mut b::work_struct) -> bool {
    enqueue(work as usize)
}

fn delayed_is_due(dwork: usize) {
    // The work is the first field.
    enqueue(dwork);
}

#[no_mangle]
extern "C" fn queue_delayed_work_on(
    _cpu: c_int,
    _wq: *mut c_void,
    dwork: *mut b::delayed_work,
    delay: c_ulong,
) -> bool {
    let dwork = dwork as usize;

    if works().pending.contains(&dwork) || world::forget(dwork, delayed_is_due) {
        // It keeps its time, near enough.
        if !works().pending.contains(&dwork) {
            world::at(w().now + delay * JIFFY, dwork, delayed_is_due);
        }
        return false;
    }
    world::at(w().now + delay * JIFFY, dwork, delayed_is_due);
    true
}

#[no_mangle]
extern "C" fn cancel_delayed_work_sync(dwork: *mut b::delayed_work) -> bool {
    let dwork = dwork as usize;
    let before = works().pending.len();

    works().pending.retain(|work| *work != dwork);
    let waited = world::forget(dwork, delayed_is_due) || works().pending.len() != before;
    while works().running.contains(&dwork) {
        block(dwork, FOREVER);
    }
    waited
}

/// As the above, and it is never queued again. Its memory may be another work item's later.
#[no_mangle]
extern "C" fn disable_delayed_work_sync(dwork: *mut b::delayed_work) -> bool {
    works().disabled.push(dwork as usize);
    cancel_delayed_work_sync(dwork)
}

#[no_mangle]
unsafe extern "C" fn rust_helper_storage_watch_setup(
    dwork: *mut b::delayed_work,
    look: b::work_func_t,
) {
    (*dwork).work.func = look;
    works().disabled.retain(|other| *other != dwork as usize);
}

#[no_mangle]
extern "C" fn rust_helper_storage_watch_start(
    dwork: *mut b::delayed_work,
    delay_ms: c_uint,
    again: bool,
) {
    let dwork = dwork as usize;
    let waits = works().pending.contains(&dwork) || world::waits(dwork, delayed_is_due);

    if works().disabled.contains(&dwork) || waits && !again {
        return;
    }
    works().pending.retain(|work| *work != dwork);
    world::forget(dwork, delayed_is_due);
    let longer = (looks(dwork) / 16).min(4);
    world::at(
        w().now + (u64::from(delay_ms) * 1_000_000 << longer),
        dwork,
        delayed_is_due,
    );
}

/// How often one that watches something looked in a row; not so who starts it just now.
fn looks(dwork: usize) -> u32 {
    let is_itself = works().running.contains(&dwork);
    let looks = &mut works().looks;
    let at = looks.iter().position(|(other, _)| *other == dwork);
    let at = at.unwrap_or_else(|| {
        looks.push((dwork, 0));
        looks.len() - 1
    });

    looks[at].1 = if is_itself { looks[at].1 + 1 } else { 0 };
    looks[at].1
}

#[no_mangle]
extern "C" fn delayed_work_timer_fn() {}

#[no_mangle]
extern "C" fn timer_init_key() {}
