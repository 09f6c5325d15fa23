// SPDX-License-Identifier: GPL-2.0

//! What a request does: the data, the zones, the log line. No ring here.

use crate::{
    backing::room,
    settings::Settings,
    wire::{
        self,
        Header,
        Op,
        Range,
        Status,
        ZoneDescriptor, //
    },
    zones::Zones,
};
use std::{fmt::Write as _, fs::File, io, os::unix::fs::FileExt};
use vmm_sys_util::write_zeroes::{
    PunchHole,
    WriteZeroesAt, //
};

pub struct Disk {
    file: File,
    serial: String,
    features: u64,
    /// In sectors.
    pub capacity: u64,
    block: u64,
    max_ranges: [u64; 3],
    max_sectors: [u64; 3],
    pub zones: Option<Zones>,
}

/// What a request brought, and what it gets.
pub struct Request<'a> {
    pub header: Header,
    pub op: Op,
    /// The data that the driver wrote.
    pub input: &'a [u8],
    /// The data that it reads.
    pub output: &'a mut [u8],
    /// For the log: what only this operation has.
    pub note: String,
}

impl Request<'_> {
    fn sectors(&self) -> u64 {
        (self.input.len().max(self.output.len()) / 512) as u64
    }
}

impl Disk {
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let block = settings.field("blk_size");
        let triple = |fields: [&str; 3]| fields.map(|name| settings.field(name));
        Ok(Self {
            file: room(settings.file.as_deref(), settings.capacity * 512)?,
            serial: settings.serial.clone(),
            features: settings.features()?,
            capacity: settings.capacity,
            // What makes no sense is for the driver to find out.
            block: if block.is_power_of_two() && block >= 512 {
                block / 512
            } else {
                1
            },
            max_ranges: triple([
                "max_discard_seg",
                "max_write_zeroes_seg",
                "max_secure_erase_seg",
            ]),
            max_sectors: triple([
                "max_discard_sectors",
                "max_write_zeroes_sectors",
                "max_secure_erase_sectors",
            ]),
            zones: settings
                .zones
                .clone()
                .map(|layout| Zones::new(layout, settings.capacity)),
        })
    }

    /// Does what the request asks for.
    pub fn execute(&mut self, request: &mut Request<'_>) -> Status {
        let offered = request
            .op
            .feature()
            .and_then(wire::feature)
            .is_none_or(|bit| self.features & bit != 0);

        if !offered {
            return Status::Unsupported;
        }
        match self.dispatch(request) {
            Ok(()) => Status::Ok,
            Err(status) => status,
        }
    }

    fn dispatch(&mut self, request: &mut Request<'_>) -> Result<(), Status> {
        let sector = request.header.sector;

        match request.op {
            Op::Read => {
                let sectors = self.check(sector, request.output.len())?;
                if let Some(zones) = &self.zones {
                    zones.read(sector, sectors)?;
                }
                done(self.file.read_exact_at(request.output, sector * 512))
            }
            Op::Write => {
                self.writable()?;
                let sectors = self.check(sector, request.input.len())?;
                if let Some(zones) = &mut self.zones {
                    zones.write(sector, sectors)?;
                }
                done(self.file.write_all_at(request.input, sector * 512))
            }
            // To the host's page cache only: a test device outlives its guest, not its host.
            Op::Flush => Ok(()),
            Op::GetId => {
                let bytes = self.serial.bytes().chain(std::iter::repeat(0));
                for (to, from) in request.output.iter_mut().zip(bytes.take(20)) {
                    *to = from;
                }
                Ok(())
            }
            Op::GetLifetime => {
                // Below 80 % of the reserved blocks used; worn 30 to 40 % (SLC), 10 to 20 % (MLC).
                for (to, from) in request.output.iter_mut().zip([1, 0, 4, 0, 2, 0]) {
                    *to = from;
                }
                Ok(())
            }
            Op::Discard => self.ranges(request, 0),
            Op::WriteZeroes => self.ranges(request, 1),
            Op::SecureErase => self.ranges(request, 2),
            Op::Append => self.append(request),
            Op::Report => self.report(request),
            Op::Open => self.zones()?.open(sector),
            Op::Close => self.zones()?.close(sector),
            Op::Finish => self.zones()?.finish(sector),
            Op::Reset => {
                let gone = self.zones()?.reset(sector)?;
                self.punch(gone)
            }
            Op::ResetAll => {
                for gone in self.zones()?.reset_all() {
                    self.punch(gone)?;
                }
                Ok(())
            }
            Op::Unknown(_) => Err(Status::Unsupported),
        }
    }

    fn zones(&mut self) -> Result<&mut Zones, Status> {
        self.zones.as_mut().ok_or(Status::Unsupported)
    }

    fn writable(&self) -> Result<(), Status> {
        if wire::feature("ro").is_some_and(|bit| self.features & bit != 0) {
            return Err(Status::IoError);
        }
        Ok(())
    }

    /// Whole blocks within the disk; returns the number of sectors.
    fn check(&self, sector: u64, bytes: usize) -> Result<u64, Status> {
        let sectors = (bytes / 512) as u64;
        let end = sector.checked_add(sectors);

        if bytes % 512 != 0
            || sector % self.block != 0
            || sectors % self.block != 0
            || end.is_none_or(|end| end > self.capacity)
        {
            return Err(Status::IoError);
        }
        Ok(sectors)
    }

    fn punch(&mut self, (sector, sectors): (u64, u64)) -> Result<(), Status> {
        done(self.file.punch_hole(sector * 512, sectors * 512))
    }

    fn ranges(&mut self, request: &mut Request<'_>, which: usize) -> Result<(), Status> {
        let ranges: Vec<Range> = request
            .input
            .chunks_exact(Range::SIZE)
            .map(Range::parse)
            .collect();

        for range in &ranges {
            let comma = if request.note.is_empty() {
                " ranges="
            } else {
                ","
            };
            let Range {
                sector,
                sectors,
                flags,
            } = range;
            let _ = write!(request.note, "{comma}{sector}+{sectors}:{flags}");
        }
        self.writable()?;
        if ranges.is_empty()
            || request.input.len() % Range::SIZE != 0
            || ranges.len() as u64 > self.max_ranges[which]
        {
            return Err(Status::IoError);
        }
        let zeroes = request.op == Op::WriteZeroes;
        for range in &ranges {
            if u64::from(range.sectors) > self.max_sectors[which] || range.sectors == 0 {
                return Err(Status::IoError);
            }
            self.check(range.sector, range.sectors as usize * 512)?;
            if range.flags & !(if zeroes { wire::UNMAP } else { 0 }) != 0 {
                return Err(Status::Unsupported);
            }
        }
        for range in &ranges {
            if let Some(zones) = &mut self.zones {
                zones.write(range.sector, range.sectors.into())?;
            }
            if zeroes && range.flags & wire::UNMAP == 0 {
                let bytes = range.sectors as usize * 512;
                done(self.file.write_all_zeroes_at(range.sector * 512, bytes))?;
            } else {
                self.punch((range.sector, range.sectors.into()))?;
            }
        }
        Ok(())
    }

    fn append(&mut self, request: &mut Request<'_>) -> Result<(), Status> {
        let sectors = self.check(request.header.sector, request.input.len())?;

        self.writable()?;
        // The answer begins with the sector, as QEMU has it; the C driver leaves a gap before the status.
        let answer = request.output.first_chunk_mut();
        let answer = answer.ok_or(Status::ZoneInvalidCommand)?;
        let zones = self.zones.as_mut().ok_or(Status::Unsupported)?;
        let at = zones.append(request.header.sector, sectors)?;
        *answer = at.to_le_bytes();
        let _ = write!(request.note, " at={at}");
        done(self.file.write_all_at(request.input, at * 512))
    }

    fn report(&mut self, request: &mut Request<'_>) -> Result<(), Status> {
        let sector = request.header.sector;
        let room = request.output.len().checked_sub(wire::REPORT_HEADER);
        let most = room.ok_or(Status::ZoneInvalidCommand)? / ZoneDescriptor::SIZE;
        let report = self.zones()?.report(sector, most)?;
        let (header, rest) = request.output.split_at_mut(wire::REPORT_HEADER);

        header[..8].copy_from_slice(&(report.len() as u64).to_le_bytes());
        for (to, zone) in rest.chunks_exact_mut(ZoneDescriptor::SIZE).zip(&report) {
            to.copy_from_slice(&zone.bytes());
        }
        let _ = write!(request.note, " zones={}", report.len());
        Ok(())
    }

    /// Another size, in sectors.
    pub fn resize(&mut self, sectors: u64) -> Result<(), String> {
        self.capacity = sectors;
        self.file.set_len(sectors * 512).map_err(|e| e.to_string())
    }

    /// Which sectors a request covers, for faults.
    pub fn extent(request: &Request<'_>) -> (u64, u64) {
        match request.op {
            Op::Discard | Op::WriteZeroes | Op::SecureErase if request.input.len() >= 16 => {
                let range = Range::parse(request.input);
                (range.sector, range.sectors.into())
            }
            _ => (request.header.sector, request.sectors()),
        }
    }
}

fn done(result: io::Result<()>) -> Result<(), Status> {
    result.map_err(|e| {
        eprintln!("blkdev: the backing file: {e}");
        Status::IoError
    })
}
