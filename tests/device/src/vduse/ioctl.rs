// SPDX-License-Identifier: GPL-2.0

//! The kernel's VDUSE interface (include/uapi/linux/vduse.h), version 0.
//!
//! The only unsafe code of this program: nobody has a safe ioctl. Structures are bytes here, so that
//! none of them needs a layout of Rust's.

use crate::wire::number;
use std::{
    ffi::{
        c_int,
        c_ulong, //
    },
    fs::{
        File,
        OpenOptions, //
    },
    io,
    os::fd::{
        AsRawFd,
        FromRawFd,
        OwnedFd, //
    },
};

const NONE: c_ulong = 0;
const WRITE: c_ulong = 1;
const READ: c_ulong = 2;
const NAME: usize = 256;
/// `sizeof(struct vduse_dev_config)`, after which the configuration space follows.
const DEV_CONFIG: usize = 336;

extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

/// An ioctl of VDUSE on a structure of `size` bytes at the beginning of `bytes`.
fn call(
    file: &File,
    direction: c_ulong,
    nr: c_ulong,
    size: usize,
    bytes: &mut [u8],
) -> io::Result<c_int> {
    assert!(bytes.len() >= size);
    let request = (direction << 30) | ((size as c_ulong) << 16) | (0x81 << 8) | nr;
    // SAFETY: `request` is one of vduse.h, whose structure has `size` bytes, and the buffer has as
    // many. Two of them are followed by as many bytes as they say, see `create` and `set_config`.
    let done = unsafe { ioctl(file.as_raw_fd(), request, bytes.as_mut_ptr()) };

    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(done)
}

fn put(bytes: &mut [u8], offset: usize, value: u64, size: usize) {
    bytes[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

fn name_bytes(name: &str) -> io::Result<[u8; NAME]> {
    let mut bytes = [0; NAME];

    if name.is_empty() || name.len() >= NAME {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Ok(bytes)
}

fn open(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Makes the device file /dev/vduse/`name` of a block device.
pub fn create(name: &str, features: u64, queues: u16, config: &[u8]) -> io::Result<()> {
    let control = open("/dev/vduse/control")?;
    let mut bytes = vec![0; DEV_CONFIG];

    call(&control, WRITE, 0x01, 8, &mut [0; 8])?;
    bytes[..NAME].copy_from_slice(&name_bytes(name)?);
    put(&mut bytes, 260, 2, 4);
    put(&mut bytes, 264, features, 8);
    put(&mut bytes, 272, queues.into(), 4);
    // The alignment of a ring.
    put(&mut bytes, 276, 4096, 4);
    put(&mut bytes, 332, config.len() as u64, 4);
    bytes.extend(config);
    call(&control, WRITE, 0x02, DEV_CONFIG, &mut bytes)?;
    Ok(())
}

/// Removes the device file again. Nobody may have it open.
pub fn destroy(name: &str) -> io::Result<()> {
    let control = open("/dev/vduse/control")?;

    call(&control, WRITE, 0x03, NAME, &mut name_bytes(name)?)?;
    Ok(())
}

/// A part of the device's address space.
pub struct Region {
    pub file: File,
    pub offset: u64,
    pub start: u64,
    pub last: u64,
    pub readable: bool,
    pub writable: bool,
}

/// A ring as the driver set it up.
pub struct RingInfo {
    pub size: u16,
    pub descriptors: u64,
    pub avail: u64,
    pub used: u64,
    pub next_avail: u16,
    pub ready: bool,
}

/// What the kernel asks of the device.
pub enum Message {
    /// Where ring `n` is in its avail ring.
    RingState(u32),
    Status(u8),
    /// Mappings changed.
    Mappings,
    Unknown,
}

/// The device file.
pub struct Device(pub File);

impl Device {
    pub fn open(name: &str) -> io::Result<Self> {
        Ok(Self(open(&format!("/dev/vduse/{name}"))?))
    }

    /// The first region from `start` on.
    pub fn region(&self, start: u64) -> io::Result<Region> {
        let mut bytes = [0; 32];

        put(&mut bytes, 8, start, 8);
        put(&mut bytes, 16, u64::MAX, 8);
        let fd = call(&self.0, READ | WRITE, 0x10, 32, &mut bytes)?;
        // SAFETY: The ioctl made this file descriptor for us.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Region {
            file: file.into(),
            offset: number(&bytes[0..8]),
            start: number(&bytes[8..16]),
            last: number(&bytes[16..24]),
            readable: bytes[24] & 1 != 0,
            writable: bytes[24] & 2 != 0,
        })
    }

    /// The features that the driver accepted.
    pub fn features(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];

        call(&self.0, READ, 0x11, 8, &mut bytes)?;
        Ok(number(&bytes))
    }

    pub fn set_config(&self, offset: usize, config: &[u8], tell: bool) -> io::Result<()> {
        let mut bytes = vec![0; 8];

        put(&mut bytes, 0, offset as u64, 4);
        put(&mut bytes, 4, config.len() as u64, 4);
        bytes.extend(config);
        call(&self.0, WRITE, 0x12, 8, &mut bytes)?;
        if tell {
            call(&self.0, NONE, 0x13, 0, &mut [])?;
        }
        Ok(())
    }

    pub fn set_up_ring(&self, index: u16, size: u16) -> io::Result<()> {
        let mut bytes = [0; 32];

        put(&mut bytes, 0, index.into(), 4);
        put(&mut bytes, 4, size.into(), 2);
        call(&self.0, WRITE, 0x14, 32, &mut bytes)?;
        Ok(())
    }

    /// Says which eventfd a kick of the ring writes to, until the next reset.
    pub fn set_kick(&self, index: u16, kick: &impl AsRawFd) -> io::Result<()> {
        let mut bytes = [0; 8];

        put(&mut bytes, 0, index.into(), 4);
        bytes[4..].copy_from_slice(&kick.as_raw_fd().to_le_bytes());
        call(&self.0, WRITE, 0x16, 8, &mut bytes)?;
        Ok(())
    }

    pub fn ring(&self, index: u16) -> io::Result<RingInfo> {
        let mut bytes = [0; 48];

        put(&mut bytes, 0, index.into(), 4);
        call(&self.0, READ | WRITE, 0x15, 48, &mut bytes)?;
        Ok(RingInfo {
            size: number(&bytes[4..8]) as u16,
            descriptors: number(&bytes[8..16]),
            avail: number(&bytes[16..24]),
            used: number(&bytes[24..32]),
            next_avail: number(&bytes[32..34]) as u16,
            ready: bytes[40] != 0,
        })
    }

    pub fn interrupt(&self, index: u16) -> io::Result<()> {
        call(&self.0, WRITE, 0x17, 4, &mut u32::from(index).to_le_bytes())?;
        Ok(())
    }

    /// Waits for a message; returns it with its number.
    pub fn receive(&self) -> io::Result<(u32, Message)> {
        let mut bytes = [0; 152];

        io::Read::read_exact(&mut &self.0, &mut bytes)?;
        let message = match number(&bytes[0..4]) {
            0 => Message::RingState(number(&bytes[24..28]) as u32),
            1 => Message::Status(bytes[24]),
            2 => Message::Mappings,
            _ => Message::Unknown,
        };
        Ok((number(&bytes[4..8]) as u32, message))
    }

    /// Answers message `id`; `next_avail` is the answer to `RingState`.
    pub fn answer(&self, id: u32, ok: bool, ring: u32, next_avail: u16) -> io::Result<()> {
        let mut bytes = [0; 152];

        put(&mut bytes, 0, id.into(), 4);
        put(&mut bytes, 4, (!ok).into(), 4);
        put(&mut bytes, 24, ring.into(), 4);
        put(&mut bytes, 28, next_avail.into(), 2);
        io::Write::write_all(&mut &self.0, &bytes)
    }
}
