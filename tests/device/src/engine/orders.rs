// SPDX-License-Identifier: GPL-2.0

//! What a test orders the engine to do, see `control.rs`.

use super::{
    Front,
    State, //
};
use crate::lies::Liar;
use std::{
    sync::Arc,
    time::{
        Duration,
        Instant, //
    },
};

impl State {
    fn front(&self) -> Result<Arc<dyn Front>, String> {
        self.front.clone().ok_or("no front end yet".into())
    }

    pub(super) fn command(&mut self, verb: &str, words: &str) -> Result<String, String> {
        let number = || crate::faults::parse_number(words);
        let two = || {
            words
                .split_once(' ')
                .ok_or(format!("{verb} takes two words"))
        };

        match verb {
            "release" => {
                let mut held = std::mem::take(&mut self.held);
                held.iter_mut()
                    .for_each(|answer| answer.due = Instant::now());
                self.pending.extend(held);
                self.deliver();
                self.rings.values().for_each(|ring| (ring.interrupt)());
            }
            "silence" if words.is_empty() => self.silent = true,
            "silence" => self.idle_from = Some(crate::faults::narrow(words)?),
            "stale" => self.stale = true,
            "fresh" => self.stale = false,
            "resume" => {
                self.silent = false;
                self.idle_from = None;
                for queue in self.rings.keys().copied().collect::<Vec<_>>() {
                    self.kick(queue);
                }
            }
            "deaf" => self.deaf = number()?,
            "lies" => self.liar = Some(Liar::parse(words)?),
            "truth" => {
                let told = self.liar.take().map_or(0, |liar| liar.told);
                return Ok(told.to_string());
            }
            "latency" => self.latency = Duration::from_millis(number()?),
            "order" => {
                self.order = serde_json::from_value(words.into()).map_err(|e| e.to_string())?
            }
            "config" => {
                let (field, value) = two()?;
                self.set_config(field, crate::faults::parse_number(value)?)?;
            }
            "unheard" => {
                let (verb, words) = two()?;
                self.unheard = true;
                let reply = self.command(verb, words);
                self.unheard = false;
                return reply;
            }
            "forget" => self.messages.clear(),
            "mark" => self.note(&format!("# {words}")),
            "state" => {
                return Ok(format!(
                    "seen={} lies={} changes={} pending={} dropped={} rings={} wrong={} ago={}",
                    self.seen,
                    self.liar.as_ref().map_or(0, |liar| liar.told),
                    self.changes,
                    self.pending.len(),
                    self.held.len(),
                    self.rings.len(),
                    self.wrong,
                    self.last_wrong.elapsed().as_millis()
                ))
            }
            "disconnect" => {
                self.rings.clear();
                self.pending.clear();
                self.held.clear();
                self.front()?.disconnect()?;
            }
            _ => {
                let reply = self.model.command(verb, words);
                let reply = reply.ok_or(format!("no command {verb}"))??;

                for (field, value) in reply.config {
                    self.set_config(field, value)?;
                }
                self.messages.extend(reply.messages);
                self.send();
                self.deliver();
            }
        }
        Ok(String::new())
    }

    pub(super) fn set_config(&mut self, field: &str, value: u64) -> Result<(), String> {
        let (offset, size) = (self.place)(field)?;
        let bytes = &value.to_le_bytes()[..size];
        let to = self.config.get_mut(offset..offset + size);

        to.ok_or("the configuration space ends before")?
            .copy_from_slice(bytes);
        self.front()?.config_changed(offset, bytes, !self.unheard)
    }
}
