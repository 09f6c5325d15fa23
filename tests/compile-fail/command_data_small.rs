// SPDX-License-Identifier: GPL-2.0
//! The data of a SCSI command lies right behind it, in pages that blk-mq asks for until there is
//! room for one: for too large a command it does not end.
//~ ERROR the data of a command is small
#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::Arc, //
};
use storage::{
    scsi::{
        Command,
        HostTemplate,
        Limits,
        NewHost,
        Operations,
        Refused, //
    },
    virtio::frame::Envelope,
};

storage::device_readable! {
    /// Nine pages.
    #[derive(Clone, Copy)]
    pub struct Header {
        bytes: [u8; 9 * 4096],
    }
}

impl Default for Header {
    fn default() -> Self {
        Self {
            bytes: [0; 9 * 4096],
        }
    }
}

pub struct Host;

static TEMPLATE: HostTemplate<Host> = HostTemplate::new();

#[vtable]
impl Operations for Host {
    type CommandData = Envelope<Header, u8>;
    type HostData = ();

    const NAME: &'static CStr = c"host";
    const PROC_NAME: &'static CStr = c"host";

    fn template() -> &'static HostTemplate<Self> {
        &TEMPLATE
    }

    fn queue_command(_host: &(), cmd: Command<Self>, _is_last: bool) -> Result<(), Refused<Self>> {
        Err(cmd.refuse())
    }

    fn host_reset(_host: &()) -> Result {
        Ok(())
    }
}

/// Makes one.
pub fn make(limits: &Limits, data: Arc<()>) -> Result<NewHost<Host>> {
    NewHost::new(limits, data)
}

pub struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

module! {
    type: Module,
    name: "compile_fail",
    authors: ["The virtio-storage-rs developers"],
    description: "What must not compile",
    license: "GPL",
}
