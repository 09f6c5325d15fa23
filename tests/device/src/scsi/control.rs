// SPDX-License-Identifier: GPL-2.0

//! The control queue: task management, and the asynchronous notifications that are none here.

use super::{
    faults::Faults,
    unit::Unit,
    wire::{
        self,
        bytes,
        Address,
        Response, //
    },
};
use crate::model::{
    Asks,
    Ends,
    Exchange,
    Key,
    Served, //
};
use std::{
    collections::BTreeMap,
    io::Write, //
};

/// The names of functions by their subtype.
pub const NAMES: &[&str] = &[
    "abort",
    "abort-set",
    "clear-aca",
    "clear-set",
    "nexus-reset",
    "unit-reset",
    "query",
    "query-set",
];

const ABORT: usize = 0;
const ABORT_SET: usize = 1;
const CLEAR_SET: usize = 3;
const NEXUS_RESET: usize = 4;
const UNIT_RESET: usize = 5;
const QUERY: usize = 6;

const TMF: u32 = 0;
const TMF_SIZE: usize = 24;

pub fn serve(
    faults: &mut Faults,
    units: &BTreeMap<Address, Unit>,
    exchange: Exchange<'_>,
) -> Result<Served, String> {
    let Exchange {
        input, mut output, ..
    } = exchange;
    if input.len() < 4 {
        return Err(format!("a control request of {} bytes", input.len()));
    }
    if u32::from_le_bytes(bytes(&input, 0)) != TMF {
        // A query, or a subscription: there are no such events.
        output
            .write_all(&[0, 0, 0, 0, wire::S_OK])
            .map_err(|e| e.to_string())?;
        return Ok(Served {
            used: 5,
            note: "op=notifications".into(),
            ..Served::default()
        });
    }
    if input.len() < TMF_SIZE {
        return Err(format!("a function of {} bytes", input.len()));
    }
    let subtype = u32::from_le_bytes(bytes(&input, 4)) as usize;
    let lun: [u8; 8] = bytes(&input, 8);
    let tag = u64::from_le_bytes(bytes(&input, 16));
    let address = Address::from_wire(lun);
    let name = NAMES.get(subtype).copied().unwrap_or("unknown");
    let effect = faults.take(name, address, 0, 0);
    let refused = effect.is_refusal() || effect.lie || effect.delivery.drop;

    let (mut code, mut ends) = (wire::S_FUNCTION_SUCCEEDED, None);
    match address {
        Some(at) if units.contains_key(&at) => ends = which(subtype, at, tag),
        Some(at) if units.keys().any(|unit| unit.target == at.target) => {
            code = wire::S_INCORRECT_LUN
        }
        _ => code = wire::S_BAD_TARGET,
    }
    let asks = address
        .filter(|_| code == wire::S_FUNCTION_SUCCEEDED && subtype == QUERY)
        .filter(|_| effect.response.is_none())
        .map(|at| asks(at, tag, effect.lie));
    if code == wire::S_FUNCTION_SUCCEEDED && ends.is_none() && asks.is_none() {
        code = wire::S_FUNCTION_REJECTED;
    }
    if refused {
        ends = None;
    }
    let code = effect.response.unwrap_or(code);
    output.write_all(&[code]).map_err(|e| e.to_string())?;

    let used = effect.delivery.used.unwrap_or(1);
    let fault = match effect.is_none() {
        true => String::new(),
        false => format!(" fault={effect:?}"),
    };
    Ok(Served {
        used,
        note: format!(
            "op={name} unit={} tag={tag:#x} response={code} used={used}{fault}",
            address.map_or(wire::hex(&lun), |at| at.to_string())
        ),
        delivery: effect.delivery,
        key: None,
        ends,
        asks,
    })
}

/// The question whether a command waits. FUNCTION COMPLETE means that it does not.
fn asks(at: Address, tag: u64, lie: bool) -> Asks {
    let mut answers = [wire::S_FUNCTION_SUCCEEDED, wire::S_OK];

    if lie {
        answers.reverse();
    }
    Asks {
        which: Box::new(move |key| (key.target, key.lun, key.tag) == (at.target, at.lun, tag)),
        answers,
    }
}

/// Which commands a function ends, and with what answer.
fn which(subtype: usize, at: Address, tag: u64) -> Option<Ends> {
    let unit = move |key: &Key| key.target == at.target && key.lun == at.lun;
    let answer = |code| {
        Response {
            response: code,
            ..Response::default()
        }
        .bytes()
    };

    Some(match subtype {
        ABORT => Ends {
            which: Box::new(move |key| unit(key) && key.tag == tag),
            answer: answer(wire::S_ABORTED),
        },
        ABORT_SET | CLEAR_SET => Ends {
            which: Box::new(unit),
            answer: answer(wire::S_ABORTED),
        },
        UNIT_RESET => Ends {
            which: Box::new(unit),
            answer: answer(wire::S_RESET),
        },
        NEXUS_RESET => Ends {
            which: Box::new(move |key| key.target == at.target),
            answer: answer(wire::S_RESET),
        },
        _ => return None,
    })
}
