// SPDX-License-Identifier: GPL-2.0

//! Abstractions for paravirtual storage drivers that the `kernel` crate does not have yet.
//!
//! Each module lies where it would lie in `rust/kernel/` upstream and keeps the shape of its
//! neighbours there: [`virtio`] follows `pci` and `auxiliary`, [`block::mq`] extends the module of
//! the same name.
//!
//! [`virtio`], [`block`] and [`scsi`] do not know each other; [`joint`] is where an I/O of the
//! latter two becomes the token of a virtqueue.
//!
//! All `unsafe` code of the project is in this crate; the drivers forbid it. The rule that makes
//! this possible: *a token goes into a queue and comes out of it exactly once*, see
//! [`virtio::queue::Token`].

pub mod bindings;
pub mod block;
pub mod compat;
pub mod completion;
pub mod cpu_map;
pub mod joint;
pub mod module_param;
mod page_writer;
pub mod scatterlist;
pub mod scsi;
pub mod tally;
pub mod trace;
pub mod virtio;
pub mod work;
