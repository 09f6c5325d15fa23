// SPDX-License-Identifier: GPL-2.0

//! Access to a device's configuration space.
//!
//! The device may be broken or hostile: a read is bounded in time, and what it returns is only a
//! number that the driver must check.
//!
//! C header: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use super::Device;
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    device,
    prelude::*, //
};

/// How often a field wider than one byte is read again because the device says that its
/// configuration changed meanwhile. The C driver has no limit.
const MAX_READS: usize = 32;

mod private {
    pub trait Space {}
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

/// The configuration space of a type of device, as a C structure.
///
/// # Safety
///
/// A transport of a device with the id [`ConfigSpace::DEVICE`] must bear accesses to the first
/// `size_of::<Self>()` bytes: what it does is right, an error, or a stop of the kernel
/// (`vp_get()` of virtio-pci, if the device offers a feature, and has no room for its field).
pub unsafe trait ConfigSpace: private::Space {
    /// The device's type: `VIRTIO_ID_*`.
    const DEVICE: u32;
}

macro_rules! impl_config_space {
    ($($space:ident => $device:ident),* $(,)?) => {$(
        impl private::Space for bindings::$space {}
        // SAFETY: The structure is that of the specification for this type of device.
        unsafe impl ConfigSpace for bindings::$space {
            const DEVICE: u32 = bindings::$device;
        }
    )*};
}
impl_config_space!(
    virtio_blk_config => VIRTIO_ID_BLOCK,
    virtio_scsi_config => VIRTIO_ID_SCSI,
);

/// A field of type `T` of the configuration space of a type of device, made by
/// [`config_field!`](crate::config_field).
///
/// # Invariants
///
/// The field lies in the [`ConfigSpace`] of the type of device `device`.
#[derive(Clone, Copy)]
pub struct ConfigField<T: Field> {
    device: u32,
    offset: u32,
    _type: PhantomData<T>,
}

impl<T: Field> ConfigField<T> {
    /// The field at byte `offset` of `S`, whose type is that of what `_get` returns. Does not
    /// compile if it reaches over the end, or if it is not aligned, which not every machine lets a
    /// device's memory be read by; to be called in constants, as the macro does.
    #[doc(hidden)]
    pub const fn new<S: ConfigSpace>(offset: usize, _get: fn(&S) -> T) -> Self {
        assert!(offset <= size_of::<S>() && size_of::<T>() <= size_of::<S>() - offset);
        assert!(
            offset % size_of::<T>() == 0,
            "fields of the configuration are aligned"
        );
        // INVARIANT: See above.
        Self {
            device: S::DEVICE,
            offset: offset as u32,
            _type: PhantomData,
        }
    }
}

/// The [`ConfigField`] of a structure in [`bindings`], which may lie in a part of
/// it: `config_field!(virtio_blk_config, geometry.heads)`. Its type is the C field's.
#[macro_export]
macro_rules! config_field {
    ($space:ident, $($field:ident).+) => {
        const {
            $crate::virtio::config::ConfigField::new::<$crate::bindings::$space>(
                ::core::mem::offset_of!($crate::bindings::$space, $($field).+),
                |space| space.$($field).+,
            )
        }
    };
}

impl Device<device::Bound> {
    /// Whether the transport lets the driver read the configuration space at all.
    pub fn has_config(&self) -> bool {
        // SAFETY: `self.as_raw()` is a valid device, whose `config` operations are static.
        unsafe { (*(*self.as_raw()).config).get.is_some() }
    }

    /// The offset of a field; [`EINVAL`] if it is one of another type of device.
    fn offset_of<T: Field>(&self, field: ConfigField<T>) -> Result<u32> {
        // SAFETY: `self.as_raw()` is a valid device, whose id does not change.
        if unsafe { (*self.as_raw()).id.device } != field.device {
            return Err(EINVAL);
        }
        Ok(field.offset)
    }

    /// Reads a field of the device-specific configuration.
    ///
    /// May sleep. Fails with [`EIO`] if the configuration never rests, with [`ENXIO`] if the
    /// transport has none, with [`EINVAL`] if the field is one of another type of device. C
    /// counterpart: `virtio_cread()`.
    pub fn read_config<T: Field>(&self, field: ConfigField<T>) -> Result<T> {
        let offset = self.offset_of(field)?;
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
                    offset,
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

        if self.state().restless.allows() {
            dev_err!(
                self,
                "configuration changes all the time, field at {} cannot be read\n",
                offset
            );
        }
        Err(EIO)
    }

    /// Like [`Self::read_config`], but `None` if `feature`, which the field depends on, was not
    /// negotiated. C counterpart: `virtio_cread_feature()`.
    pub fn read_config_feature<T: Field>(
        &self,
        feature: u32,
        field: ConfigField<T>,
    ) -> Result<Option<T>> {
        self.has_feature(feature)
            .then(|| self.read_config(field))
            .transpose()
    }

    /// Writes a field of the device-specific configuration.
    ///
    /// May sleep. Fails as [`Self::read_config`] does. C counterpart: `virtio_cwrite()`.
    pub fn write_config<T: Field>(&self, field: ConfigField<T>, value: T) -> Result {
        let offset = self.offset_of(field)?;
        // To swap bytes and to swap them back is the same.
        let value = value.to_native(self.is_little_endian());
        // SAFETY: As in `read_config()`.
        let set = unsafe { (*(*self.as_raw()).config).set }.ok_or(ENXIO)?;

        // SAFETY: `value` is valid for reads of its size.
        unsafe {
            set(
                self.as_raw(),
                offset,
                (&raw const value).cast(),
                size_of::<T>() as u32,
            )
        };
        Ok(())
    }
}
