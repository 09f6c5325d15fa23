// SPDX-License-Identifier: GPL-2.0

//! A life of virtio_scsi with a device that lies: probe, scans, commands, error handling, removal.

use crate::{
    mem::memory,
    run::{
        each_ring,
        features,
        goes_on,
        is_still,
        live,
        some_ring,
        step as common_step,
        Life, //
    },
    scsi::{
        self,
        mid, //
    },
    virtio::{
        self,
        device,
        Kind,
        Tells, //
    },
    world::{
        self,
        below,
        byte,
        w,
        word, //
    },
};
use storage::bindings as v;

/// So much happens while time passes.
const MOST_EVENTS: u32 = 300;

static SCSI: Kind = Kind {
    added: scsi::added,
    answer: scsi::answer,
    lie: scsi::lie,
    popped: scsi::popped,
    wrote: scsi::wrote,
    detached: scsi::detached,
    found: scsi::found,
    standing: Some(1),
};

/// What a plain host says of itself.
fn honest() -> [u8; 256] {
    let mut config = [0; 256];
    let mut put = |at: usize, value: u32| {
        config[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };

    // Queues, segments, sectors, commands of a unit; events, sense data, commands.
    put(0, 2);
    put(4, 126);
    put(8, 0xffff);
    put(12, 128);
    put(16, 16);
    put(20, 96);
    put(24, 32);
    // Channels, targets, units.
    put(28, 3 << 16);
    put(32, 0x3fff);
    config
}

pub fn run(more: u64) {
    let flags = word();
    let features = features(
        flags,
        1 << v::VIRTIO_RING_F_INDIRECT_DESC
            | 1 << v::VIRTIO_F_VERSION_1
            | 1 << v::VIRTIO_SCSI_F_HOTPLUG
            | 1 << v::VIRTIO_SCSI_F_CHANGE,
        &[
            v::VIRTIO_RING_F_INDIRECT_DESC,
            v::VIRTIO_F_VERSION_1,
            v::VIRTIO_SCSI_F_HOTPLUG,
            v::VIRTIO_SCSI_F_CHANGE,
            v::VIRTIO_SCSI_F_T10_PI,
        ],
    );

    virtio::plug(
        v::VIRTIO_ID_SCSI,
        features,
        size_of::<v::virtio_scsi_config>(),
        &SCSI,
    );
    let device = device();
    device.config = honest();
    device.shifty = flags >> 5 & 7 == 7;
    device.racing = flags >> 8 & 1 == 1;
    device.ring_size = [16, 2, 3, 4, 8, 16, 64, 128][flags as usize >> 9 & 7];
    device.no_queues = flags >> 12 & 15 == 15;
    memory().fail_at = if flags >> 16 & 7 == 7 {
        1 + u32::from(byte())
    } else {
        0
    };
    if flags >> 19 & 7 == 7 {
        for _ in 0..=below(4) {
            // Not the high byte of the targets: there are 256 at most.
            let at = below(36);
            device.config[at] = byte();
        }
    }
    device.stubborn = flags >> 22 & 7 == 7;
    device.deaf = flags >> 25 & 7 == 7;
    mid().remote = flags >> 28 & 1 == 1;
    mid().deadline = flags >> 29 & 1 == 1;
    for bit in 0..12 {
        if flags >> (30 + bit) & 1 == 0 {
            mid().stock.push((bit as u8 / 3, bit as u16 % 3));
        }
    }
    for (name, values, at) in [
        ("virtscsi_poll_queues", ["0", "0", "0", "1"], 42),
        ("virtscsi_timeouts", ["0", "1", "1", "3"], 44),
        ("virtscsi_repairs", ["10", "0", "1", "2"], 46),
        ("virtscsi_tmf_timeout", ["30", "0", "1", "5"], 48),
    ] {
        crate::params::set(
            &format!("virtio_scsi.{name}"),
            values[flags as usize >> at & 3],
        );
    }

    virtio::set_up(more);
    mid().asks = more >> 8 & 1 == 1;
    mid().forgets = more >> 9 & 3 == 3;
    mid().tells = more >> 11 & 1 == 1;
    mid().sized = more >> 12 & 1 == 1;
    mid().prefers = more >> 13 & 1 == 1;

    device.tells = match flags >> 52 & 7 {
        7 => Tells::Nothing,
        5 | 6 => Tells::Truth,
        _ => Tells::Anything,
    };

    live(
        &Life {
            turn,
            rests: scsi::rests,
            step,
            meanwhile,
            has_ended: scsi::all_ended,
            rescue: scsi::rescue,
            leave: || (),
            end: scsi::end,
        },
        flags >> 50,
    );
}

/// What goes on by itself meanwhile.
fn turn() {
    goes_on(scsi::softirq, scsi::rerun);
    each_ring(|ring| assert!(!ring.is_untold(), "the device is not told of something"));
}

/// One thing that users do while the driver is busy with the device.
fn meanwhile() {
    match byte() % 8 {
        0..3 if scsi::count() < 300 => scsi::submit(1),
        3 => scsi::ioctl(),
        4 => scsi::open_host_reset(byte() % 4 != 3),
        5 => scsi::poll(),
        6 => scsi::change_depth(),
        _ => crate::files::open(),
    }
}

/// Seconds pass, or minutes, in which the device does nothing but to perform functions, or not even
/// that.
fn pass() {
    let how = byte();
    let seconds = u64::from(how & 63) * if how & 128 == 0 { 1 } else { 60 };
    let end = w().now + seconds * 1_000_000_000;

    for _ in 0..MOST_EVENTS {
        if w().now >= end {
            break;
        }
        world::pass(end, end, is_still);
        if let Some(ring) = device().rings.first().filter(|_| how & 64 != 0) {
            // SAFETY: The ring lives.
            while unsafe { (**ring).answer() } {}
        }
        turn();
    }
}

/// One thing that users do, or the device.
fn step() {
    match byte() % 16 {
        0..3 if scsi::count() < 300 => scsi::submit(1),
        3 if scsi::count() < 300 => scsi::submit(1 + below(8)),
        10 => {
            for _ in 0..=below(4) {
                scsi::event();
            }
            some_ring(1);
        }
        14 => match byte() % 8 {
            0 | 1 => scsi::poll(),
            2 | 3 => scsi::ioctl(),
            4 => scsi::open_host_reset(byte() % 4 != 3),
            5 => scsi::change_depth(),
            6 => {
                let at = below(36);
                device().config[at] = byte();
                crate::run::tell_change();
            }
            _ if mid().asks => scsi::write_state(),
            _ => pass(),
        },
        15 => crate::files::open(),
        n => common_step(n, turn),
    }
    turn();
}
