// SPDX-License-Identifier: GPL-2.0

//! Module parameters, shown under /sys/module/virtio_blk/parameters/.

use crate::named::Disks;
use kernel::{
    fmt,
    prelude::*,
    str::kstrtobool, //
};
use storage::module_param::Value;

/// The path that the I/O of new disks takes: a type of its own, so that it can grow beyond yes and
/// no.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum UseBio {
    /// Request mode: requests of blk-mq, which can be merged and scheduled.
    No,
    /// Bio mode: bios go straight to the virtqueues.
    Yes,
    /// As the driver finds best for the device.
    Auto,
}

impl UseBio {
    /// From the name of a path, or "auto".
    pub(crate) fn of_path(name: &[u8]) -> Option<Self> {
        match name {
            b"request" => Some(Self::No),
            b"bio" => Some(Self::Yes),
            b"auto" => Some(Self::Auto),
            _ => None,
        }
    }
}

impl Value for UseBio {
    // For modinfo; every spelling of a kernel bool is understood.
    const TYPE: &'static str = "bool or auto";
    const CHOICES: &'static str = "1, y, on for bios, 0, n, off for requests, or auto";

    fn parse(text: Option<&CStr>) -> Result<Self> {
        if text.is_some_and(|text| text.to_bytes() == b"auto") {
            return Ok(Self::Auto);
        }
        // As for any kernel bool, "use_bio" alone means yes.
        match text.map_or(Ok(true), kstrtobool)? {
            true => Ok(Self::Yes),
            false => Ok(Self::No),
        }
    }

    fn print(self, to: &mut dyn fmt::Write) -> fmt::Result {
        to.write_str(match self {
            Self::No => "N",
            Self::Yes => "Y",
            Self::Auto => "auto",
        })
    }

    fn to_word(self) -> u32 {
        self as u32
    }

    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::No,
            1 => Self::Yes,
            _ => Self::Auto,
        }
    }
}

storage::module_params! {
    "virtio_blk":

    /// The path of new disks.
    static USE_BIO: UseBio = 0, "use_bio", 0o444,
        "Bypass the request layer and the I/O scheduler (default: no); auto: where the device \
        is fast";

    /// The path of single new disks, before `use_bio`.
    static DISKS: Disks = 0, "disks", 0o444,
        "Path of single disks: NAME=request, NAME=bio or NAME=auto, separated by commas; NAME is a \
        serial number, or the address of the device on its bus (0000:00:04.0)";

    /// How long a read may take on a device that `auto` puts in bio mode, in microseconds.
    static AUTO_LATENCY: u32 = 3000, "auto_latency", 0o644,
        "use_bio=auto: a device whose reads take longer, in microseconds, is in request mode";

    /// How many reads tell how fast a device is.
    static AUTO_READS: u32 = 32, "auto_reads", 0o644,
        "use_bio=auto: how many reads tell how fast a device is, 1 to 1000";

    /// How long all of them may take, in milliseconds.
    static AUTO_TIME: u32 = 200, "auto_time", 0o644,
        "use_bio=auto: after so many milliseconds a device that has not answered is in request \
        mode";

    /// A limit for the queues of new disks, 0 for none.
    static NUM_REQUEST_QUEUES: u32 = 0, "num_request_queues", 0o644,
        "Limit the number of request queues to use for blk device. 0 for no limit. \
        Values > nr_cpu_ids truncated to nr_cpu_ids.";

    /// Queues without interrupts for new disks, of those that they have.
    static POLL_QUEUES: u32 = 0, "poll_queues", 0o644,
        "The number of dedicated virtqueues for polling I/O";

    /// A budget of interrupt vectors for all disks, 0 for what suits the machine.
    static MAX_VECTORS: u32 = 0, "max_vectors", 0o644,
        "Interrupt vectors for all disks: the first have one for each queue, later ones share one \
        among their queues. 0 for three quarters of those that the machine has.";

    /// Commands in flight on each queue of new disks, 0 for as many as fill the ring.
    static QUEUE_DEPTH: u32 = 0, "queue_depth", 0o444,
        "Limit the number of commands in flight on each queue. 0 to fill the ring.";

    /// How often a command may be late before its device is reset.
    static TIMEOUTS: u32 = 0, "timeouts", 0o644,
        "Reset the device when it has not answered a command for so many timeouts, and send again \
        what is in flight. 0 to wait for ever.";

    /// How often a device is repaired that makes no progress.
    static REPAIRS: u32 = 10, "repairs", 0o644,
        "Give a device up after so many resets in a row between which it answered nothing. \
        0 to go on for ever.";
}
