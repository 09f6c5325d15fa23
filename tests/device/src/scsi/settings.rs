// SPDX-License-Identifier: GPL-2.0

//! What the SCSI host is: the JSON text of the command line.

use super::wire;
use crate::settings::Order;
use serde::Deserialize;
use std::path::PathBuf;

/// A logical unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    pub target: u8,
    #[serde(default)]
    pub lun: u16,
    pub serial: String,
    #[serde(default = "default_blocks")]
    pub blocks: u64,
    /// Bytes of a block.
    #[serde(default = "default_block")]
    pub block: usize,
    /// The data; a temporary file if there is none. Protection information is in a temporary one.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Formatted with protection information of type 1.
    #[serde(default)]
    pub protected: bool,
    /// Whose product it says it is.
    #[serde(default = "default_vendor")]
    pub vendor: String,
    /// Its concurrent positioning ranges, of one size; none means that it has no such page.
    #[serde(default)]
    pub actuators: u8,
}

fn default_vendor() -> String {
    "VSR".into()
}

fn default_blocks() -> u64 {
    64 << 11
}

fn default_block() -> usize {
    512
}

impl Unit {
    pub fn new(target: u8, lun: u16, serial: &str) -> Self {
        Self {
            target,
            lun,
            serial: serial.into(),
            blocks: default_blocks(),
            block: default_block(),
            file: None,
            protected: false,
            vendor: default_vendor(),
            actuators: 0,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub serial: String,
    /// Request queues.
    pub queues: u16,
    pub units: Vec<Unit>,
    /// Requests carry protection information.
    pub t10_pi: bool,
    pub latency_ms: u64,
    pub order: Order,
    pub seed: u64,
    /// Faults from the start, see `scsi/faults.rs`.
    pub faults: Vec<String>,
    pub control: Option<PathBuf>,
    pub log: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            serial: "scsi".into(),
            queues: 1,
            units: Vec::new(),
            t10_pi: false,
            latency_ms: 0,
            order: Order::Fifo,
            seed: 1,
            faults: Vec::new(),
            control: None,
            log: None,
        }
    }
}

impl Settings {
    pub fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;

        for unit in &settings.units {
            if !unit.block.is_power_of_two() || unit.block < 512 || unit.blocks == 0 {
                return Err(format!(
                    "{}: {} blocks of {}",
                    unit.serial, unit.blocks, unit.block
                ));
            }
        }
        if settings.queues == 0 {
            return Err("queues is 0".into());
        }
        Ok(settings)
    }

    /// The feature bits that are offered.
    pub fn features(&self) -> u64 {
        let rings = ["indirect_desc", "event_idx", "version_1"];
        let rings = rings.iter().filter_map(|name| crate::wire::feature(name));
        let protection = if self.t10_pi { wire::T10_PI } else { 0 };

        rings.fold(wire::HOTPLUG | wire::CHANGE | protection, |all, bit| {
            all | bit
        })
    }

    /// Control, events, and the request queues.
    pub fn all_queues(&self) -> u16 {
        self.queues + 2
    }
}
