// SPDX-License-Identifier: GPL-2.0

//! Generated bindings: what `kernel::bindings` lacks (virtio; a few constants).
//!
//! Drivers may use the plain-data types of the virtio headers (layouts, feature bits); everything
//! that needs `unsafe` is wrapped by this crate.

#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    improper_ctypes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    dead_code
)]
#![cfg_attr(CONFIG_RUSTC_HAS_UNNECESSARY_TRANSMUTES, allow(unnecessary_transmutes))]

include!(env!("STORAGE_BINDINGS"));
