// SPDX-License-Identifier: GPL-2.0

//! What the pure files use of the library. The numbers are those of the virtio specification,
//! written down again on purpose.

pub mod bindings {
    pub const VIRTIO_BLK_T_IN: u32 = 0;
    pub const VIRTIO_BLK_T_OUT: u32 = 1;
    pub const VIRTIO_BLK_T_FLUSH: u32 = 4;
    pub const VIRTIO_BLK_T_GET_ID: u32 = 8;

    pub const VIRTIO_BLK_S_OK: u32 = 0;
    pub const VIRTIO_BLK_S_IOERR: u32 = 1;
    pub const VIRTIO_BLK_S_UNSUPP: u32 = 2;
}

pub mod block {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Status(pub &'static str);

    impl Status {
        pub const OK: Self = Self("OK");
        pub const NOTSUPP: Self = Self("NOTSUPP");
        pub const IOERR: Self = Self("IOERR");
    }
}

#[macro_export]
macro_rules! device_readable {
    ($(#[$attr:meta])* $vis:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$attr])* #[repr(C)] $vis struct $name { $($fields)* }
    };
}
