// SPDX-License-Identifier: GPL-2.0

//! The way of a command to the device and back.
//!
//! The token of a request queue is the command itself; its frame for the device is allocated with
//! it.

use crate::{
    wire::{
        self,
        Address,
        Order,
        Protection,
        ResponseHead,
        Task, //
    },
    ScsiHost, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
};
use storage::{
    scsi::{
        cmnd::Direction,
        Command,
        CommandList,
        HostByte, //
    },
    tally::Tally,
    virtio::{
        self,
        queue::{
            Handler,
            Queue, //
        },
    },
};

/// All request queues of a host.
pub(crate) type RequestQueues = KVec<Arc<Queue<RequestQueue>>>;

/// A queue of commands.
pub(crate) struct RequestQueue {
    pub(crate) dev: ARef<virtio::Device>,
    pub(crate) order: Order,
    /// `VIRTIO_SCSI_F_T10_PI` was negotiated.
    pub(crate) protection: bool,
    /// Answers that the specification does not know.
    unknown: Tally,
}

impl RequestQueue {
    pub(crate) fn new(dev: ARef<virtio::Device>, order: Order, protection: bool) -> Self {
        Self {
            dev,
            order,
            protection,
            unknown: Tally::new(),
        }
    }

    /// Writes the header; `false` if the command's device has no address.
    #[inline]
    fn prepare(&self, cmd: &mut Command<ScsiHost>) -> bool {
        let dev = cmd.device();
        let Some(address) = Address::new(dev.target(), dev.lun()) else {
            return false;
        };
        let task = Task {
            address,
            tag: cmd.tag().into(),
            priority: wire::priority(cmd.ioprio()),
        };
        let protection = self.protection.then(|| match cmd.direction() {
            Direction::ToDevice => Protection {
                out: cmd.protection_len(),
                into: 0,
            },
            Direction::FromDevice => Protection {
                out: 0,
                into: cmd.protection_len(),
            },
            Direction::None => Protection::default(),
        });
        let size = if self.protection {
            wire::REQUEST_PI_SIZE
        } else {
            wire::REQUEST_SIZE
        };
        let mut cdb = [0; wire::CDB_SIZE];
        let len = cmd.cdb().len().min(cdb.len());
        cdb[..len].copy_from_slice(&cmd.cdb()[..len]);

        cmd.data()
            .header_mut(size)
            .set(self.order, &task, &cdb[..len], protection);
        cmd.data().footer_mut().reset();
        true
    }

    /// Judges the device's answer.
    #[inline]
    fn judge(&self, cmd: &mut Command<ScsiHost>) {
        let Some(head) = cmd.data().footer_part::<ResponseHead>(0) else {
            cmd.set_result(HostByte::ERROR, 0);
            return;
        };
        let verdict = wire::judge(self.order, &head);

        cmd.set_result(verdict.host, verdict.status);
        if verdict.residual != 0 {
            cmd.set_residual(verdict.residual);
        }
        if verdict.sense_len != 0 {
            cmd.take_sense(wire::SENSE_OFFSET, verdict.sense_len);
        }
        if verdict.unknown {
            self.warn_unknown(head.response);
        }
    }

    #[cold]
    fn warn_unknown(&self, response: u8) {
        if let Some(n) = self.unknown.count() {
            dev_warn!(
                self.dev,
                "unknown response {:#x}; I/O error ({} times)\n",
                response,
                n
            );
        }
    }
}

/// Gives a command to the device; one that it does not get comes back, with the error of
/// `Ring::add()`.
#[inline]
pub(crate) fn submit(
    queue: &Queue<RequestQueue>,
    mut cmd: Command<ScsiHost>,
    is_last: bool,
) -> Result<(), (Command<ScsiHost>, Error)> {
    if !queue.handler().prepare(&mut cmd) {
        end(cmd, HostByte::BAD_TARGET);
        return Ok(());
    }

    let guard = queue.lock();
    let result = guard.ring.add(cmd);
    // If it failed: those before it may wait for the kick.
    if is_last || result.is_err() {
        Queue::kick(guard);
    }
    result
}

/// Ends a command that the device never saw.
#[cold]
pub(crate) fn end(mut cmd: Command<ScsiHost>, host: HostByte) {
    cmd.set_result(host, 0);
    cmd.done();
}

/// Takes what the device has used, whether or not it interrupted; returns how much.
pub(crate) fn drain(queue: &Queue<RequestQueue>) -> usize {
    let mut list = CommandList::default();
    let guard = queue.lock();

    while let Some((cmd, _)) = guard.ring.get_buf() {
        list.push(cmd);
    }
    drop(guard);
    list.done(|cmd| queue.handler().judge(cmd))
}

/// The same for all of them.
pub(crate) fn drain_all(queues: &[Arc<Queue<RequestQueue>>]) {
    for queue in queues {
        drain(queue);
    }
}

/// Finishes the commands that waited for a reset of the host.
pub(crate) fn end_stranded(queue: &Queue<RequestQueue>) {
    // In an own statement: the lock is released at its end.
    let stranded = core::mem::take(queue.lock().state());

    stranded.done(|cmd| cmd.set_result(HostByte::RESET, 0));
}

impl Handler for RequestQueue {
    type Token = Command<ScsiHost>;
    /// Commands that a broken ring did not take.
    type State = CommandList<ScsiHost>;

    fn used(queue: ArcBorrow<'_, Queue<Self>>) {
        let mut list = CommandList::default();
        let guard = queue.lock();

        loop {
            guard.ring.disable_cb();
            while let Some((cmd, _)) = guard.ring.get_buf() {
                list.push(cmd);
            }
            if guard.ring.enable_cb() {
                break;
            }
        }
        drop(guard);
        list.done(|cmd| queue.handler().judge(cmd));
    }

    fn cancelled(_queue: &Queue<Self>, cmd: Command<ScsiHost>) {
        // If the device is still there, the mid-layer tries again.
        end(cmd, HostByte::RESET);
    }
}
