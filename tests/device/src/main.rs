// SPDX-License-Identifier: GPL-2.0

//! A virtio-blk and a virtio-scsi device for tests; Documentation/testing.md says what for.
//!
//!     blkdev vhost-user SOCKET SETTINGS   serve QEMU
//!     blkdev vhost-user-scsi SOCKET SETTINGS   the same, as a SCSI host
//!     blkdev vduse SETTINGS               serve the kernel of the guest in which this runs
//!     blkdev destroy NAME                 remove a VDUSE device whose server has ended
//!     blkdev writers DISK SEED...         use a disk whose device lies, see writers.rs
//!     blkdev control SOCKET COMMAND...    speak to a running device, see control.rs
//!
//! SETTINGS are JSON, see settings.rs and scsi/settings.rs.

#![deny(unsafe_code)]

mod backing;
mod block;
mod control;
mod disk;
mod engine;
mod falsehoods;
mod faults;
mod lies;
mod model;
mod scsi;
mod settings;
mod vduse;
mod vhost_user;
mod wire;
mod writers;
mod zones;

use engine::Engine;
use settings::Settings;
use std::{
    process::ExitCode,
    sync::Arc, //
};

fn start(text: &str) -> Result<(Settings, Arc<Engine>), String> {
    let settings = Settings::parse(text)?;
    let engine = block::engine(&settings)?;

    Ok((settings, engine))
}

fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["vhost-user", socket, text] => {
            let (settings, engine) = start(text)?;
            if let Some(path) = &settings.control {
                control::listen(&engine, path)?;
            }
            vhost_user::run(&engine, settings.queues, settings.features()?, socket)
        }
        ["vhost-user-scsi", socket, text] => {
            let settings = scsi::Settings::parse(text)?;
            let engine = scsi::engine(&settings)?;
            if let Some(path) = &settings.control {
                control::listen(&engine, path)?;
            }
            vhost_user::run(&engine, settings.all_queues(), settings.features(), socket)
        }
        ["vduse", text] => {
            let (settings, engine) = start(text)?;
            vduse::run(&engine, &settings)
        }
        ["destroy", name] => vduse::destroy(name),
        ["writers", words @ ..] => writers::run(words),
        ["control", socket, command @ ..] => control::send(socket, &command.join(" ")),
        _ => Err("usage: blkdev vhost-user[-scsi] SOCKET SETTINGS | vduse SETTINGS | destroy NAME | writers DISK SEED... | control SOCKET COMMAND...".into()),
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
