// SPDX-License-Identifier: GPL-2.0

//! How a disk comes: at once if its path is known when its device is found. Else it is made in
//! request mode, and a work item looks at the device through it, before anybody sees it. If it is
//! to be in bio mode the device starts over, and the disk is made anew.
//!
//! So only a device that has answered everything is reset: a reset with reads in flight would have
//! to wait for them, and some hosts stop the whole guest so long.

use crate::{
    choice::{
        self,
        Choice,
        Path,
        Why, //
    },
    limits::Config,
    params::UseBio,
    probe::{
        self,
        Made,
        NewAny, //
    },
    seat::{
        BoundDisk,
        BIRTH,
        RESIZE, //
    },
    SLOW_WORKQUEUE, //
};
use kernel::{
    device::Bound,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    workqueue::WorkItem, //
};
use storage::virtio::Device;

impl BoundDisk {
    /// Makes the disk of a new device; it may come later, and then nobody is told of a failure but
    /// the log.
    pub(crate) fn begin(self: &Arc<Self>, dev: &Device<Bound>) -> Result {
        let config = probe::read_config(dev)?;
        let known = choice::wanted(dev);

        if let Some(choice) = settled(dev, known, &config) {
            // Who changes the path as soon as the disk is shown waits until it is in its slot.
            let _live = self.live.lock();
            let made = probe::make(dev, self, &config, choice.path, false)?;

            return self.show(dev, made, choice);
        }
        let made = probe::make(dev, self, &config, Path::Request, false)?;
        *self.unborn.lock() = Some((made, known));
        SLOW_WORKQUEUE.enqueue::<_, BIRTH>(self.clone());
        Ok(())
    }

    /// Decides on the path of a disk in request mode that nobody sees yet, and shows it. With
    /// `live` held.
    pub(crate) fn decide(
        self: &Arc<Self>,
        dev: &Device<Bound>,
        made: Made,
        known: Option<(UseBio, Why)>,
    ) -> Result {
        let NewAny::Request(disk) = &made.disk else {
            return Err(EINVAL);
        };
        let choice = choice::find(dev, disk, known);

        if self.ending.load(Relaxed) {
            // When the device is back, if it comes back.
            *self.unborn.lock() = Some((made, known));
            return Ok(());
        }
        if choice.path == Path::Request {
            return self.show(dev, made, choice);
        }
        drop(made);
        let made = self.remake(dev, choice.path)?;
        self.show(dev, made, choice)
    }

    /// Makes the disk anew; the old one is gone. With `live` held.
    pub(crate) fn remake(self: &Arc<Self>, dev: &Device<Bound>, path: Path) -> Result<Made> {
        let remake = || {
            let try_once = || {
                dev.start_over()?;
                let config = probe::read_config(dev)?;

                // It had none. They would be read here, and nobody gives up a device that does not
                // answer.
                if config.zone_map().zone_sectors > 0 {
                    return Err(EINVAL);
                }
                probe::make(dev, self, &config, path, true)
            };
            match try_once() {
                // virtio core has declared the device ready, see `probe::prepare()`.
                Err(e) if e == EBUSY => try_once(),
                result => result,
            }
        };

        // Who follows the cache mode for the disk that there was would note what the device says
        // between two resets.
        self.recovery
            .cache
            .unchanged(|| self.recovery.paused(remake))
    }

    /// Shows a disk to the system.
    pub(crate) fn show(&self, dev: &Device<Bound>, made: Made, choice: Choice) -> Result {
        *self.choice.lock() = choice;
        choice.trace(dev, made.name());
        if !matches!(choice.why, Why::Parameter) {
            dev_info!(
                dev,
                "[{}] {} mode: {}\n",
                made.name(),
                choice.path.name(),
                choice
            );
        }
        let shown = made.add(dev)?;
        *self.slot.lock() = Some(shown);
        Ok(())
    }
}

/// The choice if neither the serial number has to be known nor the device to be measured.
fn settled(dev: &Device<Bound>, known: Option<(UseBio, Why)>, config: &Config) -> Option<Choice> {
    let zoned = config.zone_map().zone_sectors > 0;
    // Zones decide, whatever is wanted.
    let wanted = known.or(zoned.then_some((UseBio::No, Why::Zones)))?;
    let choice = choice::settled(wanted, zoned)?;

    if wanted.0 == UseBio::Yes && choice.path == Path::Request {
        dev_notice!(
            dev,
            "a disk of zones is in request mode, which keeps writes in order\n"
        );
    }
    Some(choice)
}

impl WorkItem<BIRTH> for BoundDisk {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // Fails if the device was unbound. One that sleeps comes here again.
        let Ok(dev) = this.recovery.binding.keep() else {
            return;
        };
        let live = this.live.lock();
        if !*live {
            return;
        }
        let made = this.unborn.lock().take();
        let Some((made, known)) = made else {
            return;
        };
        if let Err(e) = this.decide(&dev, made, known) {
            dev_err!(dev, "the disk could not be made: {:?}\n", e);
        }
        drop(live);
        // What changed when there was no disk yet, and a cache mode that the device did not take.
        SLOW_WORKQUEUE.enqueue::<_, RESIZE>(this.clone());
    }
}
