// SPDX-License-Identifier: GPL-2.0

//! Zones of a host-managed disk: states, write pointers, limits. No I/O happens here.
//!
//! Virtio specification, section "Zoned block devices"; where it leaves a choice, as the kernel's
//! null_blk has it.

use crate::wire::{
    Status,
    ZoneDescriptor, //
};
use serde::Deserialize;

/// `VIRTIO_BLK_ZS_*`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    NotWritePointer = 0,
    Empty = 1,
    ImplicitlyOpen = 2,
    ExplicitlyOpen = 3,
    Closed = 4,
    ReadOnly = 13,
    Full = 14,
    Offline = 15,
}

/// The zones as the settings describe them. All in sectors, but for the granularity in bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    pub size: u64,
    /// How much of each zone can be written; all of it if 0.
    #[serde(default)]
    pub capacity: u64,
    /// How many zones at the beginning are conventional.
    #[serde(default)]
    pub conventional: usize,
    /// No limit if 0.
    #[serde(default)]
    pub max_open: u32,
    /// No limit if 0.
    #[serde(default)]
    pub max_active: u32,
    #[serde(default = "Layout::default_append")]
    pub max_append: u32,
    #[serde(default = "Layout::default_granularity")]
    pub granularity: u32,
}

impl Layout {
    fn default_append() -> u32 {
        1024
    }

    fn default_granularity() -> u32 {
        512
    }
}

struct Zone {
    start: u64,
    /// The end of what can be written.
    end: u64,
    pointer: u64,
    state: State,
}

impl Zone {
    fn is_open(&self) -> bool {
        matches!(self.state, State::ImplicitlyOpen | State::ExplicitlyOpen)
    }

    fn is_active(&self) -> bool {
        self.is_open() || self.state == State::Closed
    }

    fn reset(&mut self) {
        self.pointer = self.start;
        self.state = State::Empty;
    }

    fn close(&mut self) {
        self.state = if self.pointer == self.start {
            State::Empty
        } else {
            State::Closed
        };
    }
}

/// All zones of a disk.
pub struct Zones {
    pub layout: Layout,
    zones: Vec<Zone>,
}

impl Zones {
    /// Divides a disk of `sectors`; the last zone may be shorter.
    pub fn new(layout: Layout, sectors: u64) -> Self {
        let size = layout.size;
        let capacity = if layout.capacity == 0 {
            size
        } else {
            layout.capacity
        };
        let zones = (0..sectors.div_ceil(size))
            .map(|index| {
                let start = index * size;
                let conventional = (index as usize) < layout.conventional;
                let written = if conventional { size } else { capacity };

                Zone {
                    start,
                    end: (start + written).min(sectors),
                    pointer: start,
                    state: if conventional {
                        State::NotWritePointer
                    } else {
                        State::Empty
                    },
                }
            })
            .collect();

        Self { layout, zones }
    }

    fn index(&self, sector: u64) -> Result<usize, Status> {
        let index = (sector / self.layout.size) as usize;

        if index < self.zones.len() {
            Ok(index)
        } else {
            Err(Status::ZoneInvalidCommand)
        }
    }

    /// The sequential zone that begins at `sector`, for a management command.
    fn managed(&self, sector: u64) -> Result<usize, Status> {
        let index = self.index(sector)?;
        let zone = &self.zones[index];

        match zone.state {
            State::NotWritePointer | State::ReadOnly | State::Offline => {
                Err(Status::ZoneInvalidCommand)
            }
            _ if zone.start != sector => Err(Status::ZoneInvalidCommand),
            _ => Ok(index),
        }
    }

    /// Makes room for one more open zone, and for one more active zone if this one is not yet.
    fn room(&mut self, index: usize) -> Result<(), Status> {
        let max_open = self.layout.max_open as usize;
        let max_active = self.layout.max_active as usize;
        let active = self.zones.iter().filter(|zone| zone.is_active()).count();

        if !self.zones[index].is_active() && max_active != 0 && active >= max_active {
            return Err(Status::ZoneActiveResource);
        }
        if !self.zones[index].is_open()
            && max_open != 0
            && self.zones.iter().filter(|zone| zone.is_open()).count() >= max_open
        {
            // Whoever was opened by a write only can be closed by the device.
            let mut others = self.zones.iter_mut();
            match others.find(|zone| zone.state == State::ImplicitlyOpen) {
                Some(other) => other.close(),
                None => return Err(Status::ZoneOpenResource),
            }
        }
        Ok(())
    }

    /// Whether `sectors` at `sector` can be read.
    pub fn read(&self, sector: u64, sectors: u64) -> Result<(), Status> {
        let first = self.index(sector)?;
        let last = self.index(sector + sectors.max(1) - 1)?;

        if self.zones[first..=last]
            .iter()
            .any(|zone| zone.state == State::Offline)
        {
            return Err(Status::ZoneInvalidCommand);
        }
        Ok(())
    }

    /// Takes a write of `sectors` at `sector`: moves the write pointer.
    pub fn write(&mut self, sector: u64, sectors: u64) -> Result<(), Status> {
        let index = self.index(sector)?;
        let zone = &self.zones[index];

        match zone.state {
            State::NotWritePointer => {
                let last = self.index(sector + sectors.max(1) - 1)?;
                return if self.zones[last].state == State::NotWritePointer {
                    Ok(())
                } else {
                    Err(Status::ZoneInvalidCommand)
                };
            }
            State::Full | State::ReadOnly | State::Offline => {
                return Err(Status::ZoneInvalidCommand)
            }
            _ => (),
        }
        if sector != zone.pointer
            || (sector + sectors) * 512 % u64::from(self.layout.granularity) != 0
        {
            return Err(Status::ZoneUnalignedWrite);
        }
        if sector + sectors > zone.end {
            return Err(Status::ZoneInvalidCommand);
        }
        self.room(index)?;

        let zone = &mut self.zones[index];
        zone.pointer += sectors;
        if zone.pointer == zone.end {
            zone.state = State::Full;
        } else if zone.state != State::ExplicitlyOpen {
            zone.state = State::ImplicitlyOpen;
        }
        Ok(())
    }

    /// Takes a zone append, and returns the sector at which the data goes.
    pub fn append(&mut self, start: u64, sectors: u64) -> Result<u64, Status> {
        let index = self.managed(start)?;
        let at = self.zones[index].pointer;

        if sectors == 0 || sectors > self.layout.max_append.into() {
            return Err(Status::ZoneInvalidCommand);
        }
        self.write(at, sectors)?;
        Ok(at)
    }

    pub fn open(&mut self, start: u64) -> Result<(), Status> {
        let index = self.managed(start)?;

        if self.zones[index].state == State::Full {
            return Err(Status::ZoneInvalidCommand);
        }
        self.room(index)?;
        self.zones[index].state = State::ExplicitlyOpen;
        Ok(())
    }

    pub fn close(&mut self, start: u64) -> Result<(), Status> {
        let index = self.managed(start)?;
        let zone = &mut self.zones[index];

        match zone.state {
            State::Empty | State::Full => return Err(Status::ZoneInvalidCommand),
            State::Closed => (),
            _ => zone.close(),
        }
        Ok(())
    }

    pub fn finish(&mut self, start: u64) -> Result<(), Status> {
        let index = self.managed(start)?;

        if self.zones[index].state != State::Full {
            self.room(index)?;
            self.zones[index].state = State::Full;
        }
        Ok(())
    }

    /// Empties a zone, and returns the sectors whose data is gone.
    pub fn reset(&mut self, start: u64) -> Result<(u64, u64), Status> {
        let index = self.managed(start)?;
        let zone = &mut self.zones[index];

        zone.reset();
        Ok((zone.start, zone.end - zone.start))
    }

    /// Empties all zones that can be, and returns the sectors whose data is gone.
    pub fn reset_all(&mut self) -> Vec<(u64, u64)> {
        self.zones
            .iter_mut()
            .filter(|zone| {
                !matches!(
                    zone.state,
                    State::NotWritePointer | State::ReadOnly | State::Offline
                )
            })
            .map(|zone| {
                zone.reset();
                (zone.start, zone.end - zone.start)
            })
            .collect()
    }

    /// Puts a zone into a state by force: read-only and offline come from outside.
    pub fn force(&mut self, sector: u64, state: State) -> Result<(), Status> {
        let index = self.index(sector)?;

        self.zones[index].state = state;
        Ok(())
    }

    /// At most `most` zones, from the one that holds `sector`.
    pub fn report(&self, sector: u64, most: usize) -> Result<Vec<ZoneDescriptor>, Status> {
        let first = self.index(sector)?;

        Ok(self.zones[first..]
            .iter()
            .take(most)
            .map(|zone| {
                let conventional = zone.state == State::NotWritePointer;

                ZoneDescriptor {
                    capacity: (zone.end - zone.start),
                    start: zone.start,
                    write_pointer: zone.pointer,
                    kind: if conventional { 1 } else { 2 },
                    state: zone.state as u8,
                }
            })
            .collect())
    }
}

#[cfg(test)]
#[path = "zones_test.rs"]
mod tests;
