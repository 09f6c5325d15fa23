// SPDX-License-Identifier: GPL-2.0

//! Faults: which requests get a wrong answer, and which one.
//!
//! A fault is written as words: `op=write sector=2048 count=2 status=1`.
//!
//! Which requests: `op=NAME`, `sector=N` (one of the request's), `queue=N`, `skip=N` (not the first N),
//! `count=N` (so many, 1 if not said, 0 for all that follow).
//!
//! What happens to them:
//! - `status=N` writes this status and leaves the data alone; `status=none` writes none (by VDUSE the
//!   driver then finds what the kernel's bounce buffer held before);
//! - `data=OFFSET:N` puts the 64-bit number N (little endian) at OFFSET of the data of the answer, as far as
//!   that reaches, which of a zone append is the sector that it went to;
//! - `used=N` tells this used length;
//! - `id=N` tells this id in the used ring, `id=other` one that is not the request's;
//! - `double` completes it twice;
//! - `delay=N` completes it N milliseconds later than others;
//! - `drop` does not complete it until `release`;
//! - `swallow` neither does nor completes it, ever;
//! - `noirq` completes it without an interrupt.

use crate::wire::Op;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FalseStatus {
    Value(u8),
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FalseId {
    Value(u32),
    Other,
}

/// What goes wrong with the way of an answer through the ring, whatever the kind of device.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Delivery {
    pub used: Option<u32>,
    pub id: Option<FalseId>,
    pub double: bool,
    /// In milliseconds.
    pub delay: u32,
    pub drop: bool,
    pub swallow: bool,
    pub noirq: bool,
}

impl Delivery {
    /// Takes a word of a fault; false if it is none of these.
    pub fn word(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match (key, value) {
            ("used", n) => self.used = Some(narrow(n)?),
            ("id", "other") => self.id = Some(FalseId::Other),
            ("id", n) => self.id = Some(FalseId::Value(narrow(n)?)),
            ("double", "") => self.double = true,
            ("delay", n) => self.delay = narrow(n)?,
            ("drop", "") => self.drop = true,
            ("swallow", "") => self.swallow = true,
            ("noirq", "") => self.noirq = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// What goes wrong with one request.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Effect {
    pub status: Option<FalseStatus>,
    /// Where, and what.
    pub data: Option<(usize, u64)>,
    pub delivery: Delivery,
}

/// Whom a fault hits, and what it does to them: what differs between the kinds of devices.
pub trait Kind: Default {
    type Effect: Clone + Default + PartialEq;

    /// Takes a word of a fault; false if it is none of this kind's.
    fn word(&mut self, effect: &mut Self::Effect, key: &str, value: &str) -> Result<bool, String>;
}

struct Fault<K: Kind> {
    whom: K,
    skip: u64,
    /// `None`: for ever.
    left: Option<u64>,
    effect: K::Effect,
}

/// A number in decimal or, after 0x, hexadecimal.
pub fn parse_number(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("{text} is no number"))
}

/// The same, for a field that is smaller.
pub fn narrow<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    parse_number(text)?
        .try_into()
        .map_err(|_| format!("{text} is too large"))
}

impl<K: Kind> Fault<K> {
    fn parse(text: &str) -> Result<Self, String> {
        let mut fault = Self {
            whom: K::default(),
            skip: 0,
            left: Some(1),
            effect: K::Effect::default(),
        };

        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match (key, value) {
                ("skip", n) => fault.skip = parse_number(n)?,
                ("count", n) => fault.left = Some(parse_number(n)?).filter(|n| *n != 0),
                _ if fault.whom.word(&mut fault.effect, key, value)? => (),
                _ => return Err(format!("a fault has no word {word}")),
            }
        }
        if fault.effect == K::Effect::default() {
            return Err("the fault does nothing".into());
        }
        Ok(fault)
    }
}

/// The faults in force; the first one that matches a request has it.
pub struct Faults<K: Kind>(Vec<Fault<K>>);

impl<K: Kind> Default for Faults<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Kind> Faults<K> {
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        self.0.push(Fault::parse(text)?);
        Ok(())
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What goes wrong with a request, which `hits` tells whether a fault is meant for.
    pub fn first(&mut self, hits: impl Fn(&K) -> bool) -> K::Effect {
        for fault in &mut self.0 {
            if fault.left == Some(0) || !hits(&fault.whom) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.left = fault.left.map(|left| left - 1);
            return fault.effect.clone();
        }
        K::Effect::default()
    }
}

/// The requests of a disk that a fault hits.
#[derive(Default)]
pub struct Whom {
    op: Option<Op>,
    sector: Option<u64>,
    queue: Option<u16>,
}

impl Kind for Whom {
    type Effect = Effect;

    fn word(&mut self, effect: &mut Effect, key: &str, value: &str) -> Result<bool, String> {
        match (key, value) {
            ("op", name) => {
                self.op = Some(Op::from_name(name).ok_or(format!("no op is named {name}"))?)
            }
            ("sector", n) => self.sector = Some(parse_number(n)?),
            ("queue", n) => self.queue = Some(narrow(n)?),
            ("status", "none") => effect.status = Some(FalseStatus::None),
            ("status", n) => effect.status = Some(FalseStatus::Value(narrow(n)?)),
            ("data", text) => {
                let (offset, n) = text
                    .split_once(':')
                    .ok_or(format!("data={text} has no colon"))?;
                effect.data = Some((narrow(offset)?, parse_number(n)?));
            }
            _ => return effect.delivery.word(key, value),
        }
        Ok(true)
    }
}

impl Faults<Whom> {
    /// What goes wrong with this request.
    pub fn take(&mut self, op: Op, queue: u16, sector: u64, sectors: u64) -> Effect {
        let sectors = sector..sector.saturating_add(sectors.max(1));

        self.first(|whom| {
            whom.op.is_none_or(|wanted| wanted == op)
                && whom.queue.is_none_or(|wanted| wanted == queue)
                && whom.sector.is_none_or(|wanted| sectors.contains(&wanted))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_what_it_names() {
        let mut faults = Faults::<Whom>::default();

        faults
            .add("op=write sector=0x10 skip=1 count=2 status=1")
            .unwrap();
        assert_eq!(faults.take(Op::Read, 0, 16, 1), Effect::default());
        assert_eq!(faults.take(Op::Write, 0, 17, 1), Effect::default());
        assert_eq!(faults.take(Op::Write, 0, 8, 8), Effect::default());
        // Skipped, twice wrong, done.
        let hits: Vec<bool> = (0..4)
            .map(|_| faults.take(Op::Write, 0, 8, 16) != Effect::default())
            .collect();
        assert_eq!(hits, [false, true, true, false]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut faults = Faults::<Whom>::default();

        for text in [
            "",
            "op=write",
            "op=wrte drop",
            "status=256",
            "drop=1",
            "used=x",
            "delay=0",
            "delay=4294967296",
            "data=8",
            "data=8:x",
        ] {
            assert!(faults.add(text).is_err(), "{text}");
        }
    }

    #[test]
    fn count_0_is_for_ever() {
        let mut faults = Faults::<Whom>::default();

        faults
            .add("count=0 drop noirq used=0 id=other status=none")
            .unwrap();
        for _ in 0..9 {
            let effect = faults.take(Op::Flush, 3, 0, 0);
            assert!(effect.delivery.drop && effect.delivery.noirq);
            assert_eq!(effect.delivery.id, Some(FalseId::Other));
        }
        faults.clear();
        assert_eq!(faults.take(Op::Flush, 3, 0, 0), Effect::default());
    }
}
