// SPDX-License-Identifier: GPL-2.0

//! Disks: allocated, added, removed, put; their limits and zones.

use super::mq::end_request;
use super::*;
use std::mem::offset_of;

/// What the block layer demands of limits: a driver that breaks it is warned of.
unsafe fn check(lim: *mut b::queue_limits) {
    let lim = &mut *lim;

    assert!(
        lim.logical_block_size.is_power_of_two() && (512..=65536).contains(&lim.logical_block_size)
    );
    assert!(
        lim.physical_block_size >= lim.logical_block_size
            && lim.physical_block_size.is_power_of_two()
    );
    assert!(lim.max_segments >= 1 && lim.max_segment_size >= 4096);
    assert!(lim.max_hw_sectors >= 8);
    assert!(lim.max_discard_segments >= 1 || lim.max_hw_discard_sectors == 0);
    if lim.features & storage::bindings::BLK_FEAT_ZONED != 0 {
        assert!(lim.chunk_sectors.is_power_of_two());
        assert!(lim.max_hw_zone_append_sectors > 0);
    }
}

const ERR_PTR: fn(c_int) -> *mut b::gendisk = |e| e as isize as *mut b::gendisk;

unsafe fn alloc_disk(set: *mut b::blk_mq_tag_set, lim: *mut b::queue_limits) -> *mut b::gendisk {
    might_sleep();
    check(lim);
    if memory().fail_at == 2 {
        memory().fail_at = 0;
        return ERR_PTR(-12);
    }
    let q = new::<b::request_queue>();
    let disk = new::<b::gendisk>();
    let bdev = new::<b::block_device>();
    let mut hctxs = Vec::new();

    // As the block layer has it where a driver names none.
    if (*lim).seg_boundary_mask == 0 {
        (*lim).seg_boundary_mask = u32::MAX as _;
    }
    (*q).limits = *lim;
    (*q).disk = disk;
    (*disk).queue = q;
    (*disk).part0 = bdev;
    (*bdev).bd_disk = disk;
    (*bdev).bd_queue = q;
    (*q).tag_set = set;
    if layer().forgets {
        (*q).queue_flags |= 1 << b::QUEUE_FLAG_FAIL_IO;
    }
    if !set.is_null() {
        (*q).mq_ops = (*set).ops;
        for i in 0..(*set).nr_hw_queues {
            let hctx = new::<b::blk_mq_hw_ctx>();

            (*hctx).queue = q;
            (*hctx).queue_num = i;
            let ret = (*(*set).ops).init_hctx.unwrap()(hctx, (*set).driver_data, i);
            assert!(ret == 0);
            hctxs.push(hctx);
        }
    }
    layer().disks.push(Disk {
        disk,
        q,
        hctxs,
        set,
        stopped: false,
        quiesced: false,
        frozen: 0,
        waiting: Vec::new(),
        goes_on: false,
        added: false,
        dead: false,
        groups: core::ptr::null(),
        readers: Rc::default(),
        refs: 1,
    });
    disk
}

#[no_mangle]
unsafe extern "C" fn __blk_mq_alloc_disk(
    set: *mut b::blk_mq_tag_set,
    lim: *mut b::queue_limits,
) -> *mut b::gendisk {
    alloc_disk(set, lim)
}

#[no_mangle]
unsafe extern "C" fn __blk_alloc_disk(lim: *mut b::queue_limits) -> *mut b::gendisk {
    alloc_disk(null_mut(), lim)
}

pub(super) fn of_disk(disk: *mut b::gendisk) -> &'static mut Disk {
    layer()
        .disks
        .iter_mut()
        .find(|d| d.disk == disk)
        .expect("a disk that was allocated")
}

pub(super) fn of_queue(q: *mut b::request_queue) -> &'static mut Disk {
    layer()
        .disks
        .iter_mut()
        .find(|d| d.q == q)
        .expect("a queue that was allocated")
}

pub(super) fn of_set(set: *mut b::blk_mq_tag_set) -> &'static mut Set {
    layer()
        .sets
        .iter_mut()
        .find(|s| s.set == set)
        .expect("a tag set that was allocated")
}

/// How many know the first block device of a disk.
unsafe fn users_of(part0: usize) -> *mut c_int {
    let kobj = &raw mut (*(part0 as *mut b::block_device)).bd_device.kobj;

    &raw mut (*kobj).kref.refcount.refs.counter
}

#[no_mangle]
unsafe extern "C" fn device_add_disk(
    _: *mut c_void,
    disk: *mut b::gendisk,
    groups: *const *const b::attribute_group,
) -> c_int {
    might_sleep();
    if memory().fail_at == 3 {
        memory().fail_at = 0;
        // Somebody has found it, and looks at it a little longer.
        users_of((*disk).part0 as usize).write(2);
        world::at(w().now + 20_000_000, (*disk).part0 as usize, |part0| {
            // SAFETY: Who drops the disk waits for this.
            unsafe { users_of(part0).write(1) };
        });
        return -12;
    }
    (*disk).state |= 1 << b::GD_ADDED;
    if (*(*disk).queue).mq_ops.is_null() {
        (*(*disk).part0).__bd_flags.counter |= b::BD_HAS_SUBMIT_BIO as c_int;
    }
    of_disk(disk).added = true;
    of_disk(disk).groups = groups;
    0
}

#[no_mangle]
unsafe extern "C" fn del_gendisk(disk: *mut b::gendisk) {
    might_sleep();
    if w().preempts {
        // It takes a lock first.
        world::sleep(1000);
    }
    let this = of_disk(disk);
    let q = this.q;

    assert!(this.added && !this.dead, "a disk is removed twice");
    this.dead = true;
    // Who has an attribute open is waited for.
    while of_disk(disk).readers.get() > 0 {
        block(disk as usize, FOREVER);
    }
    let this = of_disk(disk);
    // What waits to be dispatched fails, what is in flight is waited for.
    if !this.set.is_null() {
        for rq in core::mem::take(&mut this.waiting) {
            end_request(rq, 10);
        }
        while !of_set(of_queue(q).set).busy.is_empty() {
            block(q as usize, FOREVER);
            for rq in core::mem::take(&mut of_queue(q).waiting) {
                end_request(rq, 10);
            }
        }
        exit_queue(of_disk(disk));
    }
}

unsafe fn exit_queue(disk: &mut Disk) {
    for (i, hctx) in core::mem::take(&mut disk.hctxs).into_iter().enumerate() {
        (*(*disk.set).ops).exit_hctx.unwrap()(hctx, i as u32);
        kfree(hctx.cast());
    }
}

#[no_mangle]
unsafe extern "C" fn put_disk(disk: *mut b::gendisk) {
    might_sleep();
    of_disk(disk).refs -= 1;
    if of_disk(disk).refs == 0 {
        free(disk);
    }
}

unsafe fn free(disk: *mut b::gendisk) {
    let at = layer().disks.iter().position(|d| d.disk == disk);
    let mut this = layer().disks.remove(at.expect("a disk is put once"));
    crate::world::forget(this.q as usize, super::mq::go_on);

    assert!(
        !this.added || this.dead,
        "a disk is put that was not removed"
    );
    exit_queue(&mut this);
    if this.added {
        (*(*disk).fops).free_disk.unwrap()(disk);
    }
    kfree((*disk).part0.cast());
    kfree(this.q.cast());
    kfree(disk.cast());
}

/// Somebody opens the disk, if it lets him.
pub fn open() {
    let Some(disk) = layer().disks.iter().find(|disk| disk.added && !disk.dead) else {
        return;
    };
    let disk = disk.disk;

    // SAFETY: The disk lives.
    unsafe {
        if may_open(disk) {
            of_disk(disk).refs += 1;
            (*(*disk).part0).bd_openers.counter += 1;
            layer().openers.push(disk);
        }
    }
}

/// Whether the driver lets one open the disk now.
pub(super) unsafe fn may_open(disk: *mut b::gendisk) -> bool {
    (&raw const (*disk).open_mutex).cast::<usize>().read() == 0
        && (*(*disk).fops).open.unwrap()(disk, 0) == 0
}

/// One of those closes it again, and the last one may free it.
pub fn close() {
    let Some(disk) = layer().openers.pop() else {
        return;
    };

    spawn("who closes a disk", move || {
        let geometry = new::<b::hd_geometry>();

        // SAFETY: Who has it open has a reference.
        unsafe {
            (*(*disk).fops).getgeo.unwrap()(disk, geometry);
            kfree(geometry.cast());
            let_go(disk);
        }
    });
}

/// All do.
pub fn close_all() {
    while !layer().openers.is_empty() {
        close();
    }
}

#[no_mangle]
extern "C" fn set_disk_ro() {}

#[no_mangle]
unsafe extern "C" fn set_capacity(disk: *mut b::gendisk, sectors: u64) {
    (*(*disk).part0).bd_nr_sectors = sectors;
}

#[no_mangle]
unsafe extern "C" fn set_capacity_and_notify(disk: *mut b::gendisk, sectors: u64) -> bool {
    assert!(sectors <= i64::MAX as u64 >> 9);
    set_capacity(disk, sectors);
    true
}

#[no_mangle]
unsafe extern "C" fn queue_limits_commit_update_frozen(
    q: *mut b::request_queue,
    lim: *mut b::queue_limits,
) -> c_int {
    check(lim);
    // Requests are waited for, and no new ones come meanwhile.
    if !of_queue(q).set.is_null() {
        of_queue(q).frozen += 1;
        while !of_set(of_queue(q).set).busy.is_empty() {
            block(q as usize, FOREVER);
        }
        of_queue(q).frozen -= 1;
        wake(q as usize);
    }
    (*q).limits = *lim;
    crate::sync::mutex_unlock((&raw mut (*q).limits_lock).cast());
    0
}

/// One that the driver wants; by those of the users the device is tried.
#[no_mangle]
extern "C" fn blkdev_issue_flush(_bdev: *mut b::block_device) -> c_int {
    might_sleep();
    0
}

#[no_mangle]
unsafe extern "C" fn blk_revalidate_disk_zones(disk: *mut b::gendisk) -> c_int {
    might_sleep();
    let zone = u64::from((*of_disk(disk).q).limits.chunk_sectors);
    let capacity = (*(*disk).part0).bd_nr_sectors;

    // Not so many that they take long, but more than a report holds.
    if zone == 0 || capacity == 0 || capacity / zone > 5000 {
        return ENODEV;
    }
    let mut next = 0u64;
    let n = (*(*disk).fops).report_zones.unwrap()(disk, 0, u32::MAX, (&raw mut next).cast());
    if n < 0 {
        return n;
    }
    if n == 0 || next != capacity {
        return ENODEV;
    }
    (*disk).nr_zones = capacity.div_ceil(zone) as u32;
    0
}

/// Somebody asks for some zones.
pub fn report() {
    let Some(disk) = layer().disks.iter().find(|disk| disk.added && !disk.dead) else {
        return;
    };
    let disk = disk.disk;
    let (at, most) = (u64::from(world::byte()) << 5, u32::from(world::byte()) % 40);

    // SAFETY: The disk lives as long as somebody has it open.
    unsafe {
        if !may_open(disk) {
            return;
        }
        of_disk(disk).refs += 1;
        (*(*disk).part0).bd_openers.counter += 1;
        spawn("who asks for zones", move || {
            let zone = u64::from((*of_disk(disk).q).limits.chunk_sectors);
            let mut next = at & !(zone - 1);
            let next = (&raw mut next).cast();
            let n = (*(*disk).fops).report_zones.unwrap()(disk, at, most, next);

            assert!(n <= most as c_int, "more zones than were asked for");
            let_go(disk);
        });
    }
}

/// Who has the disk open closes it.
unsafe fn let_go(disk: *mut b::gendisk) {
    crate::sync::mutex_lock((&raw mut (*disk).open_mutex).cast());
    if w().preempts {
        // What is dirty is written.
        world::sleep(1000);
    }
    (*(*disk).part0).bd_openers.counter -= 1;
    crate::sync::mutex_unlock((&raw mut (*disk).open_mutex).cast());
    put_disk(disk);
}

/// The zones of a report follow each other, or the driver let a bad one through.
#[no_mangle]
unsafe extern "C" fn disk_report_zone(
    disk: *mut b::gendisk,
    zone: *mut b::blk_zone,
    _index: c_uint,
    next: *mut b::blk_report_zones_args,
) -> c_int {
    let next = &mut *next.cast::<u64>();
    let zone = &*zone;
    let capacity = (*(*disk).part0).bd_nr_sectors;

    assert!(zone.start == *next, "a gap between zones");
    assert!(zone.len > 0 && zone.start + zone.len <= capacity && zone.capacity <= zone.len);
    // Open or closed ones are written where their pointer is.
    let has_pointer = matches!(zone.cond, 2..=4);
    assert!(
        !has_pointer || (zone.start..=zone.start + zone.len).contains(&zone.wp),
        "a write pointer outside of its zone"
    );
    *next = zone.start + zone.len;
    0
}

#[no_mangle]
extern "C" fn rust_helper_storage_set_geometry() {}

#[no_mangle]
extern "C" fn __register_blkdev() -> c_int {
    252
}

#[no_mangle]
extern "C" fn unregister_blkdev() {}

#[no_mangle]
unsafe extern "C" fn string_get_size(
    _: u64,
    _: u64,
    _: c_uint,
    buf: *mut c_char,
    _: c_int,
) -> c_int {
    *buf = 0;
    0
}

#[no_mangle]
extern "C" fn blk_status_to_errno(status: u8) -> c_int {
    if status == 0 {
        0
    } else {
        EIO
    }
}

/// What is remembered of a disk goes by this: each life has another one.
#[no_mangle]
extern "C" fn rust_helper_dev_name() -> *const u8 {
    device().name.as_ptr().cast()
}

/// What keeps a disk whose removal does not wait for the user of a file.
struct Node {
    disk: *mut b::gendisk,
    readers: Rc<Cell<u32>>,
}

#[no_mangle]
unsafe extern "C" fn sysfs_break_active_protection(kobj: *mut b::kobject) -> *mut c_void {
    might_sleep();
    let bdev = kobj
        .byte_sub(offset_of!(b::block_device, bd_device) + offset_of!(b::device, kobj))
        .cast::<b::block_device>();
    let this = of_disk((*bdev).bd_disk);

    // The file is about to go.
    if this.dead {
        return null_mut();
    }
    this.refs += 1;
    this.readers.set(this.readers.get() - 1);
    wake(this.disk as usize);
    Box::into_raw(Box::new(Node {
        disk: this.disk,
        readers: this.readers.clone(),
    }))
    .cast()
}

#[no_mangle]
unsafe extern "C" fn sysfs_unbreak_active_protection(node: *mut c_void) {
    let node = Box::from_raw(node.cast::<Node>());

    node.readers.set(node.readers.get() + 1);
    put_disk(node.disk);
}
