// SPDX-License-Identifier: GPL-2.0

//! The buffers of a token, as the virtqueue takes them.
//!
//! A virtqueue copies a scatterlist into descriptors at once and never looks at it again. So there
//! is one table for each queue, used under the queue's lock: no table for each request, nothing to
//! allocate, and the same few cache lines for every I/O.

use crate::{
    bindings,
    scatterlist::{
        Segment,
        SgTable, //
    },
};
use kernel::prelude::*;

/// The buffers of one token: those that the device reads come first, then those that it writes.
pub struct Chain {
    table: SgTable,
    readable: usize,
}

impl Chain {
    pub(super) fn new(capacity: usize) -> Result<Self> {
        Ok(Self {
            table: SgTable::new(capacity)?,
            readable: 0,
        })
    }

    pub(super) const fn empty() -> Self {
        Self {
            table: SgTable::empty(),
            readable: 0,
        }
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.readable = 0;
    }

    /// Appends a buffer; fails with [`ENOBUFS`] if the chain is as long as the ring.
    #[inline]
    pub(crate) fn push(&mut self, segment: Segment) -> Result {
        self.table.push(segment)
    }

    /// The table, for a layer to list an I/O's data in.
    #[inline]
    pub(crate) fn table(&mut self) -> &mut SgTable {
        &mut self.table
    }

    /// How many buffers there are, at least: the table may go on in another list.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// All buffers so far are read by the device; those that follow are written by it.
    #[inline]
    pub(crate) fn end_readable(&mut self) {
        self.readable = self.table.len();
    }

    /// The readable and the writable list in the form of `virtqueue_add_sgs()`, with the count of
    /// each (0 or 1). The lists are valid until the chain is changed.
    #[inline]
    pub(super) fn lists(&mut self) -> ([*mut bindings::scatterlist; 2], u32, u32) {
        let (readable, used) = (self.readable, self.table.len());
        let mut lists = [core::ptr::null_mut(); 2];
        let mut n = 0;

        if readable > 0 {
            self.table.end_at(readable - 1);
            lists[n] = self.table.list_from(0);
            n += 1;
        }
        if used > readable {
            self.table.end_at(used - 1);
            lists[n] = self.table.list_from(readable);
        }
        (lists, n as u32, u32::from(used > readable))
    }
}
