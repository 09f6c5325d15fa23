// SPDX-License-Identifier: GPL-2.0

//! A logical unit: its data, its protection information, and what it does with a command.

use super::{
    commands, pages,
    protection::{
        self,
        TUPLE, //
    },
    settings,
    wire::{
        self,
        bytes,
        Sense, //
    },
};
use crate::backing::room;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt, //
};
use vmm_sys_util::{
    seek_hole::SeekHole,
    write_zeroes::PunchHole, //
};

pub struct Unit {
    pub serial: String,
    pub vendor: String,
    pub actuators: u8,
    pub blocks: u64,
    /// Bytes of a block.
    pub block: usize,
    data: File,
    /// The complement of the tuples: a hole is a tuple of ones, which protects nothing.
    tuples: Option<File>,
}

/// What a command did.
#[derive(Default, Debug)]
pub struct Done {
    pub data: Vec<u8>,
    pub tuples: Vec<u8>,
    /// Bytes of data that were taken.
    pub taken: usize,
    /// Blocks whose protection information was checked, or handed out.
    pub checked: u64,
}

impl Done {
    /// Data for the driver, cut at the allocation length.
    pub fn reading(mut data: Vec<u8>, most: usize) -> Self {
        data.truncate(most);
        Self {
            data,
            ..Self::default()
        }
    }
}

/// Why a command was not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    Sense(Sense),
    Response(u8),
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        eprintln!("blkdev: the backing file: {e}");
        Self::Sense(Sense::MEDIUM_ERROR)
    }
}

impl Unit {
    pub fn new(settings: &settings::Unit) -> Result<Self, String> {
        let tuples = match settings.protected {
            true => Some(room(None, settings.blocks * TUPLE as u64)?),
            false => None,
        };

        Ok(Self {
            serial: settings.serial.clone(),
            vendor: settings.vendor.clone(),
            actuators: settings.actuators,
            blocks: settings.blocks,
            block: settings.block,
            data: room(
                settings.file.as_deref(),
                settings.blocks * settings.block as u64,
            )?,
            tuples,
        })
    }

    pub fn is_protected(&self) -> bool {
        self.tuples.is_some()
    }

    pub fn resize(&mut self, blocks: u64) -> Result<(), String> {
        let failed = |e: io::Error| e.to_string();

        self.data
            .set_len(blocks * self.block as u64)
            .map_err(failed)?;
        if let Some(tuples) = &self.tuples {
            tuples.set_len(blocks * TUPLE as u64).map_err(failed)?;
        }
        self.blocks = blocks;
        Ok(())
    }

    /// Does a command. `room` is how many bytes of data the driver takes.
    pub fn execute(
        &mut self,
        cdb: &[u8],
        data: &[u8],
        tuples: &[u8],
        room: usize,
    ) -> Result<Done, Failure> {
        let most = commands::allocation(cdb);
        let page = |page: Option<Vec<u8>>| match page {
            Some(page) => Ok(Done::reading(page, most)),
            None => Err(Sense::INVALID_FIELD.into()),
        };

        match cdb[0] {
            // Ready; start, stop; the self-test; the medium's lock; to the host's page cache only.
            0x00 | 0x1b | 0x1d | 0x1e | 0x35 | 0x91 => Ok(Done::default()),
            0x03 => page(Some(Sense(0, 0, 0).bytes())),
            0x12 => page(pages::inquiry(self, cdb)),
            0x1a | 0x5a => page(pages::modes(self, cdb)),
            0x25 => page(Some(pages::capacity_10(self))),
            0x9e if cdb[1] & 0x1f == 0x10 => page(Some(pages::capacity_16(self))),
            0x9e if cdb[1] & 0x1f == 0x12 => {
                let extents = self.lba_status(cdb)?;
                page(Some(extents))
            }
            0x08 | 0x28 | 0x88 => self.read(cdb, room),
            0x0a | 0x2a | 0x8a => self.write(cdb, data, tuples),
            0x41 | 0x93 => self.write_same(cdb, data),
            0x42 => self.unmap(data),
            0x89 => self.compare_and_write(cdb, data),
            _ => Err(Sense::INVALID_OPCODE.into()),
        }
    }

    fn check(&self, lba: u64, blocks: u64) -> Result<(), Failure> {
        match lba.checked_add(blocks) {
            Some(end) if end <= self.blocks => Ok(()),
            _ => Err(Sense::OUT_OF_RANGE.into()),
        }
    }

    fn read(&self, cdb: &[u8], room: usize) -> Result<Done, Failure> {
        let (lba, blocks) = commands::extent(cdb);
        self.check(lba, blocks)?;
        let size = blocks as usize * self.block;
        if room < size {
            return Err(Failure::Response(wire::S_OVERRUN));
        }
        let mut done = Done {
            data: vec![0; size],
            ..Done::default()
        };

        self.data
            .read_exact_at(&mut done.data, lba * self.block as u64)?;
        if commands::protect(cdb) != 0 {
            let file = self.tuples.as_ref().ok_or(Sense::INVALID_FIELD)?;
            done.tuples = vec![0; blocks as usize * TUPLE];
            file.read_exact_at(&mut done.tuples, lba * TUPLE as u64)?;
            done.tuples.iter_mut().for_each(|byte| *byte = !*byte);
            done.checked = protection::check(&done.data, &done.tuples, self.block, lba)?;
        }
        Ok(done)
    }

    fn write(&self, cdb: &[u8], data: &[u8], tuples: &[u8]) -> Result<Done, Failure> {
        let (lba, blocks) = commands::extent(cdb);
        self.check(lba, blocks)?;
        let size = blocks as usize * self.block;
        let data = data.get(..size).ok_or(Failure::Response(wire::S_OVERRUN))?;
        let mut checked = 0;

        if commands::protect(cdb) != 0 {
            if !self.is_protected() || tuples.len() != blocks as usize * TUPLE {
                return Err(Sense::INVALID_FIELD.into());
            }
            checked = protection::check(data, tuples, self.block, lba)?;
            self.protect(lba, tuples)?;
        } else {
            self.protect(lba, &protection::generate(data, self.block, lba))?;
        }
        self.data.write_all_at(data, lba * self.block as u64)?;
        Ok(Done {
            taken: size,
            checked,
            ..Done::default()
        })
    }

    fn protect(&self, lba: u64, tuples: &[u8]) -> Result<(), Failure> {
        if let Some(file) = &self.tuples {
            let stored: Vec<u8> = tuples.iter().map(|byte| !byte).collect();
            file.write_all_at(&stored, lba * TUPLE as u64)?;
        }
        Ok(())
    }

    fn write_same(&mut self, cdb: &[u8], data: &[u8]) -> Result<Done, Failure> {
        const UNMAP: u8 = 8;
        let (lba, blocks) = commands::extent(cdb);
        let block = data
            .get(..self.block)
            .ok_or(Failure::Response(wire::S_OVERRUN))?;

        self.check(lba, blocks)?;
        if blocks > 0xffff {
            return Err(Sense::INVALID_FIELD.into());
        }
        if cdb[1] & UNMAP != 0 && block.iter().all(|byte| *byte == 0) {
            self.punch(lba, blocks)?;
        } else {
            let all = block.repeat(blocks as usize);
            self.protect(lba, &protection::generate(&all, self.block, lba))?;
            self.data.write_all_at(&all, lba * self.block as u64)?;
        }
        Ok(Done {
            taken: self.block,
            ..Done::default()
        })
    }

    /// The data is twice the blocks: what is wanted there, and what is to be written then.
    fn compare_and_write(&self, cdb: &[u8], data: &[u8]) -> Result<Done, Failure> {
        let (lba, blocks) = commands::extent(cdb);
        self.check(lba, blocks)?;
        let size = blocks as usize * self.block;
        let (wanted, new) = data
            .get(..2 * size)
            .ok_or(Failure::Response(wire::S_OVERRUN))?
            .split_at(size);
        let mut found = vec![0; size];

        self.data
            .read_exact_at(&mut found, lba * self.block as u64)?;
        if found != wanted {
            return Err(Sense::MISCOMPARE.into());
        }
        self.write(cdb, new, &[])?;
        Ok(Done {
            taken: 2 * size,
            ..Done::default()
        })
    }

    /// GET LBA STATUS: how far what is mapped, or what is not, reaches from the block.
    fn lba_status(&mut self, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        const MAPPED: u8 = 0;
        const DEALLOCATED: u8 = 1;
        let lba = u64::from_be_bytes(bytes(cdb, 2));
        self.check(lba, 1)?;
        let block = self.block as u64;
        let (begin, end) = (lba * block, self.blocks * block);
        let (status, end) = match self.data.seek_data(begin)? {
            Some(data) if data < begin + block => {
                (MAPPED, self.data.seek_hole(begin)?.unwrap_or(end))
            }
            data => (DEALLOCATED, data.unwrap_or(end)),
        };
        let blocks = u32::try_from((end - begin) / block).unwrap_or(u32::MAX);
        let mut list = vec![0, 0, 0, 20, 0, 0, 0, 0];

        list.extend(lba.to_be_bytes());
        list.extend(blocks.max(1).to_be_bytes());
        list.extend([status, 0, 0, 0]);
        Ok(list)
    }

    fn unmap(&mut self, data: &[u8]) -> Result<Done, Failure> {
        let ranges = data.get(8..).unwrap_or(&[]);

        for range in ranges.chunks_exact(16) {
            let lba = u64::from_be_bytes(bytes(range, 0));
            let blocks = u32::from_be_bytes(bytes(range, 8)).into();
            self.check(lba, blocks)?;
            self.punch(lba, blocks)?;
        }
        Ok(Done {
            taken: data.len(),
            ..Done::default()
        })
    }

    fn punch(&mut self, lba: u64, blocks: u64) -> Result<(), Failure> {
        if blocks == 0 {
            return Ok(());
        }
        let size = self.block as u64;
        self.data.punch_hole(lba * size, blocks * size)?;
        if let Some(tuples) = &mut self.tuples {
            tuples.punch_hole(lba * TUPLE as u64, blocks * TUPLE as u64)?;
        }
        Ok(())
    }
}
