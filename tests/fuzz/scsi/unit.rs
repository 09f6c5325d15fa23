// SPDX-License-Identifier: GPL-2.0

//! Logical units: looked for, shown, removed.

use super::{
    cmnd,
    host,
    users, //
    *,
};
use crate::{
    mem::{
        kfree,
        new,
        zeroed, //
    },
    sync::{
        mutex_lock,
        mutex_unlock, //
    },
    world::{
        below,
        block,
        chance,
        might_sleep,
        FOREVER, //
    },
};
use kernel::bindings as b;
use std::{
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    mem::offset_of,
};

pub(super) struct Unit {
    pub(super) sdev: *mut v::scsi_device,
    refs: u32,
}

/// So many units of a target are looked for.
const LUNS: u64 = 3;

fn index(sdev: *mut v::scsi_device) -> usize {
    mid()
        .units
        .iter()
        .position(|unit| unit.sdev == sdev)
        .expect("a unit that is there")
}

fn state(sdev: *mut v::scsi_device) -> u32 {
    index(sdev);
    // SAFETY: It is there.
    unsafe { (*sdev).sdev_state }
}

/// Whether it takes commands, or none any more. One that is looked for takes some.
pub(super) fn takes(sdev: *mut v::scsi_device) -> bool {
    matches!(
        state(sdev),
        v::scsi_device_state_SDEV_CREATED | v::scsi_device_state_SDEV_RUNNING
    )
}

/// One of those that the system shows.
pub(super) fn some() -> Option<*mut v::scsi_device> {
    // SAFETY: They are there.
    let shown =
        |unit: &&Unit| unsafe { (*unit.sdev).sdev_state == v::scsi_device_state_SDEV_RUNNING };
    let units: Vec<_> = mid().units.iter().filter(shown).collect();

    (!units.is_empty()).then(|| units[below(units.len())].sdev)
}

pub(super) fn get(sdev: *mut v::scsi_device) -> bool {
    let gone = matches!(
        state(sdev),
        v::scsi_device_state_SDEV_CANCEL | v::scsi_device_state_SDEV_DEL
    );

    mid().units[index(sdev)].refs += u32::from(!gone);
    !gone
}

#[no_mangle]
pub(super) unsafe extern "C" fn scsi_device_put(sdev: *mut v::scsi_device) {
    let at = index(sdev);
    let unit = &mut mid().units[at];

    assert!(unit.refs > 0);
    unit.refs -= 1;
    if unit.refs == 0 {
        assert!(
            (*sdev).sdev_state == v::scsi_device_state_SDEV_DEL,
            "a unit is put once too often"
        );
        mid().units.remove(at);
        let shost = (*sdev).host;
        free(sdev);
        host::scsi_host_put(shost);
    }
}

#[no_mangle]
unsafe extern "C" fn scsi_device_lookup(
    _: *mut v::Scsi_Host,
    _channel: c_uint,
    id: c_uint,
    lun: u64,
) -> *mut v::scsi_device {
    match find(id, lun) {
        Some(sdev) if get(sdev) => sdev,
        _ => null_mut(),
    }
}

fn find(id: c_uint, lun: u64) -> Option<*mut v::scsi_device> {
    // SAFETY: The units are there.
    let same = |unit: &&Unit| unsafe {
        (*unit.sdev).id == id
            && (*unit.sdev).lun == lun
            && (*unit.sdev).sdev_state != v::scsi_device_state_SDEV_DEL
    };

    mid().units.iter().find(same).map(|unit| unit.sdev)
}

#[no_mangle]
unsafe extern "C" fn __scsi_iterate_devices(
    _: *mut v::Scsi_Host,
    last: *mut v::scsi_device,
) -> *mut v::scsi_device {
    let mut at = if last.is_null() { 0 } else { index(last) + 1 };
    let next = loop {
        let Some(unit) = mid().units.get(at) else {
            break null_mut();
        };
        if get(unit.sdev) {
            break unit.sdev;
        }
        at += 1;
    };

    if !last.is_null() {
        scsi_device_put(last);
    }
    next
}

#[no_mangle]
unsafe extern "C" fn scsi_scan_target(
    parent: *mut b::device,
    _channel: c_uint,
    id: c_uint,
    lun: u64,
    _mode: c_int,
) {
    let shost = shost();

    might_sleep();
    assert!(parent.byte_sub(offset_of!(v::Scsi_Host, shost_gendev)) as usize == shost as usize);
    mutex_lock((&raw mut (*shost).scan_mutex).cast());
    if host::is_up() {
        scan(parent, id, lun);
    }
    mutex_unlock((&raw mut (*shost).scan_mutex).cast());
}

unsafe fn scan(parent: *mut b::device, id: c_uint, lun: u64) {
    // The target is new unless it has units.
    if !mid().units.iter().any(|unit| (*unit.sdev).id == id) {
        let target = new::<v::scsi_target>();

        (*target).dev.parent = parent;
        (*target).id = id;
        let ret = template().target_alloc.unwrap()(target);
        kfree(target.cast());
        if ret != 0 {
            return;
        }
    }
    if lun != u64::MAX {
        probe(id, lun);
    } else if probe(id, 0) {
        for lun in 1..LUNS {
            probe(id, lun);
        }
        // One that is no unit's: of those that the device reports the mid-layer lets this through.
        if mid().asks && chance(4) {
            probe(id, (*shost()).max_lun);
        }
    }
}

/// Looks for a unit; whether it is there.
unsafe fn probe(id: c_uint, lun: u64) -> bool {
    if let Some(sdev) = find(id, lun) {
        return takes(sdev);
    }
    if !host::is_up() {
        return false;
    }
    let sdev = new::<v::scsi_device>();

    (*sdev).host = shost();
    assert!(host::get((&raw mut (*shost()).shost_gendev).cast()));
    (*sdev).id = id;
    (*sdev).lun = lun;
    (*sdev).sdev_state = v::scsi_device_state_SDEV_CREATED;
    mid().units.push(Unit { sdev, refs: 1 });
    assert!(template().sdev_init.unwrap()(sdev) == 0);

    let answer = zeroed(36).cast::<u8>();
    let cdb = [INQUIRY, 0, 0, 0, 36, 0];
    let result = users::execute(sdev, &cdb, answer as usize, 36, 3);
    let there = result == 0 && *answer >> 5 == 0;
    // The mid-layer keeps the answer.
    (*sdev).inquiry = answer;
    (*sdev).type_ = *answer & 0x1f;
    (*sdev).set_removable((*answer.add(1) >> 7).into());
    // It may have been removed meanwhile, though not by one who scans.
    if (*sdev).sdev_state == v::scsi_device_state_SDEV_CREATED && there {
        assert!(template().sdev_configure.unwrap()(sdev, null_mut()) == 0);
        if mid().sized {
            show_size(sdev);
        }
        (*sdev).sdev_state = v::scsi_device_state_SDEV_RUNNING;
        return true;
    }
    remove(sdev);
    false
}

/// A disk has a driver, by which the system knows its size: of 8192 sectors.
unsafe fn show_size(sdev: *mut v::scsi_device) {
    let queue = new::<b::request_queue>();

    (*queue).disk = new::<b::gendisk>();
    (*(*queue).disk).part0 = new::<b::block_device>();
    (*(*(*queue).disk).part0).bd_nr_sectors = 0x2000;
    (*sdev).request_queue = queue;
    (*sdev).sdev_gendev.driver = core::ptr::dangling_mut();
}

/// The memory of a unit goes.
unsafe fn free(sdev: *mut v::scsi_device) {
    let queue = (*sdev).request_queue;

    if !queue.is_null() {
        kfree((*(*queue).disk).part0.cast());
        kfree((*queue).disk.cast());
        kfree(queue.cast());
    }
    kfree((*sdev).inquiry.cast());
    kfree(sdev.cast());
}

#[no_mangle]
unsafe extern "C" fn scsi_rescan_device(sdev: *mut v::scsi_device) -> c_int {
    let answer = zeroed(8);

    might_sleep();
    let ret = users::execute(sdev, &[READ_CAPACITY; 1], answer as usize, 8, 3);
    kfree(answer);
    ret
}

#[no_mangle]
unsafe extern "C" fn scsi_remove_device(sdev: *mut v::scsi_device) {
    let shost = (*sdev).host;

    might_sleep();
    mutex_lock((&raw mut (*shost).scan_mutex).cast());
    remove(sdev);
    mutex_unlock((&raw mut (*shost).scan_mutex).cast());
}

/// One that was not removed yet.
pub(super) fn any_left() -> Option<*mut v::scsi_device> {
    // SAFETY: They are there.
    let left = |unit: &&Unit| unsafe { (*unit.sdev).sdev_state != v::scsi_device_state_SDEV_DEL };

    mid().units.iter().find(left).map(|unit| unit.sdev)
}

/// Removes a unit: its commands are waited for. The host's `scan_mutex` is held.
pub(super) unsafe fn remove(sdev: *mut v::scsi_device) {
    if (*sdev).sdev_state == v::scsi_device_state_SDEV_DEL {
        return;
    }
    // The disk's driver has the cache written.
    if (*sdev).sdev_state == v::scsi_device_state_SDEV_RUNNING && chance(2) {
        users::execute(sdev, &[SYNC_CACHE, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, 0, 3);
    }
    (*sdev).sdev_state = v::scsi_device_state_SDEV_CANCEL;
    loop {
        cmnd::fail_waiting(sdev);
        if !cmnd::has_any(sdev) {
            break;
        }
        block(progress(), FOREVER);
    }
    (*sdev).sdev_state = v::scsi_device_state_SDEV_DEL;
    scsi_device_put(sdev);
}

#[no_mangle]
unsafe extern "C" fn scsi_execute_cmd(
    sdev: *mut v::scsi_device,
    cdb: *const u8,
    _opf: c_uint,
    buffer: *mut c_void,
    len: c_uint,
    _timeout: c_int,
    retries: c_int,
) -> c_int {
    let size = match *cdb {
        0..0x20 => 6,
        0x20..0x60 => 10,
        _ => 16,
    };
    let cdb = core::slice::from_raw_parts(cdb, size);

    users::execute(sdev, cdb, buffer as usize, len as usize, retries)
}
