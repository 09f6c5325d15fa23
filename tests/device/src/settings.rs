// SPDX-License-Identifier: GPL-2.0

//! What the device is: the JSON text of the command line.

use crate::{
    falsehoods::falsify,
    wire,
    zones::Layout, //
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::PathBuf, //
};

/// In which order answers go to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Fifo,
    /// Those that came in the time of one latency, the last one first.
    Reversed,
    /// Each after a random part of the latency.
    Random,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The serial number, and the name of a VDUSE device.
    pub serial: String,
    /// In sectors.
    pub capacity: u64,
    /// The data; a temporary file if there is none.
    pub file: Option<PathBuf>,
    /// Virtqueues that there are, whatever `num_queues` says.
    pub queues: u16,
    /// Entries of each virtqueue (VDUSE only).
    pub ring: u16,
    /// Features beside the usual ones: names, or numbers of bits.
    pub features: Vec<serde_json::Value>,
    /// Usual features that are not offered.
    pub without: Vec<serde_json::Value>,
    /// Fields of the configuration space, right or wrong.
    pub config: BTreeMap<String, u64>,
    /// Bytes of the configuration space, to have one that is too short.
    pub config_size: usize,
    pub latency_ms: u64,
    pub order: Order,
    pub seed: u64,
    /// The seed by which features and configuration are made such as no device should have, see
    /// `falsehoods.rs`, and how often the configuration then changes, from the start (VDUSE only).
    pub lies: Option<u64>,
    pub changes: u64,
    pub zones: Option<Layout>,
    /// Faults from the start, see `faults.rs`.
    pub faults: Vec<String>,
    pub control: Option<PathBuf>,
    pub log: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            serial: "blkdev".into(),
            capacity: 64 << 11,
            file: None,
            queues: 1,
            ring: 256,
            features: Vec::new(),
            without: Vec::new(),
            config: BTreeMap::new(),
            config_size: wire::CONFIG_SIZE,
            latency_ms: 0,
            order: Order::Fifo,
            seed: 1,
            lies: None,
            changes: 0,
            zones: None,
            faults: Vec::new(),
            control: None,
            log: None,
        }
    }
}

/// The usual features.
pub const USUAL: &[&str] = &[
    "seg_max",
    "blk_size",
    "flush",
    "mq",
    "indirect_desc",
    "event_idx",
    "version_1",
];

impl Settings {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;

        if let Some(seed) = settings.lies {
            falsify(&mut settings, seed);
        }
        settings.features()?;
        settings.config_space()?;
        if !settings.ring.is_power_of_two() || settings.queues == 0 {
            return Err("ring is no power of two, or queues is 0".into());
        }
        if matches!(&settings.zones, Some(layout) if layout.size == 0) {
            return Err("zones have no size".into());
        }
        Ok(settings)
    }

    /// The feature bits that are offered.
    pub fn features(&self) -> Result<u64, String> {
        let mut bits = 0;

        for name in USUAL {
            bits |= wire::feature(name).unwrap_or(0);
        }
        if self.zones.is_some() {
            bits |= wire::feature("zoned").unwrap_or(0);
        }
        for one in &self.features {
            bits |= mask(one)?;
        }
        for one in &self.without {
            bits &= !mask(one)?;
        }
        Ok(bits)
    }

    /// The configuration space: sensible values, then those of `config`.
    pub fn config_space(&self) -> Result<Vec<u8>, String> {
        let mut space = vec![0; wire::CONFIG_SIZE.max(self.config_size)];
        let most = u64::from(u32::MAX);
        let mut values = vec![
            ("capacity", self.capacity),
            ("size_max", 65536),
            ("seg_max", u64::from(self.ring.max(4)) - 2),
            ("blk_size", 512),
            ("wce", 1),
            ("num_queues", self.queues.into()),
            ("max_discard_sectors", most),
            ("max_discard_seg", 32),
            ("discard_sector_alignment", 8),
            ("max_write_zeroes_sectors", most),
            ("max_write_zeroes_seg", 1),
            ("write_zeroes_may_unmap", 1),
            ("max_secure_erase_sectors", most),
            ("max_secure_erase_seg", 16),
            ("secure_erase_sector_alignment", 8),
        ];

        if let Some(layout) = &self.zones {
            values.extend([
                ("zone_sectors", layout.size),
                ("max_open_zones", layout.max_open.into()),
                ("max_active_zones", layout.max_active.into()),
                ("max_append_sectors", layout.max_append.into()),
                ("write_granularity", layout.granularity.into()),
                ("zone_model", 1),
            ]);
        }
        for (name, value) in values {
            set(&mut space, name, value)?;
        }
        for (name, value) in &self.config {
            set(&mut space, name, *value)?;
        }
        space.truncate(self.config_size);
        Ok(space)
    }

    /// A field as the configuration space has it, 0 where that ends before.
    pub fn field(&self, name: &str) -> u64 {
        let space = self.config_space().unwrap_or_default();
        let found = wire::CONFIG.iter().find(|(known, ..)| *known == name);

        found
            .and_then(|(_, offset, size)| space.get(*offset..offset + size))
            .map_or(0, wire::number)
    }
}

/// Where a field lies: offset and bytes.
pub fn place(name: &str) -> Result<(usize, usize), String> {
    let found = wire::CONFIG.iter().find(|(known, ..)| *known == name);
    let (_, offset, size) = found.ok_or(format!("no configuration field is named {name}"))?;

    Ok((*offset, *size))
}

fn set(space: &mut [u8], name: &str, value: u64) -> Result<(), String> {
    let (offset, size) = place(name)?;

    if size < 8 && value >> (8 * size) != 0 {
        return Err(format!("{name}={value} has no room in {size} bytes"));
    }
    space[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
    Ok(())
}

fn mask(value: &serde_json::Value) -> Result<u64, String> {
    let bits = match (value.as_str(), value.as_u64()) {
        (Some(name), _) => wire::feature(name),
        (_, Some(bit)) if bit < 64 => Some(1 << bit),
        _ => None,
    };
    bits.ok_or(format!("no feature {value}"))
}
