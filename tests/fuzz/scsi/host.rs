// SPDX-License-Identifier: GPL-2.0

//! Hosts: allocated, added, removed, put.

use super::{
    cmnd,
    unit, //
    *,
};
use crate::{
    mem::{
        kfree,
        memory,
        new,
        zeroed, //
    },
    sync::{
        mutex_lock,
        mutex_unlock, //
    },
    world::{
        block,
        byte,
        might_sleep,
        spawn,
        w,
        wake,
        FOREVER, //
    },
};
use kernel::bindings as b;
use std::ffi::{
    c_int,
    c_void, //
};

/// Makes a list that looks empty, or not: nobody follows it.
unsafe fn set_list(list: *mut b::list_head, is_empty: bool) {
    (*list).next = if is_empty { list } else { list.wrapping_add(1) };
    (*list).prev = (*list).next;
}

/// The lists of error handling, which the driver looks at.
pub(super) fn show_lists(late: bool, failed: bool) {
    let shost = shost();

    // SAFETY: The host is there.
    unsafe {
        set_list(&raw mut (*shost).eh_abort_list, !late);
        set_list(&raw mut (*shost).eh_cmd_q, !failed);
    }
}

#[no_mangle]
unsafe extern "C" fn scsi_host_alloc(
    template: *const v::scsi_host_template,
    private: c_int,
) -> *mut v::Scsi_Host {
    might_sleep();
    assert!(mid().host.is_none(), "a host too many");
    if memory().fail_at == 2 {
        memory().fail_at = 0;
        return null_mut();
    }
    let shost = zeroed(size_of::<v::Scsi_Host>() + private as usize + 8).cast::<v::Scsi_Host>();

    (*shost).hostt = template;
    (*shost).host_lock = &raw mut (*shost).default_lock;
    (*shost).shost_state = v::scsi_host_state_SHOST_CREATED;
    (*shost).eh_deadline = if mid().deadline { 2500 } else { -1 };
    mid().host = Some(Host {
        shost,
        refs: 1,
        hctxs: Vec::new(),
        writers: 0,
    });
    show_lists(false, false);
    shost
}

/// Takes a reference to a host, if `dev` is that of one. Not so `scsi_host_get()`, which takes none to
/// a host that was removed.
pub fn get(dev: *mut b::device) -> bool {
    // SAFETY: The host is there.
    let own = |host: &&mut Host| unsafe { &raw mut (*host.shost).shost_gendev } == dev.cast();
    let Some(host) = mid().host.as_mut().filter(own) else {
        return false;
    };

    assert!(host.refs > 0);
    host.refs += 1;
    true
}

#[no_mangle]
pub(super) unsafe extern "C" fn scsi_host_put(shost: *mut v::Scsi_Host) {
    let host = mid().host.as_mut().expect("a host that is there");

    assert!(host.shost == shost && host.refs > 0);
    host.refs -= 1;
    if host.refs == 0 {
        let state = (*shost).shost_state;
        assert!(
            state == v::scsi_host_state_SHOST_CREATED || state == v::scsi_host_state_SHOST_DEL,
            "a host is freed that was not removed"
        );
        mid().host = None;
        kfree(shost.cast());
    }
}

#[no_mangle]
unsafe extern "C" fn scsi_add_host_with_dma(
    shost: *mut v::Scsi_Host,
    _dev: *mut c_void,
    _dma: *mut c_void,
) -> c_int {
    might_sleep();
    let host = &mut *shost;
    let set = &mut host.tag_set;

    assert!(host.can_queue > 0 && host.cmd_per_lun > 0 && host.sg_tablesize > 0);
    assert!(host.nr_hw_queues > 0 && host.max_sectors >= 8 && host.max_id > 0);
    assert!(usize::from(host.max_cmd_len) <= 32);
    if memory().fail_at == 3 {
        memory().fail_at = 0;
        return ENOMEM;
    }
    set.nr_hw_queues = host.nr_hw_queues;
    set.nr_maps = host.nr_maps;
    for map in &mut set.map[..host.nr_maps as usize] {
        map.mq_map = zeroed(8).cast();
    }
    template().map_queues.unwrap()(shost);
    for map in &(&(*shost).tag_set.map)[..host.nr_maps as usize] {
        for cpu in 0..2 {
            assert!(
                map.nr_queues == 0 || *map.mq_map.add(cpu) < host.nr_hw_queues,
                "a map to no queue"
            );
        }
    }
    for queue in 0..host.nr_hw_queues {
        let hctx = new::<b::blk_mq_hw_ctx>();

        (*hctx).queue_num = queue;
        mid().host.as_mut().unwrap().hctxs.push(hctx);
        // Not all of many: the users have not so many.
        for tag in 0..host.can_queue.min(16) {
            cmnd::make(hctx, tag);
        }
    }
    host.shost_state = v::scsi_host_state_SHOST_RUNNING;
    0
}

#[no_mangle]
unsafe extern "C" fn scsi_remove_host(shost: *mut v::Scsi_Host) {
    might_sleep();
    mutex_lock((&raw mut (*shost).scan_mutex).cast());
    (*shost).shost_state = match (*shost).shost_state {
        v::scsi_host_state_SHOST_RUNNING => v::scsi_host_state_SHOST_CANCEL,
        v::scsi_host_state_SHOST_RECOVERY => v::scsi_host_state_SHOST_CANCEL_RECOVERY,
        _ => panic!("a host is removed twice"),
    };
    while let Some(unit) = unit::any_left() {
        unit::remove(unit);
    }
    mutex_unlock((&raw mut (*shost).scan_mutex).cast());
    // Error handling ends by itself, and who has the file of the host open does.
    while mid().handling || mid().host.as_ref().unwrap().writers > 0 {
        block(progress(), FOREVER);
    }
    cmnd::free_all();
    for hctx in core::mem::take(&mut mid().host.as_mut().unwrap().hctxs) {
        kfree(hctx.cast());
    }
    for map in &(&(*shost).tag_set.map)[..(*shost).nr_maps as usize] {
        kfree(map.mq_map.cast());
    }
    (*shost).shost_state = v::scsi_host_state_SHOST_DEL;
}

/// Whether scans and new commands are allowed.
pub(super) fn is_up() -> bool {
    let shost = shost();

    // SAFETY: The host is there.
    !shost.is_null()
        && matches!(
            unsafe { (*shost).shost_state },
            v::scsi_host_state_SHOST_RUNNING | v::scsi_host_state_SHOST_RECOVERY
        )
}

/// Whether error handling holds commands back.
pub(super) fn is_recovering() -> bool {
    // SAFETY: The host is there.
    matches!(
        unsafe { (*shost()).shost_state },
        v::scsi_host_state_SHOST_RECOVERY | v::scsi_host_state_SHOST_CANCEL_RECOVERY
    )
}

#[no_mangle]
unsafe extern "C" fn scsi_report_bus_reset() {
    assert!(w().atomic > 0, "the host is not locked");
    for unit in &mid().units {
        (*unit.sdev).set_expecting_cc_ua(1);
    }
}

/// Nothing waits for it: no administrator says here that a host recovers.
#[no_mangle]
extern "C" fn scsi_unblock_requests(_: *mut v::Scsi_Host) {
    might_sleep();
    wake(progress());
}

/// All commands that are in flight.
#[no_mangle]
unsafe extern "C" fn scsi_host_busy_iter(
    _: *mut v::Scsi_Host,
    look: Option<unsafe extern "C" fn(*mut v::scsi_cmnd, *mut c_void) -> bool>,
    data: *mut c_void,
) {
    assert!(!mid().slots.is_empty(), "the tags are gone");
    for cmd in cmnd::in_flight() {
        if !look.unwrap()(cmd, data) {
            return;
        }
    }
}

/// Somebody has the host reset by its file, `host_reset`: the `adapter`, or what no driver does.
pub fn open_host_reset(adapter: bool) {
    // The file is there until all units are gone.
    let has_file = mid()
        .host
        .as_ref()
        .is_some_and(|host| !host.hctxs.is_empty());
    if !has_file {
        return;
    }
    mid().host.as_mut().unwrap().writers += 1;
    spawn("who resets the host", move || {
        // SAFETY: A host whose file is open stays added.
        unsafe { template().host_reset.unwrap()(shost(), adapter.into()) };
        mid().host.as_mut().unwrap().writers -= 1;
        wake(progress());
    });
}

/// The administrator says that the host recovers, by its file `state`, though nobody is at that.
pub fn write_state() {
    if is_up() && !is_recovering() && !mid().slots.is_empty() {
        // SAFETY: The host is there.
        unsafe { (*shost()).shost_state = v::scsi_host_state_SHOST_RECOVERY };
        crate::run::strand();
    }
}

/// He says that it runs, and has it reset.
pub fn rescue() {
    if is_up() && is_recovering() && !mid().handling {
        // SAFETY: As above.
        unsafe { (*shost()).shost_state = v::scsi_host_state_SHOST_RUNNING };
        mid().goes_on = true;
    }
    open_host_reset(true);
}

/// Somebody sets the queue depth of a unit.
pub fn change_depth() {
    if let Some(unit) = unit::some() {
        // SAFETY: The unit is there.
        unsafe { template().change_queue_depth.unwrap()(unit, byte().into()) };
    }
}

#[no_mangle]
unsafe extern "C" fn scsi_change_queue_depth(sdev: *mut v::scsi_device, depth: c_int) -> c_int {
    if depth > 0 {
        (*sdev).queue_depth = depth as u16;
    }
    (*sdev).queue_depth.into()
}

#[no_mangle]
unsafe extern "C" fn rust_helper_storage_init_async_domain(domain: *mut v::async_domain) {
    core::ptr::write_bytes(domain, 0, 1);
}

#[no_mangle]
extern "C" fn async_schedule_node_domain(
    f: Option<unsafe extern "C" fn(*mut c_void, u64)>,
    data: *mut c_void,
) -> u64 {
    let data = data as usize;

    mid().scans += 1;
    spawn("a scan", move || {
        // SAFETY: What was scheduled.
        unsafe { f.unwrap()(data as *mut c_void, 0) };
        mid().scans -= 1;
        wake(progress());
    });
    0
}

#[no_mangle]
extern "C" fn async_synchronize_full_domain() {
    might_sleep();
    while mid().scans > 0 {
        block(progress(), FOREVER);
    }
}
