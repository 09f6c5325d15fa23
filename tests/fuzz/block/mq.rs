// SPDX-License-Identifier: GPL-2.0

//! Requests, as blk-mq lends them to a driver.

use super::disk::{of_queue, of_set};
use super::*;
use crate::mem::address_of;

#[no_mangle]
extern "C" fn blk_mq_num_possible_queues(max: c_uint) -> c_uint {
    if max == 0 {
        2
    } else {
        max.min(2)
    }
}

#[no_mangle]
unsafe extern "C" fn blk_mq_map_queues(map: *mut b::blk_mq_queue_map) {
    for cpu in 0..2 {
        *(*map).mq_map.add(cpu) = (*map).queue_offset + cpu as u32 % (*map).nr_queues;
    }
}

#[no_mangle]
unsafe extern "C" fn blk_mq_map_hw_queues(map: *mut b::blk_mq_queue_map) {
    blk_mq_map_queues(map);
}

#[no_mangle]
unsafe extern "C" fn blk_mq_alloc_tag_set(set: *mut b::blk_mq_tag_set) -> c_int {
    might_sleep();
    if (*set).queue_depth == 0 || (*set).nr_hw_queues == 0 {
        return EINVAL;
    }
    if memory().fail_at == 4 {
        memory().fail_at = 0;
        return -12;
    }
    (*set).queue_depth = (*set).queue_depth.min(10240);
    for i in 0..(*set).nr_maps as usize {
        (*set).map[i].mq_map = zeroed(8).cast();
    }
    (*(*set).ops).map_queues.unwrap()(set);
    for map in &(&(*set).map)[..(*set).nr_maps as usize] {
        for cpu in 0..2 {
            assert!(
                map.nr_queues == 0 || *map.mq_map.add(cpu) < (*set).nr_hw_queues,
                "a map to no queue"
            );
        }
    }
    let mut requests = Vec::new();
    for i in 0..(*set).nr_hw_queues {
        let make = |_| {
            let rq =
                zeroed(size_of::<b::request>() + (*set).cmd_size as usize).cast::<b::request>();
            let ret = (*(*set).ops).init_request.unwrap()(set, rq, i, -1);
            assert!(ret == 0);
            rq
        };
        // Not all of a large one: the users have not so many.
        requests.push((0..(*set).queue_depth.min(24)).map(make).collect());
    }
    layer().sets.push(Set {
        set,
        requests,
        busy: Vec::new(),
    });
    0
}

#[no_mangle]
unsafe extern "C" fn blk_mq_free_tag_set(set: *mut b::blk_mq_tag_set) {
    let at = layer()
        .sets
        .iter()
        .position(|s| s.set == set)
        .expect("a tag set is freed once");
    let this = layer().sets.remove(at);

    assert!(this.busy.is_empty(), "requests are in use");
    for (i, requests) in this.requests.iter().enumerate() {
        for rq in requests {
            (*(*set).ops).exit_request.unwrap()(set, *rq, i as u32);
            kfree((*rq).cast());
        }
    }
    for i in 0..(*set).nr_maps as usize {
        kfree((*set).map[i].mq_map.cast());
    }
}

impl Disk {
    pub fn is_mq(&self) -> bool {
        !self.set.is_null()
    }

    /// A request of hardware queue `index`, with `bio` and those that follow it; `None` if all are in use, or the queue is frozen.
    pub fn request(&self, index: usize, bio: *mut b::bio) -> Option<*mut b::request> {
        if self.frozen > 0 {
            return None;
        }
        let set = of_set(self.set);
        let index = index % self.hctxs.len();
        let at = set.requests[index]
            .iter()
            .position(|rq| !set.busy.contains(rq))?;
        let rq = set.requests[index][at];

        set.busy.push(rq);
        // SAFETY: The request is free.
        unsafe {
            core::ptr::write_bytes(rq, 0, 1);
            (*rq).q = self.q;
            (*rq).mq_hctx = self.hctxs[index];
            (*rq).tag = at as c_int;
            if index as u32 >= (*self.set).map[0].nr_queues {
                (*rq).cmd_flags = 1 << b::req_flag_bits___REQ_POLLED;
            }
            if layer().merges {
                // With a scheduler, with statistics.
                (*rq).rq_flags = [
                    0,
                    1 << b::rqf_flags___RQF_SCHED_TAGS,
                    1 << b::rqf_flags___RQF_IO_STAT,
                    0,
                ][usize::from(world::byte() & 3)];
            }
            if !bio.is_null() {
                (*rq).cmd_flags |= (*bio).bi_opf;
                (*rq).__sector = (*bio).bi_iter.bi_sector;
                (*rq).bio = bio;
                for bio in bios(rq) {
                    (*rq).__data_len += (*bio).bi_iter.bi_size;
                    (*rq).biotail = bio;
                    if (*bio).bi_vcnt == 0 && (*bio).bi_iter.bi_size > 0 {
                        (*rq).nr_phys_segments += 1;
                    }
                }
                (*rq).nr_phys_segments += pieces(rq).len() as u16;
            }
        }
        Some(rq)
    }

    /// Gives a request to the driver, now or later. Returns `false` if that refused it.
    pub fn queue(&mut self, rq: *mut b::request, last: bool) -> bool {
        if self.stopped || self.quiesced {
            self.waiting.push(rq);
            return true;
        }
        is_sent(id_of(rq));
        // SAFETY: The request is ours and idle.
        let status = unsafe {
            let data = b::blk_mq_queue_data { rq, last };
            w().rcu += 1;
            let status = (*(*self.set).ops).queue_rq.unwrap()((*rq).mq_hctx, &data);
            w().rcu -= 1;
            status
        };
        match u32::from(status) {
            0 => {}
            // Tried again later: after a while, or when a request ends.
            9 | 13 => {
                // SAFETY: It is ours again.
                unsafe { (*rq).state = IDLE };
                world::forget(rq as usize, timed_out);
                self.waiting.push(rq);
                if u32::from(status) == 9 && !world::waits(self.q as usize, go_on) {
                    world::at(w().now + RESOURCE_DELAY, self.q as usize, go_on);
                }
            }
            _ => end_request(rq, status),
        }
        status == 0
    }

    /// Gives a plug's requests to the driver.
    pub fn queue_list(&mut self, requests: &[*mut b::request]) {
        if self.stopped || self.quiesced {
            self.waiting.extend(requests);
            return;
        }
        // SAFETY: The requests are ours and idle.
        unsafe {
            let mut list = b::rq_list {
                head: null_mut(),
                tail: null_mut(),
            };
            requests.iter().for_each(|rq| is_sent(id_of(*rq)));
            for rq in requests.iter().rev() {
                (**rq).__bindgen_anon_1.rq_next = list.head;
                list.head = *rq;
                if list.tail.is_null() {
                    list.tail = *rq;
                }
            }
            w().rcu += 1;
            (*(*self.set).ops).queue_rqs.unwrap()(&mut list);
            w().rcu -= 1;
            while !list.head.is_null() {
                let rq = list.head;
                list.head = (*rq).__bindgen_anon_1.rq_next;
                (*rq).__bindgen_anon_1.rq_next = null_mut();
                let hctx = (*rq).mq_hctx;
                let is_last = list.head.is_null();
                // That more follow was not true.
                if !self.queue(rq, is_last) && is_last {
                    (*(*self.set).ops).commit_rqs.unwrap()(hctx);
                }
            }
        }
    }

    fn rerun(&mut self) {
        if self.stopped || self.quiesced {
            return;
        }
        self.goes_on = false;
        for rq in core::mem::take(&mut self.waiting) {
            self.queue(rq, true);
        }
    }

    pub fn poll(&mut self, index: usize) {
        unsafe extern "C" fn end_others(_: *mut b::io_comp_batch) {
            panic!("another driver's batch is not empty");
        }
        let hctx = self.hctxs[index % self.hctxs.len()];
        let mut batch = b::io_comp_batch::default();
        // Who polls may have polled disks of other drivers before, and have a batch or none.
        let how = if layer().merges { world::byte() % 3 } else { 0 };
        if how == 2 {
            batch.complete = Some(end_others);
        }
        // SAFETY: The queue is live.
        unsafe {
            if let Some(poll) = (*(*self.set).ops).poll {
                poll(hctx, if how == 0 { null_mut() } else { &mut batch });
            }
            if let Some(end) = batch.complete.filter(|_| !batch.req_list.head.is_null()) {
                end(&mut batch);
            }
        }
    }

    /// Whether it lets one open it.
    pub fn may_open(&self) -> bool {
        // SAFETY: The disk lives.
        unsafe { super::disk::may_open(self.disk) }
    }

    /// Somebody asks for the geometry.
    pub fn geometry(&self) {
        let geometry = new::<b::hd_geometry>();

        // SAFETY: The disk lives.
        unsafe { (*(*self.disk).fops).getgeo.unwrap()(self.disk, geometry) };
        kfree(geometry.cast());
    }

    pub fn capacity(&self) -> u64 {
        // SAFETY: The disk lives.
        unsafe { (*(*self.disk).part0).bd_nr_sectors }
    }

    pub fn part0(&self) -> *mut b::block_device {
        // SAFETY: The disk lives.
        unsafe { (*self.disk).part0 }
    }

    pub fn limits(&self) -> &b::queue_limits {
        // SAFETY: The disk lives.
        unsafe { &(*self.q).limits }
    }

    /// No more requests follow.
    pub fn commit(&self, index: usize) {
        let hctx = self.hctxs[index % self.hctxs.len()];
        // SAFETY: The queue is live.
        unsafe { (*(*self.set).ops).commit_rqs.unwrap()(hctx) };
    }

    /// Hands a bio to the driver. In a task: it may sleep.
    pub fn submit(&self, bio: *mut b::bio) {
        // SAFETY: The bio is the driver's from here on.
        unsafe { (*(*self.disk).fops).submit_bio.unwrap()(bio) };
    }
}

/// The bios of a request.
unsafe fn bios(rq: *mut b::request) -> Vec<*mut b::bio> {
    let next = |bio: &*mut b::bio| Some((**bio).bi_next).filter(|next| !next.is_null());

    core::iter::successors(Some((*rq).bio).filter(|bio| !bio.is_null()), next).collect()
}

/// The pieces of its data: what lies side by side may be one of them, and none is too long.
unsafe fn pieces(rq: *mut b::request) -> Vec<(usize, usize)> {
    let most = (*(*rq).q).limits.max_segment_size as usize;
    let mut pieces = Vec::<(usize, usize)>::new();

    for bio in bios(rq) {
        let iter = (*bio).bi_iter;
        let mut done = iter.bi_offset as usize;

        for i in iter.bi_idx as usize..(*bio).bi_vcnt.into() {
            let vec = &*(*bio).bi_io_vec.add(i);
            let mut at = address_of(vec.bv_page as usize) + vec.bv_offset as usize + done;
            let mut left = vec.bv_len as usize - core::mem::take(&mut done);

            while left > 0 {
                let len = left.min(most);
                match pieces.last_mut() {
                    Some(last)
                        if layer().merges && last.0 + last.1 == at && last.1 + len <= most =>
                    {
                        last.1 += len
                    }
                    _ => pieces.push((at, len)),
                }
                at += len;
                left -= len;
            }
        }
    }
    pieces
}

/// Merges what users submitted in a row to requests.
pub fn merge(disk: &Disk, all: Vec<*mut b::bio>) -> Vec<Vec<*mut b::bio>> {
    let limits = disk.limits();
    let mut merged = Vec::<Vec<*mut b::bio>>::new();

    for bio in all {
        // SAFETY: The bios are ours.
        let fits = |before: &Vec<*mut b::bio>| unsafe {
            let last = *before.last().unwrap();
            let end = (*last).bi_iter.bi_sector + u64::from((*last).bi_iter.bi_size >> 9);
            let vectors = |bio: &*mut b::bio| usize::from((**bio).bi_vcnt) * 4;

            (*last).bi_opf == (*bio).bi_opf
                && match (*bio).bi_opf {
                    3 => before.len() < limits.max_discard_segments.into(),
                    0 | 1 => {
                        end == (*bio).bi_iter.bi_sector
                            && before.iter().map(vectors).sum::<usize>() + vectors(&bio)
                                <= limits.max_segments.into()
                    }
                    _ => false,
                }
        };
        match merged
            .last_mut()
            .filter(|before| layer().merges && fits(before))
        {
            Some(before) => {
                // SAFETY: As above.
                unsafe { (**before.last().unwrap()).bi_next = bio };
                before.push(bio);
            }
            None => merged.push(vec![bio]),
        }
    }
    for bios in &merged {
        // SAFETY: As above.
        oracle::merged(bios.iter().map(|bio| unsafe { (**bio).bi_ioprio.into() }));
    }
    merged
}

/// The number of the I/O that a request is of; 0 if it is the driver's own.
fn id_of(rq: *mut b::request) -> usize {
    // SAFETY: The request is in use, and its bio lives as long.
    unsafe { (*(*rq).bio).bi_ioprio.into() }
}

/// After so long the block layer tries again: sooner in a kernel that is not busy.
const RESOURCE_DELAY: u64 = world::LONG_NAP;

pub(super) fn go_on(q: usize) {
    of_queue(q as *mut b::request_queue).goes_on = true;
}

/// Whether there is nothing to be tried again, or completed.
pub fn rests() -> bool {
    layer().softirq.is_empty() && layer().disks.iter().all(|disk| !disk.goes_on)
}

/// Tries again what the drivers did not take.
pub fn rerun() {
    for disk in &mut layer().disks {
        if disk.goes_on {
            disk.rerun();
        }
    }
}

/// Completes what was to be completed on another CPU; whether there was something.
pub fn softirq() -> bool {
    let all = core::mem::take(&mut layer().softirq);

    for rq in all.iter().copied() {
        race();
        // SAFETY: It was given to blk-mq.
        unsafe {
            w().irq += 1;
            (*(*of_queue((*rq).q).set).ops).complete.unwrap()(rq);
            w().irq -= 1;
        }
    }
    !all.is_empty()
}

fn timed_out(rq: usize) {
    let rq = rq as *mut b::request;

    // SAFETY: Requests live as long as their set, which forgets them by `forget()`.
    unsafe {
        if layer().sets.iter().any(|set| set.busy.contains(&rq)) && (*rq).state == IN_FLIGHT {
            world::at(w().now + TIMEOUT, rq as usize, timed_out);
            spawn("a timeout", move || {
                if layer().sets.iter().any(|set| set.busy.contains(&rq)) && (*rq).state == IN_FLIGHT
                {
                    (*(*of_queue((*rq).q).set).ops).timeout.unwrap()(rq);
                }
            });
        }
    }
}

#[no_mangle]
unsafe extern "C" fn blk_mq_start_request(rq: *mut b::request) {
    assert!((*rq).state == IDLE, "a request is started twice");
    (*rq).state = IN_FLIGHT;
    world::at(w().now + TIMEOUT, rq as usize, timed_out);
}

/// Buffers of what is no user's I/O are not looked at any more.
fn forget_popped() {
    // The disks of `contract.rs` have no device.
    if crate::virtio::exists() {
        device().popped.retain(|buffer| buffer.io != 0);
    }
}

pub(super) fn end_request(rq: *mut b::request, status: u8) {
    // SAFETY: The request is in use, which is checked.
    unsafe {
        let disk = of_queue((*rq).q);
        let q = disk.q;
        let set = of_set(disk.set);
        disk.goes_on = true;
        assert!(set.busy.contains(&rq), "a request ends twice");
        world::forget(rq as usize, timed_out);
        (*rq).state = 2;
        if let Some(end_io) = (*rq).end_io {
            // Of the driver itself: who waits frees it, or nobody does.
            world::say(|| format!("a request of the driver ends with {status}"));
            forget_popped();
            if end_io(rq, status, core::ptr::null()) == b::rq_end_io_ret_RQ_END_IO_FREE {
                blk_mq_free_request(rq);
            }
            return;
        }
        set.busy.retain(|other| *other != rq);
        (*(*rq).bio).bi_iter.bi_sector = (*rq).__sector;
        for bio in bios(rq) {
            (*bio).bi_status = status;
            end_bio(bio);
        }
        wake(q as usize);
    }
}

#[no_mangle]
extern "C" fn blk_mq_end_request(rq: *mut b::request, status: u8) {
    end_request(rq, status);
}

#[no_mangle]
unsafe extern "C" fn blk_mq_end_request_batch(batch: *mut b::io_comp_batch) {
    let list = &mut (*batch).req_list;

    while !list.head.is_null() {
        let rq = list.head;

        list.head = (*rq).__bindgen_anon_1.rq_next;
        end_request(rq, 0);
    }
    list.tail = null_mut();
}

#[no_mangle]
extern "C" fn blk_mq_complete_request_remote(rq: *mut b::request) -> bool {
    race();
    if layer().remote && chance(2) {
        layer().softirq.push(rq);
        return true;
    }
    false
}

/// `CONFIG_FAIL_IO_TIMEOUT`.
#[no_mangle]
extern "C" fn __blk_should_fake_timeout(_q: *mut b::request_queue) -> bool {
    chance(2)
}

#[no_mangle]
unsafe extern "C" fn blk_mq_requeue_request(rq: *mut b::request) {
    (*rq).state = IDLE;
    world::forget(rq as usize, timed_out);
    of_queue((*rq).q).waiting.push(rq);
    of_queue((*rq).q).goes_on = true;
}

#[no_mangle]
unsafe extern "C" fn blk_mq_stop_hw_queue(hctx: *mut b::blk_mq_hw_ctx) {
    of_queue((*hctx).queue).stopped = true;
}

#[no_mangle]
extern "C" fn blk_mq_start_stopped_hw_queues(q: *mut b::request_queue) {
    of_queue(q).stopped = false;
    of_queue(q).goes_on = true;
}

#[no_mangle]
extern "C" fn blk_freeze_queue_start(q: *mut b::request_queue) {
    of_queue(q).frozen += 1;
}

#[no_mangle]
extern "C" fn blk_mq_freeze_queue_wait_timeout(
    q: *mut b::request_queue,
    jiffies: c_ulong,
) -> c_int {
    let until = w().now + (jiffies * JIFFY).max(world::LONG_NAP);

    // What waits to be dispatched goes on: it was there before.
    of_queue(q).rerun();
    loop {
        if of_set(of_queue(q).set).busy.is_empty() {
            return 1;
        }
        if w().now >= until {
            return 0;
        }
        block(q as usize, until);
    }
}

#[no_mangle]
extern "C" fn blk_mq_unfreeze_queue_nomemrestore(q: *mut b::request_queue) {
    of_queue(q).frozen -= 1;
    wake(q as usize);
}

#[no_mangle]
extern "C" fn blk_mq_quiesce_queue_nowait(q: *mut b::request_queue) {
    of_queue(q).quiesced = true;
}

#[no_mangle]
extern "C" fn blk_mq_unquiesce_queue(q: *mut b::request_queue) {
    of_queue(q).quiesced = false;
    of_queue(q).goes_on = true;
}

#[no_mangle]
unsafe extern "C" fn __blk_rq_map_sg(
    rq: *mut b::request,
    mut sg: *mut b::scatterlist,
    last: *mut *mut b::scatterlist,
) -> c_int {
    let pieces = pieces(rq);

    for (at, len) in &pieces {
        (*sg).page_link = page_of(*at) as _;
        (*sg).offset = (at & 4095) as u32;
        (*sg).length = *len as u32;
        *last = sg;
        sg = sg.add(1);
    }
    (**last).page_link |= 2;
    pieces.len() as c_int
}

#[no_mangle]
unsafe extern "C" fn blk_mq_alloc_request(
    q: *mut b::request_queue,
    opf: c_uint,
    flags: c_uint,
) -> *mut b::request {
    might_sleep();
    loop {
        let disk = of_queue(q);
        if disk.dead {
            return ENODEV as isize as *mut b::request;
        }
        if memory().fails() {
            return EAGAIN as isize as *mut b::request;
        }
        // Of a queue that interrupts.
        let index = current() % (*disk.set).map[0].nr_queues as usize;
        if let Some(rq) = disk.request(index, null_mut()) {
            (*rq).cmd_flags = opf;
            return rq;
        }
        if flags & b::BLK_MQ_REQ_NOWAIT != 0 {
            return EAGAIN as isize as *mut b::request;
        }
        block(q as usize, FOREVER);
    }
}

#[no_mangle]
unsafe extern "C" fn blk_rq_map_kern(rq: *mut b::request, buf: *mut c_void, len: c_uint) -> c_int {
    if memory().fails() {
        return -12;
    }
    let bio = new::<b::bio>();
    let vec = new::<b::bio_vec>();

    vec.write(b::bio_vec {
        bv_page: page_of(buf as usize) as *mut b::page,
        bv_len: len,
        bv_offset: buf as u32 & 4095,
    });
    (*bio).bi_io_vec = vec;
    (*bio).bi_vcnt = 1;
    (*bio).bi_iter.bi_size = len;
    (*rq).bio = bio;
    (*rq).biotail = bio;
    (*rq).__data_len = len;
    (*rq).nr_phys_segments = 1;
    0
}

unsafe extern "C" fn end_sync(
    rq: *mut b::request,
    status: u8,
    _: *const b::io_comp_batch,
) -> b::rq_end_io_ret {
    (*rq).end_io_data = (usize::from(status) + 1) as *mut c_void;
    wake(rq as usize);
    b::rq_end_io_ret_RQ_END_IO_NONE
}

#[no_mangle]
unsafe extern "C" fn blk_execute_rq(rq: *mut b::request) -> u8 {
    might_sleep();
    (*rq).end_io = Some(end_sync);
    of_queue((*rq).q).queue(rq, true);
    while (*rq).end_io_data.is_null() {
        block(rq as usize, FOREVER);
    }
    ((*rq).end_io_data as usize - 1) as u8
}

#[no_mangle]
unsafe extern "C" fn blk_mq_free_request(rq: *mut b::request) {
    let q = (*rq).q;

    forget_popped();
    assert!((*rq).state != IN_FLIGHT, "a request in flight is freed");
    if !(*rq).bio.is_null() {
        kfree((*(*rq).bio).bi_io_vec.cast());
        kfree((*rq).bio.cast());
    }
    of_set(of_queue(q).set).busy.retain(|other| *other != rq);
    wake(q as usize);
}

#[no_mangle]
extern "C" fn blk_mq_freeze_queue_wait(q: *mut b::request_queue) {
    while blk_mq_freeze_queue_wait_timeout(q, 1) == 0 {}
}

#[no_mangle]
unsafe extern "C" fn blk_execute_rq_nowait(rq: *mut b::request) {
    assert!((*rq).end_io.is_some());
    of_queue((*rq).q).queue(rq, true);
}
