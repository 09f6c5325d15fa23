// SPDX-License-Identifier: GPL-2.0

//! The virtio-scsi device: logical units behind a host, all of whose queues are served here. QEMU
//! has the configuration space.

mod commands;
mod control;
mod faults;
mod pages;
mod protection;
mod settings;
mod unit;
mod wire;

pub use settings::Settings;

use crate::{
    engine::{
        Engine,
        Options, //
    },
    faults::parse_number,
    model::{
        Exchange,
        Key,
        Message,
        Model,
        Reply,
        Served, //
    },
    wire::number, //
};
use faults::Faults;
use std::{
    collections::BTreeMap,
    io::Write,
    sync::Arc, //
};
use unit::{
    Done,
    Failure,
    Unit, //
};
use virtio_queue::desc::split::Descriptor;
use vm_memory::GuestAddress;
use wire::{
    Address,
    Header,
    Response,
    Sense, //
};

/// Operation codes that concern the target rather than a unit.
const INQUIRY: u8 = 0x12;
const REPORT_LUNS: u8 = 0xa0;

pub struct Host {
    units: BTreeMap<Address, Unit>,
    faults: Faults,
    /// T10 PI was negotiated, so requests have a longer header.
    protection: bool,
    block: usize,
}

/// An engine that serves a virtio-scsi device.
pub fn engine(settings: &Settings) -> Result<Arc<Engine>, String> {
    let mut host = Host {
        units: BTreeMap::new(),
        faults: Faults::default(),
        protection: false,
        block: 512,
    };

    for unit in &settings.units {
        let address = Address {
            target: unit.target,
            lun: unit.lun,
        };
        host.units.insert(address, Unit::new(unit)?);
    }
    for text in &settings.faults {
        host.faults.add(text)?;
    }
    Engine::new(
        Box::new(host),
        Options {
            config: Vec::new(),
            place: |field| Err(format!("QEMU has {field} of a SCSI host")),
            order: settings.order,
            latency_ms: settings.latency_ms,
            seed: settings.seed,
            log: settings.log.clone(),
        },
    )
}

impl Model for Host {
    fn serve(&mut self, exchange: Exchange<'_>) -> Result<Served, String> {
        match exchange.queue {
            wire::CONTROL => control::serve(&mut self.faults, &self.units, exchange),
            _ => self.request(exchange),
        }
    }

    /// The response, which comes first: a byte for a function, the fields before the sense data for a
    /// command.
    fn false_answer(&self, queue: u16, output: &[Descriptor]) -> Option<(GuestAddress, u32)> {
        let first = output.first()?;
        let bytes = if queue == wire::CONTROL { 1 } else { 12 };

        Some((first.addr(), first.len().min(bytes)))
    }

    /// Events of any type and reason, of units that are not there; of one that is none that says that it is
    /// gone or another one now, which has to be believed; at times that others were missed.
    fn false_message(&self, bytes: [u8; 16]) -> Option<Message> {
        let [_, there, roll, what, lun @ ..] = bytes;
        let mut kind = match roll % 8 {
            0..=3 => wire::TRANSPORT_RESET,
            4 => wire::PARAM_CHANGE,
            5 => 2,
            6 => 0,
            _ => number(&bytes[8..12]) as u32 & !wire::MISSED,
        };
        let mut reason = match what % 4 {
            3 => number(&bytes[12..16]) as u32,
            reason => reason.into(),
        };
        let mut lun: [u8; 8] = wire::bytes(&lun, 0);
        if there % 2 == 0 {
            lun[0] = 1;
            lun[2] &= 0x43;
            lun[4..].fill(0);
        }
        let known = self.units.keys().find(|_| there % 4 == 1).copied();
        let known = known.or(Address::from_wire(lun));
        if let Some(at) = known.filter(|at| self.units.contains_key(at)) {
            lun = at.to_wire();
            if kind == wire::PARAM_CHANGE {
                kind = wire::TRANSPORT_RESET;
            }
            if reason == wire::RESET_REMOVED {
                reason = wire::RESET_RESCAN;
            }
        }
        // All targets are looked for then.
        if roll >= 0xf8 {
            kind |= wire::MISSED;
        }

        Some(Message {
            queue: wire::EVENTS,
            bytes: wire::event(kind, lun, reason),
            delivery: Default::default(),
        })
    }

    fn command(&mut self, verb: &str, words: &str) -> Option<Result<Reply, String>> {
        let plain = |result: Result<(), String>| result.map(|()| Reply::default());

        Some(match verb {
            "fault" => plain(self.faults.add(words)),
            "clear" => {
                self.faults.clear();
                Ok(Reply::default())
            }
            "add" | "remove" | "resize" => self.change(verb, words),
            "event" => event(words),
            _ => return None,
        })
    }

    fn accepted(&mut self, features: u64) {
        self.protection = features & wire::T10_PI != 0;
    }

    fn is_inbox(&self, queue: u16) -> bool {
        queue == wire::EVENTS
    }
}

impl Host {
    /// A command: header, protection, data; response, protection, data.
    fn request(&mut self, exchange: Exchange<'_>) -> Result<Served, String> {
        let Exchange {
            input,
            mut output,
            room,
            readable,
            writable,
            ..
        } = exchange;
        let header = Header::parse(&input, self.protection)?;
        let (pi_out, pi_in) = (header.pi_out as usize, header.pi_in as usize);
        let out = &input[header.size..];
        let data_room = room
            .checked_sub(wire::RESPONSE_SIZE + pi_in)
            .ok_or(format!("room for {room} bytes of an answer"))?;
        if out.len() < pi_out {
            return Err(format!("{} bytes with {pi_out} of protection", out.len()));
        }
        let (tuples, data) = out.split_at(pi_out);
        let cdb = &header.cdb;
        let op = commands::name(cdb);
        let (lba, blocks) = commands::extent(cdb);
        let effect = self.faults.take(op, header.address, lba, blocks);

        // A false answer says nothing about the data.
        let result = match effect.is_refusal() || effect.delivery.swallow {
            true => Ok(Done::default()),
            false => self.execute(&header, data, tuples, data_room),
        };
        let mut response = Response::default();
        let mut done = Done::default();
        match result {
            Ok(_) if effect.is_refusal() => (),
            Ok(good) => {
                done = good;
                let asked = data_room.max(data.len());
                let moved = done.data.len().max(done.taken);
                response.residual = asked.saturating_sub(moved) as u32;
            }
            Err(Failure::Sense(sense)) => response.check_condition(sense),
            Err(Failure::Response(code)) => response.response = code,
        }
        if effect.guard {
            if let Some(byte) = done.tuples.first_mut() {
                *byte ^= 0xff;
            }
        }
        if let Some((at, n)) = effect.data {
            if let Some(field) = done.data.get_mut(at..at + 4) {
                field.copy_from_slice(&n.to_be_bytes());
            }
        }
        effect.apply(&mut response);

        let mut answer = response.bytes();
        done.tuples.resize(pi_in, 0);
        answer.extend(&done.tuples);
        done.data.truncate(data_room);
        answer.extend(&done.data);
        if effect.is_refusal() {
            answer.truncate(wire::RESPONSE_SIZE);
        }
        if !effect.unanswered && !effect.delivery.swallow {
            output.write_all(&answer).map_err(|e| e.to_string())?;
        }

        let used = effect.delivery.used.unwrap_or(answer.len() as u32);
        let fault = match effect.is_none() {
            true => String::new(),
            false => format!(" fault={effect:?}"),
        };
        let note = format!(
            "op={op} unit={} tag={:#x} attr={} prio={} cdb={} lba={lba} blocks={blocks} out={} in={data_room} \
             pi_out={pi_out} pi_in={pi_in} checked={} segs={} response={} status={:#x} used={used}{fault}",
            header.name(),
            header.tag,
            header.attribute,
            header.priority,
            wire::hex(&cdb[..commands::length(cdb)]),
            data.len(),
            done.checked,
            readable.len() + writable.len(),
            response.response,
            response.status,
        );
        Ok(Served {
            used,
            delivery: effect.delivery,
            note,
            key: header.address.map(|at| Key {
                target: at.target,
                lun: at.lun,
                tag: header.tag,
            }),
            ends: None,
            asks: None,
        })
    }

    fn execute(
        &mut self,
        header: &Header,
        data: &[u8],
        tuples: &[u8],
        room: usize,
    ) -> Result<Done, Failure> {
        let known = header
            .address
            .filter(|at| self.units.keys().any(|unit| unit.target == at.target));
        let address = known.ok_or(Failure::Response(wire::S_BAD_TARGET))?;
        let cdb = &header.cdb;

        if cdb[0] == REPORT_LUNS {
            let luns = self.units.keys().filter(|at| at.target == address.target);
            return Ok(Done::reading(pages::luns(luns), commands::allocation(cdb)));
        }
        match self.units.get_mut(&address) {
            Some(unit) => unit.execute(cdb, data, tuples, room),
            None if cdb[0] == INQUIRY => {
                let page = pages::no_unit();
                Ok(Done::reading(page, commands::allocation(cdb)))
            }
            None => Err(Sense::NO_SUCH_UNIT.into()),
        }
    }

    /// `add T:L SERIAL BLOCKS`, `remove T:L`, `resize T:L BLOCKS`; the driver hears of it unless
    /// the last word is `silently`.
    fn change(&mut self, verb: &str, words: &str) -> Result<Reply, String> {
        let (words, silent) = match words.strip_suffix(" silently") {
            Some(words) => (words, true),
            None => (words, false),
        };
        let words: Vec<&str> = words.split_whitespace().collect();
        let at = Address::parse(words.first().ok_or("which unit?")?)?;
        let (kind, reason) = match (verb, &words[1..]) {
            ("add", [serial, blocks]) => {
                let mut settings = settings::Unit::new(at.target, at.lun, serial);
                settings.blocks = parse_number(blocks)?;
                settings.block = self.block;
                self.units.insert(at, Unit::new(&settings)?);
                (wire::TRANSPORT_RESET, wire::RESET_RESCAN)
            }
            ("remove", []) => {
                self.units.remove(&at).ok_or("no such unit")?;
                (wire::TRANSPORT_RESET, wire::RESET_REMOVED)
            }
            ("resize", [blocks]) => {
                let unit = self.units.get_mut(&at).ok_or("no such unit")?;
                unit.resize(parse_number(blocks)?)?;
                (wire::PARAM_CHANGE, wire::CAPACITY_CHANGED)
            }
            _ => return Err(format!("{verb} takes other words")),
        };
        let message = Message {
            queue: wire::EVENTS,
            bytes: wire::event(kind, at.to_wire(), reason),
            delivery: Default::default(),
        };

        Ok(Reply {
            messages: if silent { vec![] } else { vec![message] },
            ..Reply::default()
        })
    }
}

/// `event type=N reason=N unit=T:L|HEX count=N` and words of a delivery: any event, right or wrong.
fn event(words: &str) -> Result<Reply, String> {
    let (mut kind, mut reason, mut count) = (0, 0, 1);
    let mut lun = [0; 8];
    let mut delivery = crate::faults::Delivery::default();

    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "type" => kind = crate::faults::narrow(value)?,
            "reason" => reason = crate::faults::narrow(value)?,
            "count" => count = parse_number(value)?,
            "unit" if value.contains(':') => lun = Address::parse(value)?.to_wire(),
            "unit" => lun = parse_number(value)?.to_be_bytes(),
            _ if delivery.word(key, value)? => (),
            _ => return Err(format!("an event has no word {word}")),
        }
    }
    let message = Message {
        queue: wire::EVENTS,
        bytes: wire::event(kind, lun, reason),
        delivery,
    };
    Ok(Reply {
        messages: (0..count).map(|_| message.clone()).collect(),
        ..Reply::default()
    })
}

#[cfg(test)]
#[path = "scsi/host_test.rs"]
mod tests;
