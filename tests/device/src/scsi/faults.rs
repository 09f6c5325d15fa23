// SPDX-License-Identifier: GPL-2.0

//! Faults of the SCSI host: which requests get a wrong answer, and which one.
//!
//! Which: `op=NAME` (see `commands::name`; `abort`, `unit-reset`, `nexus-reset` for task
//! management, `tmf` for all of it), `unit=T:L`, `lba=N` (one of the request's), `skip=N`, `count=N`
//! (1 if not said, 0 for all that follow).
//!
//! What:
//! - `response=N`, `status=N`: this instead of doing it, if it is not 0;
//! - `sense=KEY,ASC,ASCQ`: a check condition instead of doing it;
//! - `sense_len=N`, `resid=N`: these numbers, whatever is true;
//! - `lie`: a task management function is said to be done, and is not;
//! - `guard`: the first guard that is read is another one;
//! - what `../faults.rs` has of `used`, `id`, `double`, `drop`, `noirq`.

use super::wire::{
    Address,
    Response,
    Sense, //
};
use crate::faults::{
    narrow,
    parse_number,
    Delivery, //
};

/// What goes wrong with one request.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Effect {
    pub response: Option<u8>,
    pub status: Option<u8>,
    pub sense: Option<Sense>,
    pub sense_len: Option<u32>,
    pub residual: Option<u32>,
    pub guard: bool,
    pub lie: bool,
    pub delivery: Delivery,
}

impl Effect {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The request is not done.
    pub fn is_refusal(&self) -> bool {
        self.response.is_some_and(|code| code != 0)
            || self.status.is_some_and(|status| status != 0)
            || self.sense.is_some()
    }

    /// Falsifies an answer.
    pub fn apply(&self, answer: &mut Response) {
        if let Some(sense) = self.sense {
            answer.check_condition(sense);
        }
        answer.status = self.status.unwrap_or(answer.status);
        answer.response = self.response.unwrap_or(answer.response);
        answer.residual = self.residual.unwrap_or(answer.residual);
        answer.sense_len = self.sense_len;
    }
}

#[derive(Clone, Default, Debug)]
struct Fault {
    op: Option<String>,
    unit: Option<Address>,
    lba: Option<u64>,
    skip: u64,
    /// `None`: for ever.
    left: Option<u64>,
    effect: Effect,
}

fn sense(text: &str) -> Result<Sense, String> {
    let numbers: Result<Vec<u8>, String> = text.split(',').map(narrow).collect();

    match numbers?.as_slice() {
        [key, code, qualifier] => Ok(Sense(*key, *code, *qualifier)),
        _ => Err(format!("{text} is no KEY,ASC,ASCQ")),
    }
}

impl Fault {
    fn parse(text: &str) -> Result<Self, String> {
        let mut fault = Self {
            left: Some(1),
            ..Self::default()
        };

        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let effect = &mut fault.effect;
            match (key, value) {
                ("op", name) => fault.op = Some(super::commands::known(name)?),
                ("unit", at) => fault.unit = Some(Address::parse(at)?),
                ("lba", n) => fault.lba = Some(parse_number(n)?),
                ("skip", n) => fault.skip = parse_number(n)?,
                ("count", n) => fault.left = Some(parse_number(n)?).filter(|n| *n != 0),
                ("response", n) => effect.response = Some(narrow(n)?),
                ("status", n) => effect.status = Some(narrow(n)?),
                ("sense", text) => effect.sense = Some(sense(text)?),
                ("sense_len", n) => effect.sense_len = Some(narrow(n)?),
                ("resid", n) => effect.residual = Some(narrow(n)?),
                ("guard", "") => effect.guard = true,
                ("lie", "") => effect.lie = true,
                _ if effect.delivery.word(key, value)? => (),
                _ => return Err(format!("a fault has no word {word}")),
            }
        }
        if fault.effect.is_none() {
            return Err("the fault does nothing".into());
        }
        Ok(fault)
    }

    fn matches(&self, op: &str, at: Option<Address>, lba: u64, blocks: u64) -> bool {
        let tmf = super::control::NAMES.contains(&op);

        // What names no function means none.
        self.op
            .as_deref()
            .map_or(!tmf, |wanted| wanted == op || (tmf && wanted == "tmf"))
            && self.unit.is_none_or(|wanted| Some(wanted) == at)
            && self
                .lba
                .is_none_or(|wanted| (lba..lba + blocks.max(1)).contains(&wanted))
    }
}

/// The faults in force; the first one that matches a request has it.
#[derive(Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        self.0.push(Fault::parse(text)?);
        Ok(())
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What goes wrong with this request.
    pub fn take(&mut self, op: &str, at: Option<Address>, lba: u64, blocks: u64) -> Effect {
        for fault in &mut self.0 {
            if fault.left == Some(0) || !fault.matches(op, at, lba, blocks) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.left = fault.left.map(|left| left - 1);
            return fault.effect.clone();
        }
        Effect::default()
    }
}
