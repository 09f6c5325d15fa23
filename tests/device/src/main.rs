// SPDX-License-Identifier: GPL-2.0

//! A virtio-blk device for tests; Documentation/testing.md says what for.
//!
//!     blkdev vhost-user SOCKET SETTINGS   serve QEMU
//!     blkdev vduse SETTINGS               serve the kernel of the guest in which this runs
//!     blkdev destroy NAME                 remove a VDUSE device whose server has ended
//!     blkdev control SOCKET COMMAND...    speak to a running device, see control.rs
//!
//! SETTINGS are JSON, see settings.rs.

#![deny(unsafe_code)]

mod control;
mod disk;
mod engine;
mod faults;
mod settings;
mod vduse;
mod vhost_user;
mod wire;
mod zones;

use engine::Engine;
use settings::Settings;
use std::{
    process::ExitCode,
    sync::Arc, //
};

fn start(text: &str) -> Result<(Settings, Arc<Engine>), String> {
    let settings = Settings::parse(text)?;
    let engine = Engine::new(&settings)?;

    Ok((settings, engine))
}

fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["vhost-user", socket, text] => {
            let (settings, engine) = start(text)?;
            if let Some(path) = &settings.control {
                control::listen(&engine, path)?;
            }
            vhost_user::run(&engine, &settings, socket)
        }
        ["vduse", text] => {
            let (settings, engine) = start(text)?;
            vduse::run(&engine, &settings)
        }
        ["destroy", name] => vduse::destroy(name),
        ["control", socket, command @ ..] => control::send(socket, &command.join(" ")),
        _ => Err("usage: blkdev vhost-user SOCKET SETTINGS | vduse SETTINGS | destroy NAME | control SOCKET COMMAND...".into()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("blkdev: {why}");
            ExitCode::FAILURE
        }
    }
}
