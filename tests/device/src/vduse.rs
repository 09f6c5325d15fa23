// SPDX-License-Identifier: GPL-2.0
use crate::{engine::Engine, settings::Settings};
use std::sync::Arc;
pub fn run(_engine: &Arc<Engine>, _settings: &Settings) -> Result<(), String> {
    Err("not yet".into())
}
pub fn destroy(_name: &str) -> Result<(), String> {
    Err("not yet".into())
}
