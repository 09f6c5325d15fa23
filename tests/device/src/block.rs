// SPDX-License-Identifier: GPL-2.0

//! The virtio-blk device as the engine sees it: the frame of a request, its faults, its log line.

use crate::{
    disk::{
        Disk,
        Request, //
    },
    engine::{
        Engine,
        Options, //
    },
    faults::{
        parse_number,
        Effect,
        FalseStatus,
        Faults,
        Whom, //
    },
    model::{
        Exchange,
        Model,
        Reply,
        Served, //
    },
    settings::{
        self,
        Settings, //
    },
    wire::{
        Header,
        Op,
        Status, //
    },
    zones,
};
use std::{
    io::Write,
    sync::Arc, //
};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{
    Address,
    GuestAddress, //
};

pub struct Block {
    disk: Disk,
    faults: Faults<Whom>,
}

/// An engine that serves a virtio-blk device.
pub fn engine(settings: &Settings) -> Result<Arc<Engine>, String> {
    let mut faults = Faults::default();

    for text in &settings.faults {
        faults.add(text)?;
    }
    let block = Block {
        disk: Disk::new(settings)?,
        faults,
    };
    Engine::new(
        Box::new(block),
        Options {
            config: settings.config_space()?,
            place: settings::place,
            order: settings.order,
            latency_ms: settings.latency_ms,
            seed: settings.seed,
            log: settings.log.clone(),
        },
    )
}

impl Model for Block {
    fn serve(&mut self, exchange: Exchange<'_>) -> Result<Served, String> {
        let Exchange {
            input,
            output: mut writer,
            room,
            readable,
            writable,
            ..
        } = exchange;

        if input.len() < Header::SIZE {
            return Err(format!("a header of {} bytes", input.len()));
        }
        let header = Header::parse(&input);
        let op = Op::from_code(header.kind);
        let data = room
            .checked_sub(1)
            .ok_or(format!("{op:?} with room for {room} bytes of an answer"))?;
        let mut footer = writer.split_at(data).map_err(|e| format!("{e:?}"))?;
        let mut output = vec![0; data];
        let mut request = Request {
            header,
            op,
            input: &input[Header::SIZE..],
            output: &mut output,
            note: String::new(),
        };

        let (sector, sectors) = Disk::extent(&request);
        let effect = self.faults.take(op, exchange.queue, sector, sectors);
        let status = match effect.status {
            Some(FalseStatus::Value(value)) if value != Status::Ok as u8 => None,
            _ if effect.delivery.swallow => None,
            _ => Some(self.disk.execute(&mut request)),
        };
        let note = request.note;

        if let Some((offset, number)) = effect.data {
            let at = output
                .get_mut(offset..)
                .filter(|at| !at.is_empty())
                .ok_or(format!("a fault at {offset} of {data} bytes"))?;
            for (to, from) in at.iter_mut().zip(number.to_le_bytes()) {
                *to = from;
            }
        }
        if status == Some(Status::Ok) {
            writer.write_all(&output).map_err(|e| e.to_string())?;
        }
        let byte = match (effect.status, status) {
            (Some(FalseStatus::None), _) => None,
            (Some(FalseStatus::Value(value)), _) => Some(value),
            (None, status) => status.map(|status| status as u8),
        };
        if let Some(byte) = byte {
            footer.write_all(&[byte]).map_err(|e| e.to_string())?;
        }
        let used = effect.delivery.used.unwrap_or(room as u32);

        let mut segments = trim(readable, Header::SIZE as u32);
        let mut answer = writable;
        answer.reverse();
        answer = trim(answer, 1);
        answer.reverse();
        segments.extend(answer);
        let fault = if effect == Effect::default() {
            String::new()
        } else {
            format!(" fault={effect:?}")
        };
        let note = format!(
            "op={} type={} sector={} bytes={} segs={} ioprio={}{note} status={} used={used}{fault}",
            op.name(),
            header.kind,
            header.sector,
            segments.iter().sum::<u32>(),
            segments
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(","),
            header.ioprio,
            byte.map_or("none".into(), |byte| byte.to_string()),
        );
        Ok(Served {
            used,
            delivery: effect.delivery,
            note,
            ..Served::default()
        })
    }

    /// The status, which is the last byte of all.
    fn false_answer(&self, _queue: u16, output: &[Descriptor]) -> Option<(GuestAddress, u32)> {
        let last = output.last()?;

        Some((last.addr().checked_add(u64::from(last.len()) - 1)?, 1))
    }

    fn command(&mut self, verb: &str, words: &str) -> Option<Result<Reply, String>> {
        Some(match verb {
            "fault" => self.faults.add(words).map(|()| Reply::default()),
            "clear" => {
                self.faults.clear();
                Ok(Reply::default())
            }
            "capacity" => self.resize(words),
            "zone" => self.zone(words),
            _ => return None,
        })
    }
}

impl Block {
    fn resize(&mut self, words: &str) -> Result<Reply, String> {
        let sectors = parse_number(words)?;

        self.disk.resize(sectors)?;
        Ok(Reply {
            config: vec![("capacity", sectors)],
            ..Reply::default()
        })
    }

    fn zone(&mut self, words: &str) -> Result<Reply, String> {
        let (sector, state) = words.split_once(' ').ok_or("zone takes two words")?;
        let state = match state {
            "read-only" => zones::State::ReadOnly,
            "offline" => zones::State::Offline,
            _ => return Err(format!("a zone is not made {state}")),
        };
        let zones = self.disk.zones.as_mut().ok_or("no zones")?;

        zones
            .force(parse_number(sector)?, state)
            .map_err(|_| "no such zone")?;
        Ok(Reply::default())
    }
}

/// Takes `bytes` off the beginning of a list of lengths.
fn trim(lengths: Vec<u32>, mut bytes: u32) -> Vec<u32> {
    let mut rest = Vec::new();

    for length in lengths {
        let gone = length.min(bytes);
        bytes -= gone;
        if length > gone {
            rest.push(length - gone);
        }
    }
    rest
}
