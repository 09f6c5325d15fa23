// SPDX-License-Identifier: GPL-2.0

//! The template of a driver's hosts.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::operations::{
    Operations,
    OperationsVTable, //
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    sync::SetOnce,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// The template of the hosts of `T`, in a `static` of the driver. See
/// [`Operations::template`].
///
/// It is filled in when the first host is made: bindgen's setters of bit fields cannot be called
/// before. There is one for all hosts, since the mid-layer knows the driver by its address.
///
/// C counterpart: a `static const struct scsi_host_template`.
pub struct HostTemplate<T: Operations> {
    inner: SetOnce<Filled>,
    _p: PhantomData<fn(T) -> T>,
}

struct Filled(bindings::scsi_host_template);

// SAFETY: The template is plain data that nobody changes.
unsafe impl Send for Filled {}
// SAFETY: As above.
unsafe impl Sync for Filled {}

impl<T: Operations> HostTemplate<T> {
    /// An empty one.
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            inner: SetOnce::new(),
            _p: PhantomData,
        }
    }

    /// What the mid-layer gets. May sleep.
    pub(super) fn get(&'static self) -> &'static bindings::scsi_host_template {
        loop {
            if let Some(Filled(template)) = self.inner.as_ref() {
                return template;
            }
            if !self.inner.populate(Self::fill()) {
                // Another host's probe is just filling it in.
                fsleep(Delta::from_millis(1));
            }
        }
    }

    fn fill() -> Filled {
        let mut template = OperationsVTable::<T>::TEMPLATE;

        // The mid-layer lowers a device's queue depth when that is full and raises it later.
        template.set_track_queue_depth(1);
        // It need not wait after a reset, which here ends when it is done.
        template.set_skip_settle_delay(1);
        Filled(template)
    }
}
