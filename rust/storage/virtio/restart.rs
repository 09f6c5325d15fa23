// SPDX-License-Identifier: GPL-2.0

//! To reset a device that went wrong, and start it again.
//!
//! C counterpart: what `virtio_device_reset_done()` does around a driver's callback.

use super::{
    no_io::NoIo,
    queues::Queues,
    replay::PAUSES,
    state::PATIENCE,
    Device, //
};
use crate::bindings;
use kernel::{
    device,
    error::to_result,
    prelude::*,
    sync::atomic::Full,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// The status of a device that is not there.
const AWAY: u8 = 0xff;

/// What a device that was declared ready says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// All is well, as far as it says.
    Ready,
    /// It works no more until it is reset: it says so (`DEVICE_NEEDS_RESET`), has forgotten that it
    /// was started, or wrote nonsense into a ring. What it has not answered yet is lost.
    Lost,
    /// It sleeps, is being reset by others, or was shut down.
    Asleep,
    /// It is not there: all bits of what it answers are ones, or its bus does not let it work. It
    /// may come back.
    Away,
}

/// Who has a bound device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// Its driver.
    Driver,
    /// Others, who bring it back: it sleeps, or they reset it.
    Others,
    /// The same, for longer than any bus takes: their reset did not come to its end, and will not.
    Overdue,
}

impl Device<device::Bound> {
    /// Resets the device, and starts it again with the same features and queues. `configure` is
    /// called before the device is ready.
    ///
    /// What is in flight on queues that [replay](super::queue::Handler::REPLAYS) is sent again, in
    /// the order of submission; if this fails, it is kept for the next time, or until
    /// [`Self::cancel_queues`]. On others it is given back ([`super::queue::Handler::cancelled`]).
    /// If the rings have no room for all of it, the rest goes by [`Self::replay_rest`], of which
    /// [`attend`](super::repair::attend) takes care.
    ///
    /// May sleep, for half a minute if the device is [away](Condition::Away); `configure` must not
    /// use the device's queues. Fails with [`EBUSY`], and does nothing, if the device sleeps or is
    /// being reset by others, who start it again; the same with [`ENXIO`] if it is away and stays
    /// so. If it fails else, queues that do not replay are detached: adding to them fails with
    /// [`ENODEV`].
    pub fn restart(&self, configure: impl FnOnce() -> Result) -> Result {
        self.wait_until_back()?;
        // Held to the end: a device that goes to sleep meanwhile waits, and finds it whole.
        let mut queues = self.state().queues.lock();

        if queues.is_asleep() {
            return Err(EBUSY);
        }
        let _no_io = NoIo::enter();
        self.state().context.watch.begin_anew();
        queues.take_back(true)?;
        // A look may have told of what is old meanwhile.
        self.state().context.watch.begin_anew();
        let result = self.negotiate_again().and_then(|()| {
            queues.find_again()?;
            configure()?;
            // After a probe, and when a device is back, virtio core declares one ready that is not:
            // it may have looked since our reset, when there was no queue.
            match u32::from(self.status()) & bindings::VIRTIO_CONFIG_S_DRIVER_OK {
                0 => Ok(()),
                _ => Err(EBUSY),
            }
        });
        match result {
            Ok(()) => {
                self.ready();
                self.listen_again();
                self.send_again(&queues)
            }
            Err(e) => {
                // If the device is not there, it is done the next time.
                let _ = queues.take_back(true);
                self.add_status(bindings::VIRTIO_CONFIG_S_FAILED);
                Err(e)
            }
        }
    }

    /// Begins to send what was kept. The watch has the rest sent, if nobody else does.
    pub(super) fn send_again(&self, queues: &Queues) -> Result {
        if !queues.replay(PAUSES)? {
            self.state().context.watch.begin();
        }
        Ok(())
    }

    /// Goes on with what a [restart](Self::restart) is to send again, if the rings had no room for
    /// all of it: that comes with answers, for which storage may take its time. `false` if this is
    /// to be called again. May sleep, but does not wait for them.
    pub fn replay_rest(&self) -> bool {
        let _no_io = NoIo::enter();
        let queues = self.state().queues.lock();

        // On errors the ring is broken, and the device to be repaired.
        queues.is_asleep() || queues.replay(0).unwrap_or(true)
    }

    /// Resets the device, and brings it to where its probe began: the same features, and no queues.
    /// What is in flight is given back ([`super::queue::Handler::cancelled`]).
    ///
    /// May sleep. Fails with [`EBUSY`], and does nothing, if the device sleeps or is being reset by
    /// others. Whoever else may [restart](Self::restart) the device must be kept from it until it
    /// is [ready](Self::ready) again.
    pub fn start_over(&self) -> Result {
        self.forget_queues()?;
        self.negotiate_again()
            .inspect_err(|_| self.add_status(bindings::VIRTIO_CONFIG_S_FAILED))
    }

    /// How the device is, once it was declared ready. May sleep.
    pub fn condition(&self) -> Condition {
        const READY: u8 = bindings::VIRTIO_CONFIG_S_DRIVER_OK as u8;
        const NEEDS_RESET: u8 = bindings::VIRTIO_CONFIG_S_NEEDS_RESET as u8;
        let queues = self.state().queues.lock();

        if queues.is_asleep() {
            return Condition::Asleep;
        }
        if self.is_away() {
            return Condition::Away;
        }
        match self.status() {
            status if status & READY == 0 || status & NEEDS_RESET != 0 => Condition::Lost,
            _ if queues.is_lost() => Condition::Lost,
            _ => Condition::Ready,
        }
    }

    /// Waits for a device that is away, but not for ever.
    fn wait_until_back(&self) -> Result {
        const TICK_MS: i64 = 100;
        const PATIENCE_MS: i64 = 30_000;

        for _ in 0..PATIENCE_MS / TICK_MS {
            if self.condition() != Condition::Away {
                return Ok(());
            }
            fsleep(Delta::from_millis(TICK_MS));
        }
        Err(ENXIO)
    }

    fn is_away(&self) -> bool {
        // SAFETY: The device is bound.
        self.status() == AWAY || unsafe { bindings::storage_is_cut_off(self.as_raw()) }
    }

    /// Whether the device is asleep, and was not woken.
    pub(super) fn is_asleep(&self) -> bool {
        self.state().queues.lock().is_asleep()
    }

    /// Nobody wakes the device any more, or not before [`Self::restart`]. May sleep. Fails with
    /// [`EBUSY`] if others have it ([`Self::holder`]).
    pub fn end_sleep(&self) -> Result {
        // Who takes it says so before they take this lock.
        let mut queues = self.state().queues.lock();

        if self.is_lent() {
            return Err(EBUSY);
        }
        queues.end_sleep();
        Ok(())
    }

    /// Nobody brings the device back who has it, nor does its removal wait for that. May sleep.
    pub(super) fn end_loan(&self) {
        let mut queues = self.state().queues.lock();

        queues.end_sleep();
        self.state().recall();
    }

    /// Who has the device. May sleep.
    pub fn holder(&self) -> Holder {
        if !self.is_lent() {
            Holder::Driver
        } else if self.state().queues.lock().sleeps_for(PATIENCE) {
            Holder::Overdue
        } else {
            Holder::Others
        }
    }

    /// Takes the device from others who are [overdue](Holder::Overdue); to be followed by a
    /// [restart](Self::restart). May sleep. Fails with [`EBUSY`] if they are not, or are giving it
    /// back just now, with [`ENXIO`] if the bus does not let the device work: they may be at it
    /// still.
    pub fn take_from_others(&self) -> Result {
        let mut queues = self.state().queues.lock();

        if !queues.sleeps_for(PATIENCE) {
            return Err(EBUSY);
        }
        if self.is_away() {
            return Err(ENXIO);
        }
        if !self.state().recall() {
            return Err(EBUSY);
        }
        queues.end_sleep();
        Ok(())
    }

    /// Virtio core passes on no change of the configuration from when the device goes until it is
    /// back; it has come back another way.
    fn listen_again(&self) {
        if self.state().deaf.xchg(false, Full) {
            // SAFETY: The device is bound.
            unsafe { bindings::storage_config_enable(self.as_raw()) };
        }
    }

    /// How many tokens the queues have given back so far, which shows whether the device makes
    /// progress, and how many they hold. May sleep.
    pub fn counts(&self) -> (usize, usize) {
        self.state().queues.lock().counts()
    }

    /// Says to a device that was reset who we are, and the features that were negotiated at first.
    fn negotiate_again(&self) -> Result {
        const FEATURES_OK: u32 = bindings::VIRTIO_CONFIG_S_FEATURES_OK;

        // It was, if it had queues; but it is told again now that these are gone, as virtio core
        // does it: some devices forget only now where they were.
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
