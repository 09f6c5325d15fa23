// SPDX-License-Identifier: GPL-2.0

//! Counters of a host in debugfs: `virtio_scsi-host2/counters`, a line for each queue and three for
//! the host. Whatever is written to the file sets all of them to zero.

use crate::hba::Hba;
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*,
    str::CString,
    sync::Arc,
    uaccess::UserSliceReader, //
};
use storage::{
    tally::Tally,
    virtio::counts::Counts, //
};

/// Makes the file of host `number`. Without debugfs there is none, and no error.
pub(crate) fn show(hba: Arc<Hba>, number: u32) -> Result<Pin<KBox<File<Arc<Hba>>>>> {
    let name = CString::try_from_fmt(fmt!("virtio_scsi-host{number}"))?;
    let dir = Dir::new(&name);

    KBox::pin_init(
        dir.read_write_callback_file(c"counters", Ok::<_, Error>(hba), &print, &forget),
        GFP_KERNEL,
    )
}

fn print(hba: &Arc<Hba>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "  queue {}", Counts::HEAD)?;
    writeln!(f, "control {}", hba.control.counts())?;
    writeln!(f, "  event {}", hba.events.counts())?;
    for (i, queue) in hba.requests.iter().enumerate() {
        writeln!(f, "{:>7} {}", i, queue.counts())?;
    }
    let bad = tallies(hba).map(Tally::get).fold(0, u32::wrapping_add);
    writeln!(f, "bad-answers {bad}")?;
    writeln!(f, "late {}", hba.late.get())?;
    writeln!(f, "resets {}", hba.recovery.resets().get())
}

/// Of what the device must not have said.
fn tallies(hba: &Hba) -> impl Iterator<Item = &Tally> {
    let answers = hba
        .requests
        .iter()
        .flat_map(|queue| queue.handler().bad_answers());

    Iterator::chain(answers, [hba.events.handler().bad_events()])
}

fn forget(hba: &Arc<Hba>, _written: &mut UserSliceReader) -> Result {
    hba.control.forget_counts();
    hba.events.forget_counts();
    hba.requests.iter().for_each(|queue| queue.forget_counts());
    tallies(hba).for_each(Tally::forget);
    hba.late.forget();
    hba.recovery.resets().forget();
    Ok(())
}
