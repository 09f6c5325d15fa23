// SPDX-License-Identifier: GPL-2.0

//! Locks, completions, atomics, time: what the modules use of the kernel's core.

use crate::{
    shadow::uses,
    world::{
        block,
        chance,
        current,
        in_task,
        might_sleep,
        sleep,
        w,
        wake,
        FOREVER,
        JIFFY, //
    }, //
};
use kernel::bindings as b;
use std::ffi::{
    c_char,
    c_int,
    c_long,
    c_uint,
    c_ulong,
    c_void, //
};

#[no_mangle]
unsafe extern "C" fn rust_helper___spin_lock_init(lock: *mut u32) {
    *lock = 0;
}

#[no_mangle]
unsafe extern "C" fn rust_helper_spin_lock(lock: *mut u32) {
    uses(lock);
    assert!(*lock == 0, "a spin lock is taken twice");
    *lock = 1;
    w().atomic += 1;
}

#[no_mangle]
unsafe extern "C" fn rust_helper_spin_unlock(lock: *mut u32) {
    uses(lock);
    assert!(*lock == 1, "a spin lock that is not held is released");
    *lock = 0;
    w().atomic -= 1;
}

#[no_mangle]
unsafe extern "C" fn rust_helper_spin_lock_irq_disable(lock: *mut u32) {
    rust_helper_spin_lock(lock);
}

#[no_mangle]
unsafe extern "C" fn rust_helper_spin_unlock_irq_enable(lock: *mut u32) {
    rust_helper_spin_unlock(lock);
}

#[no_mangle]
unsafe extern "C" fn rust_helper_spin_assert_is_held(lock: *mut u32) {
    assert!(*lock == 1);
}

#[no_mangle]
unsafe extern "C" fn rust_helper___mutex_init(lock: *mut usize) {
    *lock = 0;
}

#[no_mangle]
pub unsafe extern "C" fn mutex_lock(lock: *mut usize) {
    uses(lock);
    might_sleep();
    assert!(*lock != current() + 1, "a mutex is taken twice");
    if w().preempts && chance(4) {
        sleep(1000);
    }
    while *lock != 0 {
        block(lock as usize, FOREVER);
    }
    *lock = current() + 1;
}

#[no_mangle]
unsafe extern "C" fn mutex_trylock(lock: *mut usize) -> c_int {
    uses(lock);
    if *lock != 0 {
        return 0;
    }
    *lock = current() + 1;
    1
}

#[no_mangle]
pub unsafe extern "C" fn mutex_unlock(lock: *mut usize) {
    uses(lock);
    assert!(*lock == current() + 1, "somebody else's mutex is released");
    *lock = 0;
    wake(lock as usize);
}

#[no_mangle]
unsafe extern "C" fn rust_helper_mutex_assert_is_held(lock: *mut usize) {
    assert!(*lock != 0);
}

#[no_mangle]
extern "C" fn rust_helper_rcu_read_lock() {
    w().rcu += 1;
}

#[no_mangle]
extern "C" fn rust_helper_rcu_read_unlock() {
    w().rcu -= 1;
}

#[no_mangle]
extern "C" fn synchronize_rcu() {
    might_sleep();
    // A reader does not sleep, so no other task is one.
    sleep(1_000_000);
}

#[no_mangle]
extern "C" fn rust_helper_storage_synchronize_rcu_tasks() {
    synchronize_rcu();
}

#[no_mangle]
unsafe extern "C" fn rust_helper_init_completion(c: *mut b::completion) {
    (*c).done = 0;
}

#[no_mangle]
pub unsafe extern "C" fn complete(c: *mut b::completion) {
    uses(c);
    (*c).done = (*c).done.saturating_add(1);
    wake(c as usize);
}

#[no_mangle]
pub unsafe extern "C" fn complete_all(c: *mut b::completion) {
    uses(c);
    (*c).done = u32::MAX;
    wake(c as usize);
}

unsafe fn take(c: *mut b::completion) -> bool {
    uses(c);
    match (*c).done {
        0 => return false,
        u32::MAX => {}
        _ => (*c).done -= 1,
    }
    true
}

#[no_mangle]
unsafe extern "C" fn try_wait_for_completion(c: *mut b::completion) -> bool {
    take(c)
}

#[no_mangle]
pub unsafe extern "C" fn wait_for_completion(c: *mut b::completion) {
    might_sleep();
    while !take(c) {
        block(c as usize, FOREVER);
    }
}

#[no_mangle]
pub unsafe extern "C" fn wait_for_completion_timeout(
    c: *mut b::completion,
    jiffies: c_ulong,
) -> c_ulong {
    let until = w().now + jiffies * JIFFY;

    might_sleep();
    loop {
        if take(c) {
            return ((until.saturating_sub(w().now)) / JIFFY).max(1);
        }
        if w().now >= until {
            return 0;
        }
        block(c as usize, until);
    }
}

#[no_mangle]
extern "C" fn __init_waitqueue_head() {}

#[no_mangle]
extern "C" fn rust_helper_init_wait(_entry: *mut c_void) {}

/// What the task is about to wait for. No other runs between this and `schedule_timeout()`.
static mut PREPARED: usize = 0;

#[no_mangle]
unsafe extern "C" fn prepare_to_wait_exclusive(head: *mut c_void) {
    PREPARED = head as usize;
}

#[no_mangle]
extern "C" fn finish_wait() {}

#[no_mangle]
unsafe extern "C" fn schedule_timeout(jiffies: c_long) -> c_long {
    let until = if jiffies == c_long::MAX {
        FOREVER
    } else {
        w().now + jiffies as u64 * JIFFY
    };

    block(core::mem::take(&mut *(&raw mut PREPARED)), until);
    if until == FOREVER {
        return c_long::MAX;
    }
    (until.saturating_sub(w().now) / JIFFY) as c_long
}

#[no_mangle]
extern "C" fn schedule_timeout_uninterruptible(jiffies: c_long) -> c_long {
    sleep(jiffies as u64 * JIFFY);
    0
}

#[no_mangle]
extern "C" fn __wake_up(head: *mut c_void) {
    wake(head as usize);
}

#[no_mangle]
extern "C" fn ktime_get() -> i64 {
    w().now as i64
}

#[no_mangle]
extern "C" fn rust_helper_fsleep(us: c_ulong) {
    assert!(in_task(), "sleeps in an interrupt");
    sleep(us * 1000);
}

#[no_mangle]
extern "C" fn __msecs_to_jiffies(ms: c_uint) -> c_ulong {
    (u64::from(ms) * 1_000_000).div_ceil(JIFFY)
}

#[no_mangle]
extern "C" fn rust_helper_REFCOUNT_INIT(n: c_int) -> c_int {
    n
}

#[no_mangle]
unsafe extern "C" fn rust_helper_refcount_inc(r: *mut c_int) {
    uses(r);
    assert!(*r > 0, "a reference to what is gone");
    *r += 1;
}

#[no_mangle]
unsafe extern "C" fn rust_helper_refcount_dec_and_test(r: *mut c_int) -> bool {
    uses(r);
    assert!(*r > 0, "a reference is dropped twice");
    *r -= 1;
    *r == 0
}

macro_rules! atomics {
    ($($t:ty: $($read:ident)*; $($set:ident)*; $($xchg:ident)*; $($add:ident)*; $($cmpxchg:ident)*;)*) => {$(
        $(#[no_mangle] unsafe extern "C" fn $read(p: *mut $t) -> $t {
            uses(p);
            *p
        })*
        $(#[no_mangle] unsafe extern "C" fn $set(p: *mut $t, v: $t) {
            uses(p);
            *p = v;
        })*
        $(#[no_mangle] unsafe extern "C" fn $xchg(p: *mut $t, v: $t) -> $t {
            uses(p);
            core::mem::replace(&mut *p, v)
        })*
        $(#[no_mangle] unsafe extern "C" fn $add(v: $t, p: *mut $t) -> $t {
            uses(p);
            let old = *p;
            *p = old.wrapping_add(v);
            old
        })*
        $(#[no_mangle] unsafe extern "C" fn $cmpxchg(p: *mut $t, old: *mut $t, new: $t) -> bool {
            uses(p);
            if *p == *old {
                *p = new;
                return true;
            }
            *old = *p;
            false
        })*
    )*};
}
// The order of the arguments is that of the C functions.
atomics! {
    i8: rust_helper_atomic_i8_read rust_helper_atomic_i8_read_acquire;
        rust_helper_atomic_i8_set rust_helper_atomic_i8_set_release;
        rust_helper_atomic_i8_xchg rust_helper_atomic_i8_xchg_relaxed rust_helper_atomic_i8_xchg_acquire
        rust_helper_atomic_i8_xchg_release; ; ;
    i32: rust_helper_atomic_read rust_helper_atomic_read_acquire;
        rust_helper_atomic_set rust_helper_atomic_set_release;
        rust_helper_atomic_xchg rust_helper_atomic_xchg_relaxed rust_helper_atomic_xchg_acquire
        rust_helper_atomic_xchg_release;
        rust_helper_atomic_fetch_add rust_helper_atomic_fetch_add_relaxed rust_helper_atomic_fetch_add_acquire
        rust_helper_atomic_fetch_add_release;
        rust_helper_atomic_try_cmpxchg rust_helper_atomic_try_cmpxchg_relaxed;
    i64: rust_helper_atomic64_read rust_helper_atomic64_read_acquire;
        rust_helper_atomic64_set rust_helper_atomic64_set_release;
        rust_helper_atomic64_xchg rust_helper_atomic64_xchg_relaxed rust_helper_atomic64_xchg_acquire
        rust_helper_atomic64_xchg_release;
        rust_helper_atomic64_fetch_add rust_helper_atomic64_fetch_add_relaxed rust_helper_atomic64_fetch_add_acquire
        rust_helper_atomic64_fetch_add_release;
        rust_helper_atomic64_try_cmpxchg rust_helper_atomic64_try_cmpxchg_relaxed
        rust_helper_atomic64_try_cmpxchg_release;
    *const c_void: rust_helper_atomic_ptr_read rust_helper_atomic_ptr_read_acquire;
        rust_helper_atomic_ptr_set rust_helper_atomic_ptr_set_release; ; ; ;
}

#[no_mangle]
unsafe extern "C" fn rust_helper_atomic64_fetch_sub_release(v: i64, p: *mut i64) -> i64 {
    rust_helper_atomic64_fetch_add(v.wrapping_neg(), p)
}

#[no_mangle]
extern "C" fn rust_helper_IS_ERR(ptr: *const c_void) -> bool {
    ptr as usize >= 0usize.wrapping_sub(4095)
}

#[no_mangle]
extern "C" fn rust_helper_PTR_ERR(ptr: *const c_void) -> c_long {
    ptr as c_long
}

/// Prints, or not; what is said of a device must come to an end.
#[no_mangle]
unsafe extern "C" fn _dev_printk(
    _level: *const c_char,
    _dev: *mut c_void,
    _format: *const c_char,
    args: *const core::fmt::Arguments<'_>,
) {
    let text = format!("{}", *args);

    crate::scsi::heard(&text);
    w().messages += 1;
    if w().verbose {
        eprint!("{:>9.3} {text}", w().now as f64 / 1e9);
    }
}

/// As above, of no device.
#[no_mangle]
unsafe extern "C" fn _printk(
    _format: *const c_char,
    _module: *const c_char,
    args: *const core::fmt::Arguments<'_>,
) -> c_int {
    let text = format!("{}", *args);

    w().messages += 1;
    if w().verbose {
        eprint!("{:>9.3} {text}", w().now as f64 / 1e9);
    }
    0
}

/// The system runs.
#[no_mangle]
#[allow(non_upper_case_globals)]
static system_state: b::system_states = b::system_states_SYSTEM_RUNNING;

#[no_mangle]
unsafe extern "C" fn rust_helper_dev_get_drvdata(dev: *mut b::device) -> *mut c_void {
    (*dev).driver_data
}

#[no_mangle]
unsafe extern "C" fn rust_helper_dev_set_drvdata(dev: *mut b::device, data: *mut c_void) {
    (*dev).driver_data = data;
}

/// References to a device are counted in its power management, which nobody uses here.
#[no_mangle]
unsafe extern "C" fn get_device(dev: *mut b::device) -> *mut b::device {
    if !crate::scsi::get(dev) {
        (*dev).id += 1;
    }
    dev
}

#[no_mangle]
unsafe extern "C" fn put_device(dev: *mut b::device) {
    assert!((*dev).id > 0, "a device is put twice");
    (*dev).id -= 1;
}
