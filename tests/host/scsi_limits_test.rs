// SPDX-License-Identifier: GPL-2.0

use crate::scsi::limits::{Config, Queues};
use proptest::prelude::*;
use storage::scsi::Limits;

/// QEMU's virtio-scsi-pci as it is by default, with two queues.
fn qemu() -> Config {
    Config {
        seg_max: 254,
        max_sectors: 0xffff,
        cmd_per_lun: 128,
        max_target: 255,
        max_lun: 16383,
        queues: Queues::new(2, 0),
        ring_size: 256,
        protection: false,
    }
}

#[test]
fn a_usual_device() {
    assert_eq!(
        qemu().limits(),
        Ok(Limits {
            nr_hw_queues: 2,
            can_queue: 256,
            cmd_per_lun: 128,
            sg_tablesize: 254,
            max_sectors: 0xffff,
            max_id: 256,
            max_lun: 0x8000,
            max_cmd_len: 32,
            polled: false,
            protection: false,
        })
    );
}

#[test]
fn a_device_that_says_nothing() {
    let limits = Config {
        queues: Queues::new(0, 0),
        ring_size: 128,
        ..Config::default()
    }
    .limits()
    .unwrap();

    assert_eq!(limits.nr_hw_queues, 1);
    assert_eq!(limits.sg_tablesize, 1);
    assert_eq!(limits.cmd_per_lun, 1);
    assert_eq!(limits.max_sectors, 0xffff);
    assert_eq!(limits.max_id, 1);
    assert_eq!(limits.max_lun, 0x4001);
}

#[test]
fn many_segments_are_not_truncated() {
    for seg_max in [65535, 65536, 65537, u32::MAX] {
        let limits = Config {
            seg_max,
            ring_size: 1 << 20,
            ..qemu()
        }
        .limits()
        .unwrap();
        assert_eq!(limits.sg_tablesize, u16::MAX, "{seg_max}");
    }
}

#[test]
fn what_no_address_can_name_is_not_offered() {
    let limits = Config {
        max_target: u16::MAX,
        max_lun: u32::MAX,
        ..qemu()
    }
    .limits()
    .unwrap();
    assert_eq!(limits.max_id, 256);
    assert_eq!(limits.max_lun, 0x8000);
}

#[test]
fn refusals_name_the_field_and_the_value() {
    for sectors in 1..8 {
        let message = Config {
            max_sectors: sectors,
            ..qemu()
        }
        .limits()
        .unwrap_err()
        .to_string();
        assert!(message.contains(&format!("max_sectors is {sectors}")));
    }
    assert_eq!(
        Config {
            max_sectors: 8,
            ..qemu()
        }
        .limits()
        .unwrap()
        .max_sectors,
        8
    );
    for (ring_size, protection, good) in [
        (0, false, false),
        (2, false, false),
        (3, false, true),
        (3, true, false),
        (4, true, true),
    ] {
        let result = Config {
            ring_size,
            protection,
            ..qemu()
        }
        .limits();
        assert_eq!(result.is_ok(), good, "{ring_size} {protection}");
    }
}

#[test]
fn one_queue_always_interrupts() {
    for (all, polled, expected) in [
        (0, 0, (1, 0)),
        (1, 1, (1, 0)),
        (2, 1, (1, 1)),
        (4, 2, (2, 2)),
        (4, u32::MAX, (1, 3)),
    ] {
        let queues = Queues::new(all, polled);
        assert_eq!((queues.interrupting, queues.polled), expected);
        assert_eq!(queues.all(), all.max(1));
    }
}

proptest! {
    #[test]
    fn no_chain_is_longer_than_its_ring(
        seg_max: u32, max_sectors: u32, cmd_per_lun: u32, max_target: u16, max_lun: u32,
        all in 0u32..1024, polled: u32, ring_size in 0usize..(1 << 17), protection: bool,
    ) {
        let config = Config {
            seg_max, max_sectors, cmd_per_lun, max_target, max_lun,
            queues: Queues::new(all, polled), ring_size, protection,
        };
        if let Ok(limits) = config.limits() {
            let lists = if protection { 2 } else { 1 };
            prop_assert!(usize::from(limits.sg_tablesize) * lists + 2 <= ring_size);
            prop_assert!(limits.sg_tablesize > 0);
            prop_assert!(limits.can_queue > 0 && usize::from(limits.can_queue) <= ring_size);
            prop_assert!(limits.cmd_per_lun > 0 && limits.cmd_per_lun <= limits.can_queue);
            prop_assert!(limits.cmd_per_lun <= i16::MAX as u16);
            prop_assert!(limits.max_sectors >= 8);
            prop_assert!((1..=256).contains(&limits.max_id));
            prop_assert!((0x4001..=0x8000).contains(&limits.max_lun));
        } else {
            prop_assert!(ring_size < 4 || (1..8).contains(&max_sectors));
        }
    }
}
