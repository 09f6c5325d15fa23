// SPDX-License-Identifier: GPL-2.0

//! Module parameters, shown under /sys/module/virtio_scsi/parameters/.

storage::module_params! {
    "virtio_scsi":

    /// Queues of new hosts that are polled.
    static POLL_QUEUES: u32 = 0, "virtscsi_poll_queues", 0o644,
        "The number of dedicated virtqueues for polling I/O";

    /// How often the time of a command must be over before it is aborted. Not by default: in QEMU
    /// an abort is answered when the storage answers, and a reset stops the whole machine until
    /// then.
    static TIMEOUTS: u32 = 0, "virtscsi_timeouts", 0o644,
        "Abort a command when its timeout (30 s for disks) passed this often. 0 (the default) to \
        wait for ever, as the C driver does.";

    /// How often a device is repaired that makes no progress.
    static REPAIRS: u32 = 10, "virtscsi_repairs", 0o644,
        "Give a device up after so many resets in a row between which it answered nothing. \
        0 to go on for ever.";

    /// How many seconds the device has to answer a task management function.
    static TMF_TIMEOUT: u32 = 30, "virtscsi_tmf_timeout", 0o644,
        "Seconds that an abort or reset may take before the next stronger one (1 to 3600)";
}
