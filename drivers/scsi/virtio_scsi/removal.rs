// SPDX-License-Identifier: GPL-2.0

//! The removal of a host: how long it waits for its device, see [`removal`].

use crate::{
    hba::Hba,
    REPAIRS, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    workqueue::WorkItem, //
};
use storage::virtio::removal::{
    self,
    Removal,
    Remove,
    PATIENCE, //
};

impl Remove for Hba {
    fn removal(&self) -> &Removal {
        &self.removal
    }

    fn progress(&self) -> Option<(usize, bool)> {
        self.events.handler().end_recovery();
        let (completed, here) = removal::progress(&self.requests);
        // What a queue refuses, since something has to be sent again before it, is not here. It
        // comes again until that was sent: never, to a device that works no more and is not
        // repaired now.
        let held = self
            .requests
            .iter()
            .any(|queue| queue.lock().ring.is_held());

        Some((completed, here > 0 || held))
    }

    fn give_up(&self) {
        // Fails if the device was unbound, which cancelled everything as well.
        let _ = self.binding().with(|dev| {
            dev_err!(
                dev,
                "the device did nothing for {} s: all commands to it fail\n",
                PATIENCE.as_millis() / 1000
            );
            dev.cancel_queues();
            Ok(())
        });
    }

    fn look_soon(self: Arc<Self>) {
        REPAIRS.enqueue(self);
    }
}

impl WorkItem for Hba {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        removal::attend(this);
    }
}
