// SPDX-License-Identifier: GPL-2.0

//! Lists of requests: the inline functions of the C header, which run for each request and would be
//! a call each. As of Linux 7.3.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use crate::bindings::{
    request,
    rq_list, //
};
use core::ptr::null_mut;

/// C counterpart: `rq_list_pop()`.
///
/// # Safety
///
/// The list must not be empty, and all its requests must be valid.
#[inline]
pub(super) unsafe fn pop(list: &mut rq_list) {
    // SAFETY: By this function's safety requirements.
    unsafe {
        let rq = list.head;

        list.head = (*rq).__bindgen_anon_1.rq_next;
        if list.head.is_null() {
            list.tail = null_mut();
        }
        (*rq).__bindgen_anon_1.rq_next = null_mut();
    }
}

/// C counterpart: `rq_list_add_head()`.
///
/// # Safety
///
/// `rq` must be valid and on no list.
#[inline]
pub(super) unsafe fn add_head(list: &mut rq_list, rq: *mut request) {
    // SAFETY: By this function's safety requirements.
    unsafe { (*rq).__bindgen_anon_1.rq_next = list.head };
    list.head = rq;
    if list.tail.is_null() {
        list.tail = rq;
    }
}

/// C counterpart: `rq_list_add_tail()`.
///
/// # Safety
///
/// `rq` must be valid and on no list, and the requests of the list must be valid.
#[inline]
pub(super) unsafe fn add_tail(list: &mut rq_list, rq: *mut request) {
    // SAFETY: By this function's safety requirements.
    unsafe {
        (*rq).__bindgen_anon_1.rq_next = null_mut();
        if list.tail.is_null() {
            list.head = rq;
        } else {
            (*list.tail).__bindgen_anon_1.rq_next = rq;
        }
    }
    list.tail = rq;
}
