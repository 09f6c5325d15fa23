// SPDX-License-Identifier: GPL-2.0

//! Abstractions for the block layer, beyond those of `kernel::block`.
//!
//! C header: [`include/linux/blk_types.h`](srctree/include/linux/blk_types.h)

pub mod attribute;
pub mod bio;
pub mod bio_disk;
pub mod gen_disk;
pub mod limits;
pub mod mq;
pub mod plug;
pub mod zoned;

use crate::bindings;
use kernel::{
    error::to_result,
    fmt,
    prelude::*, //
};

/// log2 of the sector size, the unit of positions and capacities: 512 bytes.
pub const SECTOR_SHIFT: u32 = 9;

/// How an I/O ended. C counterpart: `blk_status_t`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(bindings::blk_status_t);

impl Status {
    /// Success.
    pub const OK: Self = Self(0);
    /// The device does not support the operation.
    pub const NOTSUPP: Self = Self(bindings::BLK_STS_NOTSUPP);
    /// Too many zones are open.
    pub const ZONE_OPEN_RESOURCE: Self = Self(bindings::BLK_STS_ZONE_OPEN_RESOURCE);
    /// Too many zones are active.
    pub const ZONE_ACTIVE_RESOURCE: Self = Self(bindings::BLK_STS_ZONE_ACTIVE_RESOURCE);
    /// An I/O error.
    pub const IOERR: Self = Self(bindings::BLK_STS_IOERR);
    /// The device was lost on the way, and what it did is not known: who can may try again.
    pub const TRANSPORT: Self = Self(bindings::BLK_STS_TRANSPORT);
    /// The I/O would have to wait and must not (`REQ_NOWAIT`).
    pub const AGAIN: Self = Self(bindings::BLK_STS_AGAIN);
    /// A resource of the system is short: the block layer tries again after a while.
    pub const RESOURCE: Self = Self(bindings::BLK_STS_RESOURCE);
    /// A resource of the device is short: tried again when an I/O of the queue completes.
    pub const DEV_RESOURCE: Self = Self(bindings::BLK_STS_DEV_RESOURCE);

    #[inline]
    pub(crate) fn as_raw(self) -> bindings::blk_status_t {
        self.0
    }

    pub(crate) fn to_result(self) -> Result {
        // SAFETY: Safe to call with any value.
        to_result(unsafe { bindings::blk_status_to_errno(self.0) })
    }
}

/// The operation of a request or bio. C counterpart: `enum req_op`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Op(u32);

impl Op {
    /// Reads sectors.
    pub const READ: Self = Self(bindings::req_op_REQ_OP_READ);
    /// Writes sectors.
    pub const WRITE: Self = Self(bindings::req_op_REQ_OP_WRITE);
    /// Writes the volatile cache back; only as a request.
    pub const FLUSH: Self = Self(bindings::req_op_REQ_OP_FLUSH);
    /// Discards sectors: their data is not needed any more.
    pub const DISCARD: Self = Self(bindings::req_op_REQ_OP_DISCARD);
    /// Discards sectors so that nobody can read them again.
    pub const SECURE_ERASE: Self = Self(bindings::req_op_REQ_OP_SECURE_ERASE);
    /// Writes zeroes, without data.
    pub const WRITE_ZEROES: Self = Self(bindings::req_op_REQ_OP_WRITE_ZEROES);
    /// Writes sectors at the write pointer of a zone.
    pub const ZONE_APPEND: Self = Self(bindings::req_op_REQ_OP_ZONE_APPEND);
    /// Opens a zone.
    pub const ZONE_OPEN: Self = Self(bindings::req_op_REQ_OP_ZONE_OPEN);
    /// Closes a zone.
    pub const ZONE_CLOSE: Self = Self(bindings::req_op_REQ_OP_ZONE_CLOSE);
    /// Makes a zone full.
    pub const ZONE_FINISH: Self = Self(bindings::req_op_REQ_OP_ZONE_FINISH);
    /// Resets the write pointer of a zone.
    pub const ZONE_RESET: Self = Self(bindings::req_op_REQ_OP_ZONE_RESET);
    /// Resets the write pointers of all zones.
    pub const ZONE_RESET_ALL: Self = Self(bindings::req_op_REQ_OP_ZONE_RESET_ALL);
    /// A command of the driver itself that reads.
    pub const DRV_IN: Self = Self(bindings::req_op_REQ_OP_DRV_IN);

    /// From `cmd_flags` or `bi_opf`.
    #[inline]
    pub(crate) fn from_flags(flags: u32) -> Self {
        Self(flags & ((1 << bindings::REQ_OP_BITS) - 1))
    }

    /// Whether data moves from memory to the device.
    #[inline]
    pub fn is_write(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether one whose size is not zero has memory for as much. Others only name sectors.
    ///
    /// C counterpart: `bio_has_data()`.
    #[inline]
    pub fn has_data(self) -> bool {
        !matches!(
            self,
            Self::DISCARD | Self::SECURE_ERASE | Self::WRITE_ZEROES
        )
    }

    /// Its number, `REQ_OP_*`.
    #[inline]
    pub fn as_raw(self) -> u32 {
        self.0
    }
}

/// The flag that the block layer leaves to drivers.
pub(crate) const DRIVER_FLAG: u32 = 1 << bindings::req_flag_bits___REQ_DRV;

/// A block device major number, registered under a name in /proc/devices.
///
/// C counterpart: `register_blkdev()`.
pub struct Major {
    number: u32,
    name: &'static CStr,
}

impl Major {
    /// Registers a free major number. May sleep. Fails with [`EINVAL`] for a name of more than 15
    /// bytes, of which C keeps so many, and does not know the name again.
    pub fn register(name: &'static CStr) -> Result<Self> {
        if name.to_bytes().len() > 15 {
            return Err(EINVAL);
        }
        // SAFETY: `name` is a valid string.
        let ret = unsafe { bindings::__register_blkdev(0, name.as_char_ptr(), None) };

        to_result(ret.min(0))?;
        Ok(Self {
            number: ret as u32,
            name,
        })
    }

    /// The number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Major {
    fn drop(&mut self) {
        // SAFETY: The number was registered under the name.
        unsafe { bindings::unregister_blkdev(self.number, self.name.as_char_ptr()) };
    }
}

/// A size for people, such as "1.07 GB".
pub struct SizeString([u8; 10]);

impl SizeString {
    /// The size of `blocks` of `block_size` bytes, in powers of 1000, or, if `binary`, of 1024.
    ///
    /// C counterpart: `string_get_size()`.
    pub fn new(blocks: u64, block_size: u32, binary: bool) -> Self {
        let units = if binary {
            bindings::string_size_units_STRING_UNITS_2
        } else {
            bindings::string_size_units_STRING_UNITS_10
        };
        let mut buf = [0u8; 10];

        // SAFETY: The buffer has the given length, and gets a null-terminated string.
        unsafe {
            bindings::string_get_size(
                blocks,
                block_size.into(),
                units,
                buf.as_mut_ptr().cast(),
                buf.len() as c_int,
            )
        };
        Self(buf)
    }
}

impl fmt::Display for SizeString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = CStr::from_bytes_until_nul(&self.0).ok();

        f.write_str(text.and_then(|text| text.to_str().ok()).unwrap_or("?"))
    }
}
