// SPDX-License-Identifier: GPL-2.0

//! To reset a device that went wrong, and start it again.
//!
//! C counterpart: what `virtio_device_reset_done()` does around a driver's callback.

use super::Device;
use crate::bindings;
use kernel::{
    device,
    error::to_result,
    prelude::*, //
};

impl Device<device::Bound> {
    /// Resets the device, gives all that is in flight back ([`super::queue::Handler::cancelled`]),
    /// and starts it again with the same features and queues. `configure` is called before the
    /// device is ready.
    ///
    /// May sleep; `configure` must not use the device's queues. Fails with [`EBUSY`], and does
    /// nothing, if the device sleeps or is being reset by others, who start it again. If it fails
    /// else, the queues are detached: adding to them fails with [`ENODEV`].
    pub fn restart(&self, configure: impl FnOnce() -> Result) -> Result {
        // Held to the end: a device that goes to sleep meanwhile waits, and finds it whole.
        let mut queues = self.state().queues.lock();

        if queues.is_asleep() {
            return Err(EBUSY);
        }
        queues.lose();
        let result = self.negotiate_again().and_then(|()| {
            queues.find_again()?;
            configure()
        });
        match result {
            Ok(()) => self.ready(),
            Err(_) => {
                queues.lose();
                self.add_status(bindings::VIRTIO_CONFIG_S_FAILED);
            }
        }
        result
    }

    /// Says to a device that was reset who we are, and the features that were negotiated at first.
    fn negotiate_again(&self) -> Result {
        const FEATURES_OK: u32 = bindings::VIRTIO_CONFIG_S_FEATURES_OK;

        self.reset();
        self.add_status(bindings::VIRTIO_CONFIG_S_ACKNOWLEDGE);
        self.add_status(bindings::VIRTIO_CONFIG_S_DRIVER);
        // SAFETY: The device is bound; every transport provides the function.
        to_result(unsafe {
            let finalize = (*(*self.as_raw()).config).finalize_features.ok_or(ENXIO)?;
            finalize(self.as_raw())
        })?;
        if !self.has_feature(bindings::VIRTIO_F_VERSION_1) {
            return Ok(());
        }
        self.add_status(FEATURES_OK);
        if self.status() & FEATURES_OK as u8 == 0 {
            dev_err!(self, "the device does not take its features any more\n");
            return Err(ENODEV);
        }
        Ok(())
    }

    fn add_status(&self, status: u32) {
        // SAFETY: The device is bound.
        unsafe { bindings::virtio_add_status(self.as_raw(), status) };
    }
}
