// SPDX-License-Identifier: GPL-2.0

// A SCSI host whose commands have `Header`, which the file that includes this declares.

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
