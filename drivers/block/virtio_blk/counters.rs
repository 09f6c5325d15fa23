// SPDX-License-Identifier: GPL-2.0

//! Counters of a disk in debugfs: `virtio_blk-vda/counters`, a line for each queue and two for the
//! disk. Whatever is written to the file sets all of them to zero.

use crate::{
    bio_path::BioPath,
    recovery::Recovery,
    request_path, //
};
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    uaccess::UserSliceReader, //
};
use storage::{
    block::plug::Plugged,
    virtio::{
        counts::Counts,
        queue::{
            Handler,
            Queue, //
        },
    },
};

/// What a queue of bios has done beside what every queue does.
#[derive(Clone, Copy, Default)]
pub(crate) struct Waits {
    /// Bios that had to wait in line.
    pub(crate) waited: usize,
    /// The longest line.
    pub(crate) longest: usize,
    /// Bios that must not wait, and were refused.
    pub(crate) refused: usize,
}

/// What has queues to be counted.
trait Counted: Send + Sync {
    fn for_each(&self, show: &mut dyn FnMut(Counts, Waits) -> fmt::Result) -> fmt::Result;
    fn forget(&self);
}

impl Counted for request_path::Queues {
    fn for_each(&self, show: &mut dyn FnMut(Counts, Waits) -> fmt::Result) -> fmt::Result {
        // The line of requests is the block layer's.
        self.queues
            .iter()
            .try_for_each(|queue| show(queue.counts(), Waits::default()))
    }

    fn forget(&self) {
        forget(&self.queues);
    }
}

impl Counted for Plugged<BioPath> {
    fn for_each(&self, show: &mut dyn FnMut(Counts, Waits) -> fmt::Result) -> fmt::Result {
        self.queues.iter().try_for_each(|queue| {
            let waits = queue.lock().state().waits;

            show(queue.counts(), waits)
        })
    }

    fn forget(&self) {
        forget(&self.queues);
        for queue in &self.queues {
            queue.lock().state().waits = Waits::default();
        }
    }
}

fn forget<H: Handler>(queues: &[Arc<Queue<H>>]) {
    queues.iter().for_each(|queue| queue.forget_counts());
}

/// What the file shows.
pub(crate) struct Counters {
    path: Arc<dyn Counted>,
    recovery: Arc<Recovery>,
    /// The resets of the device before those that are shown: its attribute counts all.
    resets_before: Atomic<u32>,
}

impl Counters {
    /// Those of a disk in request mode.
    pub(crate) fn of_requests(path: Arc<request_path::Queues>, recovery: Arc<Recovery>) -> Self {
        Self::new(path, recovery)
    }

    /// Those of one in bio mode.
    pub(crate) fn of_bios(path: Arc<Plugged<BioPath>>, recovery: Arc<Recovery>) -> Self {
        Self::new(path, recovery)
    }

    fn new(path: Arc<dyn Counted>, recovery: Arc<Recovery>) -> Self {
        let resets_before = Atomic::new(recovery.resets());

        Self {
            path,
            recovery,
            resets_before,
        }
    }

    /// Makes the file of `disk`. Without debugfs there is none, and no error.
    pub(crate) fn show(self, disk: &CStr) -> Result<Pin<KBox<File<Self>>>> {
        let name = CString::try_from_fmt(fmt!("virtio_blk-{}", disk))?;
        let dir = Dir::new(&name);

        KBox::pin_init(
            dir.read_write_callback_file(
                c"counters",
                Ok::<_, Error>(self),
                &Self::print,
                &Self::forget,
            ),
            GFP_KERNEL,
        )
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut index = 0;

        writeln!(
            f,
            "queue {} {:>12} {:>8} {:>12}",
            Counts::HEAD,
            "waited",
            "longest",
            "refused"
        )?;
        self.path.for_each(&mut |counts, waits| {
            write!(f, "{index:>5} {counts}")?;
            index += 1;
            writeln!(
                f,
                " {:>12} {:>8} {:>12}",
                waits.waited, waits.longest, waits.refused
            )
        })?;
        writeln!(f, "bad-answers {}", self.recovery.bad_answers().get())?;
        let before = self.resets_before.load(Relaxed);
        writeln!(f, "resets {}", self.recovery.resets().wrapping_sub(before))
    }

    fn forget(&self, _written: &mut UserSliceReader) -> Result {
        self.path.forget();
        self.recovery.bad_answers().forget();
        self.resets_before.store(self.recovery.resets(), Relaxed);
        Ok(())
    }
}
