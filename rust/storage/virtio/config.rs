// SPDX-License-Identifier: GPL-2.0

//! Access to a device's configuration space.
//!
//! The device may be broken or hostile: a read is bounded in time, and what it returns is only a
//! number that the driver must check.
//!
//! C header: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use super::Device;
use kernel::{
    device,
    prelude::*, //
};

/// How often a field wider than one byte is read again because the device says that its
/// configuration changed meanwhile. The C driver has no limit.
const MAX_READS: usize = 32;

mod private {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// An integer that a configuration field can have: [`u8`], [`u16`], [`u32`], [`u64`].
///
/// A type implements it that is valid for every bit pattern.
pub trait Field: Copy + Default + PartialEq + private::Sealed {
    /// Turns the device's byte order into the CPU's.
    fn to_native(self, little_endian: bool) -> Self;
}

macro_rules! impl_field {
    ($($t:ty),*) => {$(
        impl Field for $t {
            #[inline]
            fn to_native(self, little_endian: bool) -> Self {
                if little_endian { Self::from_le(self) } else { Self::from_be(self) }
            }
        }
    )*};
}
impl_field!(u8, u16, u32, u64);

impl Device<device::Bound> {
    /// Whether the transport lets the driver read the configuration space at all.
    pub fn has_config(&self) -> bool {
        // SAFETY: `self.as_raw()` is a valid device, whose `config` operations are static.
        unsafe { (*(*self.as_raw()).config).get.is_some() }
    }

    /// Reads the field of type `T` at byte `offset` of the device-specific configuration.
    ///
    /// May sleep. Fails with [`EIO`] if the configuration never rests, with [`ENXIO`] if the
    /// transport has none. C counterpart: `virtio_cread()`.
    pub fn read_config<T: Field>(&self, offset: usize) -> Result<T> {
        let mut value = T::default();

        // SAFETY: `self.as_raw()` is a valid device, whose `config` operations are static.
        let ops = unsafe { &*(*self.as_raw()).config };
        let get = ops.get.ok_or(ENXIO)?;
        let generation = || {
            // SAFETY: The device is bound, so that its operations may be called.
            ops.generation.map_or(0, |f| unsafe { f(self.as_raw()) })
        };

        let mut before = generation();
        for _ in 0..MAX_READS {
            // SAFETY: `value` is valid for writes of its size and any bytes are a valid `T`.
            unsafe {
                get(
                    self.as_raw(),
                    offset as u32,
                    (&raw mut value).cast(),
                    size_of::<T>() as u32,
                )
            };

            let after = generation();
            if before == after {
                return Ok(value.to_native(self.is_little_endian()));
            }
            before = after;
        }

        dev_err!(
            self,
            "configuration changes all the time, field at {} cannot be read\n",
            offset
        );
        Err(EIO)
    }

    /// Like [`Self::read_config`], but `None` if `feature`, which the field depends on, was not
    /// negotiated. C counterpart: `virtio_cread_feature()`.
    pub fn read_config_feature<T: Field>(&self, feature: u32, offset: usize) -> Result<Option<T>> {
        self.has_feature(feature)
            .then(|| self.read_config(offset))
            .transpose()
    }

    /// Writes the field of type `T` at byte `offset` of the device-specific configuration.
    ///
    /// May sleep. C counterpart: `virtio_cwrite()`.
    pub fn write_config<T: Field>(&self, offset: usize, value: T) -> Result {
        // To swap bytes and to swap them back is the same.
        let value = value.to_native(self.is_little_endian());
        // SAFETY: As in `read_config()`.
        let set = unsafe { (*(*self.as_raw()).config).set }.ok_or(ENXIO)?;

        // SAFETY: `value` is valid for reads of its size.
        unsafe {
            set(
                self.as_raw(),
                offset as u32,
                (&raw const value).cast(),
                size_of::<T>() as u32,
            )
        };
        Ok(())
    }

    /// Writes the byte at `offset` of the device-specific configuration.
    ///
    /// May sleep. C counterpart: `virtio_cwrite8()`.
    pub fn write_config_u8(&self, offset: usize, value: u8) -> Result {
        self.write_config(offset, value)
    }
}
