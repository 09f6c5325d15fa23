// SPDX-License-Identifier: GPL-2.0

//! Faults of the SCSI host: which requests get a wrong answer, and which one.
//!
//! Which: `op=NAME` (see `commands::name`; `abort`, `unit-reset`, `nexus-reset`, `query` for task
//! management, `tmf` for all of it), `unit=T:L`, `lba=N` (one of the request's), `skip=N`, `count=N`
//! (1 if not said, 0 for all that follow).
//!
//! What:
//! - `response=N`, `status=N`: this instead of doing it, if it is not 0;
//! - `sense=KEY,ASC,ASCQ`: a check condition instead of doing it;
//! - `sense_more=N`: its sense data goes on for N bytes, each of which is its offset;
//! - `sense_len=N`, `resid=N`: these numbers, whatever is true;
//! - `data=OFFSET:N`: the 32-bit number N (big-endian) is at OFFSET of the data that is read;
//! - `unanswered`: it is done, and comes back without an answer in it;
//! - `lie`: a task management function is said to be done, and is not; a query is told the contrary;
//! - `guard`: the first guard that is read is another one;
//! - what `../faults.rs` has of `used`, `id`, `double`, `delay`, `drop`, `swallow`, `noirq`.

use super::wire::{
    Address,
    Response,
    Sense, //
};
use crate::faults::{
    narrow,
    parse_number,
    Delivery,
    Kind, //
};

/// What goes wrong with one request.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Effect {
    pub response: Option<u8>,
    pub status: Option<u8>,
    pub sense: Option<Sense>,
    pub sense_more: u8,
    pub sense_len: Option<u32>,
    pub residual: Option<u32>,
    pub data: Option<(usize, u32)>,
    pub guard: bool,
    pub unanswered: bool,
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
            // The length of what follows the eighth byte is told there.
            let end = answer.sense.len() as u8;
            answer.sense.extend(end..end + self.sense_more);
            answer.sense[7] += self.sense_more;
        }
        answer.status = self.status.unwrap_or(answer.status);
        answer.response = self.response.unwrap_or(answer.response);
        answer.residual = self.residual.unwrap_or(answer.residual);
        answer.sense_len = self.sense_len;
    }
}

/// The requests of a host that a fault hits.
#[derive(Default)]
pub struct Whom {
    op: Option<String>,
    unit: Option<Address>,
    lba: Option<u64>,
}

fn sense(text: &str) -> Result<Sense, String> {
    let numbers: Result<Vec<u8>, String> = text.split(',').map(narrow).collect();

    match numbers?.as_slice() {
        [key, code, qualifier] => Ok(Sense(*key, *code, *qualifier)),
        _ => Err(format!("{text} is no KEY,ASC,ASCQ")),
    }
}

impl Kind for Whom {
    type Effect = Effect;

    fn word(&mut self, effect: &mut Effect, key: &str, value: &str) -> Result<bool, String> {
        match (key, value) {
            ("op", name) => self.op = Some(super::commands::known(name)?),
            ("unit", at) => self.unit = Some(Address::parse(at)?),
            ("lba", n) => self.lba = Some(parse_number(n)?),
            ("response", n) => effect.response = Some(narrow(n)?),
            ("status", n) => effect.status = Some(narrow(n)?),
            ("sense", text) => effect.sense = Some(sense(text)?),
            ("sense_more", n) => {
                effect.sense_more = narrow(n).ok().filter(|n| *n < 80).ok_or("sense_more")?
            }
            ("sense_len", n) => effect.sense_len = Some(narrow(n)?),
            ("resid", n) => effect.residual = Some(narrow(n)?),
            ("data", text) => {
                let (at, n) = text.split_once(':').ok_or("data has no colon")?;
                effect.data = Some((narrow(at)?, narrow(n)?));
            }
            ("guard", "") => effect.guard = true,
            ("unanswered", "") => effect.unanswered = true,
            ("lie", "") => effect.lie = true,
            _ => return effect.delivery.word(key, value),
        }
        Ok(true)
    }
}

pub type Faults = crate::faults::Faults<Whom>;

impl Faults {
    /// What goes wrong with this request.
    pub fn take(&mut self, op: &str, at: Option<Address>, lba: u64, blocks: u64) -> Effect {
        let tmf = super::control::NAMES.contains(&op);
        let blocks = lba..lba.saturating_add(blocks.max(1));

        self.first(|whom| {
            // What names no function means none.
            whom.op
                .as_deref()
                .map_or(!tmf, |wanted| wanted == op || (tmf && wanted == "tmf"))
                && whom.unit.is_none_or(|wanted| Some(wanted) == at)
                && whom.lba.is_none_or(|wanted| blocks.contains(&wanted))
        })
    }
}
