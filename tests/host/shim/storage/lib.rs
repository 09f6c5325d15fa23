// SPDX-License-Identifier: GPL-2.0

//! What the pure files use of the library. The numbers are those of the virtio specification,
//! written down again on purpose.

pub mod bindings {
    pub const VIRTIO_BLK_T_IN: u32 = 0;
    pub const VIRTIO_BLK_T_OUT: u32 = 1;
    pub const VIRTIO_BLK_T_FLUSH: u32 = 4;
    pub const VIRTIO_BLK_T_GET_ID: u32 = 8;
    pub const VIRTIO_BLK_T_DISCARD: u32 = 11;
    pub const VIRTIO_BLK_T_WRITE_ZEROES: u32 = 13;
    pub const VIRTIO_BLK_T_SECURE_ERASE: u32 = 14;
    pub const VIRTIO_BLK_T_ZONE_APPEND: u32 = 15;
    pub const VIRTIO_BLK_T_ZONE_REPORT: u32 = 16;
    pub const VIRTIO_BLK_T_ZONE_OPEN: u32 = 18;
    pub const VIRTIO_BLK_T_ZONE_CLOSE: u32 = 20;
    pub const VIRTIO_BLK_T_ZONE_FINISH: u32 = 22;
    pub const VIRTIO_BLK_T_ZONE_RESET: u32 = 24;
    pub const VIRTIO_BLK_T_ZONE_RESET_ALL: u32 = 26;

    pub const VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: u32 = 1;

    pub const VIRTIO_BLK_S_OK: u32 = 0;
    pub const VIRTIO_BLK_S_IOERR: u32 = 1;
    pub const VIRTIO_BLK_S_UNSUPP: u32 = 2;
    pub const VIRTIO_BLK_S_ZONE_INVALID_CMD: u32 = 3;
    pub const VIRTIO_BLK_S_ZONE_UNALIGNED_WP: u32 = 4;
    pub const VIRTIO_BLK_S_ZONE_OPEN_RESOURCE: u32 = 5;
    pub const VIRTIO_BLK_S_ZONE_ACTIVE_RESOURCE: u32 = 6;

    pub const VIRTIO_BLK_Z_NONE: u32 = 0;
    pub const VIRTIO_BLK_Z_HM: u32 = 1;
    pub const VIRTIO_BLK_Z_HA: u32 = 2;

    pub const VIRTIO_BLK_ZT_CONV: u32 = 1;
    pub const VIRTIO_BLK_ZT_SWR: u32 = 2;
    pub const VIRTIO_BLK_ZT_SWP: u32 = 3;

    pub const VIRTIO_BLK_ZS_NOT_WP: u32 = 0;
    pub const VIRTIO_BLK_ZS_EMPTY: u32 = 1;
    pub const VIRTIO_BLK_ZS_IOPEN: u32 = 2;
    pub const VIRTIO_BLK_ZS_EOPEN: u32 = 3;
    pub const VIRTIO_BLK_ZS_CLOSED: u32 = 4;
    pub const VIRTIO_BLK_ZS_RDONLY: u32 = 13;
    pub const VIRTIO_BLK_ZS_FULL: u32 = 14;
    pub const VIRTIO_BLK_ZS_OFFLINE: u32 = 15;

    #[repr(C)]
    pub struct virtio_blk_zone_descriptor {
        pub z_cap: u64,
        pub z_start: u64,
        pub z_wp: u64,
        pub z_type: u8,
        pub z_state: u8,
        pub reserved: [u8; 38],
    }

    #[repr(C)]
    pub struct virtio_blk_zone_report {
        pub nr_zones: u64,
        pub reserved: [u8; 56],
    }

    pub const VIRTIO_SCSI_S_SIMPLE: u32 = 0;

    pub const VIRTIO_SCSI_S_OK: u32 = 0;
    pub const VIRTIO_SCSI_S_OVERRUN: u32 = 1;
    pub const VIRTIO_SCSI_S_ABORTED: u32 = 2;
    pub const VIRTIO_SCSI_S_BAD_TARGET: u32 = 3;
    pub const VIRTIO_SCSI_S_RESET: u32 = 4;
    pub const VIRTIO_SCSI_S_BUSY: u32 = 5;
    pub const VIRTIO_SCSI_S_TRANSPORT_FAILURE: u32 = 6;
    pub const VIRTIO_SCSI_S_TARGET_FAILURE: u32 = 7;
    pub const VIRTIO_SCSI_S_NEXUS_FAILURE: u32 = 8;
    pub const VIRTIO_SCSI_S_FAILURE: u32 = 9;
    pub const VIRTIO_SCSI_S_FUNCTION_SUCCEEDED: u32 = 10;

    pub const VIRTIO_SCSI_T_TMF: u32 = 0;
    pub const VIRTIO_SCSI_T_TMF_ABORT_TASK: u32 = 0;
    pub const VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET: u32 = 4;
    pub const VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET: u32 = 5;
    pub const VIRTIO_SCSI_T_TMF_QUERY_TASK: u32 = 6;
    pub const VIRTIO_SCSI_T_TMF_QUERY_TASK_SET: u32 = 7;

    pub const VIRTIO_SCSI_T_EVENTS_MISSED: u32 = 0x8000_0000;
    pub const VIRTIO_SCSI_T_NO_EVENT: u32 = 0;
    pub const VIRTIO_SCSI_T_TRANSPORT_RESET: u32 = 1;
    pub const VIRTIO_SCSI_T_PARAM_CHANGE: u32 = 3;

    pub const VIRTIO_SCSI_EVT_RESET_HARD: u32 = 0;
    pub const VIRTIO_SCSI_EVT_RESET_RESCAN: u32 = 1;
    pub const VIRTIO_SCSI_EVT_RESET_REMOVED: u32 = 2;
}

pub mod scsi {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct HostByte(pub &'static str);

    impl HostByte {
        pub const OK: Self = Self("OK");
        pub const BUS_BUSY: Self = Self("BUS_BUSY");
        pub const BAD_TARGET: Self = Self("BAD_TARGET");
        pub const ABORT: Self = Self("ABORT");
        pub const ERROR: Self = Self("ERROR");
        pub const RESET: Self = Self("RESET");
        pub const TRANSPORT_DISRUPTED: Self = Self("TRANSPORT_DISRUPTED");
    }

    pub mod status {
        pub const GOOD: u8 = 0;
        pub const RESERVATION_CONFLICT: u8 = 0x18;
    }

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Limits {
        pub nr_hw_queues: u32,
        pub can_queue: u16,
        pub cmd_per_lun: u16,
        pub sg_tablesize: u16,
        pub max_sectors: u32,
        pub max_id: u32,
        pub max_lun: u64,
        pub max_cmd_len: u16,
        pub polled: bool,
        pub protection: bool,
    }
}

pub mod block {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Status(pub &'static str);

    impl Status {
        pub const OK: Self = Self("OK");
        pub const NOTSUPP: Self = Self("NOTSUPP");
        pub const IOERR: Self = Self("IOERR");
        pub const TRANSPORT: Self = Self("TRANSPORT");
        pub const ZONE_OPEN_RESOURCE: Self = Self("ZONE_OPEN_RESOURCE");
        pub const ZONE_ACTIVE_RESOURCE: Self = Self("ZONE_ACTIVE_RESOURCE");
    }

    /// Numbers of `enum req_op`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Op(pub u32);

    impl Op {
        pub const READ: Self = Self(0);
        pub const WRITE: Self = Self(1);
        pub const FLUSH: Self = Self(2);
        pub const DISCARD: Self = Self(3);
        pub const SECURE_ERASE: Self = Self(5);
        pub const ZONE_APPEND: Self = Self(7);
        pub const WRITE_ZEROES: Self = Self(9);
        pub const ZONE_OPEN: Self = Self(11);
        pub const ZONE_CLOSE: Self = Self(13);
        pub const ZONE_FINISH: Self = Self(15);
        pub const ZONE_RESET: Self = Self(17);
        pub const ZONE_RESET_ALL: Self = Self(19);
        pub const DRV_IN: Self = Self(34);
    }

    pub mod limits {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct Zones {
            pub sectors: u32,
            pub max_open: u32,
            pub max_active: u32,
            pub max_append_sectors: u32,
            pub write_granularity: u32,
        }
    }

    pub mod zoned {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum ZoneType {
            Conventional,
            SequentialRequired,
            SequentialPreferred,
        }

        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum ZoneCondition {
            NotWp,
            Empty,
            ImplicitOpen,
            ExplicitOpen,
            Closed,
            ReadOnly,
            Full,
            Offline,
        }

        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct Zone {
            pub start: u64,
            pub len: u64,
            pub capacity: u64,
            pub write_pointer: u64,
            pub kind: ZoneType,
            pub condition: ZoneCondition,
        }
    }
}

pub mod virtio {
    pub mod frame {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Content {
            None,
            Data,
            Payload,
        }
    }
}

#[macro_export]
macro_rules! device_readable {
    ($(#[$attr:meta])* $vis:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$attr])* #[repr(C)] $vis struct $name { $($fields)* }
    };
}

#[macro_export]
macro_rules! device_writable {
    ($(#[$attr:meta])* $vis:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$attr])* #[derive(Clone, Copy)] #[repr(C)] $vis struct $name { $($fields)* }
    };
}
