// SPDX-License-Identifier: GPL-2.0

use crate::limits::{check_capacity, Config, Limits, Topology, FRAME_SEGMENTS};
use proptest::prelude::*;

/// QEMU's virtio-blk-pci as it is by default.
fn qemu() -> Config {
    Config {
        capacity: 2048,
        seg_max: Some(254),
        size_max: None,
        blk_size: Some(512),
        topology: Some(Topology::default()),
        max_dma_size: usize::MAX,
        ring_size: 256,
    }
}

#[test]
fn a_usual_device() {
    assert_eq!(
        qemu().limits(),
        Ok(Limits {
            max_segments: 254,
            max_segment_size: u32::MAX,
            logical_block_size: 512,
            physical_block_size: 512,
            alignment_offset: 0,
            io_min: 0,
            io_opt: 0,
        })
    );
}

#[test]
fn a_device_that_says_nothing() {
    let config = Config {
        max_dma_size: 1 << 20,
        ring_size: 128,
        ..Config::default()
    };
    let limits = config.limits().unwrap();

    assert_eq!(limits.max_segments, 1);
    assert_eq!(limits.max_segment_size, 1 << 20);
    assert_eq!(limits.logical_block_size, 512);
}

#[test]
fn topology_counts_in_logical_blocks() {
    let limits = Config {
        blk_size: Some(4096),
        topology: Some(Topology {
            physical_block_exp: 2,
            alignment_offset: 1,
            min_io_size: 8,
            opt_io_size: 256,
        }),
        ..qemu()
    }
    .limits()
    .unwrap();

    assert_eq!(limits.logical_block_size, 4096);
    assert_eq!(limits.physical_block_size, 16384);
    assert_eq!(limits.alignment_offset, 4096);
    assert_eq!(limits.io_min, 32768);
    assert_eq!(limits.io_opt, 1 << 20);
}

#[test]
fn hints_that_are_too_large_are_none() {
    let limits = Config {
        blk_size: Some(65536),
        topology: Some(Topology {
            physical_block_exp: 0,
            alignment_offset: 255,
            min_io_size: u16::MAX,
            opt_io_size: 65536,
        }),
        ..qemu()
    }
    .limits()
    .unwrap();

    assert_eq!(limits.alignment_offset, 255 * 65536);
    assert_eq!(limits.io_min, 65535 * 65536);
    assert_eq!(limits.io_opt, 0);
}

#[test]
fn no_chain_is_longer_than_the_ring() {
    for (seg_max, ring_size, expected) in [
        (Some(0), 256, 1),
        (Some(254), 4, 2),
        (Some(126), 256, 126),
        (Some(u32::MAX), 1024, 1022),
        (Some(65536), 1 << 20, u16::MAX),
    ] {
        let config = Config {
            seg_max,
            ring_size,
            ..qemu()
        };
        assert_eq!(config.limits().unwrap().max_segments, expected);
    }
}

fn refused(config: &Config) -> String {
    config
        .limits()
        .expect_err("this must be refused")
        .to_string()
}

#[test]
fn refusals_name_the_field_and_the_value() {
    let message = refused(&Config {
        blk_size: Some(513),
        ..qemu()
    });
    assert!(message.contains("blk_size is 513"), "{message}");
    for bad in [0, 1, 256, 131_072, u32::MAX] {
        refused(&Config {
            blk_size: Some(bad),
            ..qemu()
        });
    }

    let message = refused(&Config {
        size_max: Some(4095),
        ..qemu()
    });
    assert!(message.contains("size_max is 4095"), "{message}");

    let message = refused(&Config {
        ring_size: 2,
        ..qemu()
    });
    assert!(message.contains("queue size is 2"), "{message}");

    for exp in [22, 32, 255] {
        let topology = Some(Topology {
            physical_block_exp: exp,
            ..Topology::default()
        });
        let message = refused(&Config { topology, ..qemu() });
        assert!(message.contains("physical_block_exp"), "{message}");
    }

    let message = refused(&Config {
        capacity: u64::MAX,
        ..qemu()
    });
    assert!(
        message.contains("capacity is 18446744073709551615"),
        "{message}"
    );
}

#[test]
fn capacities() {
    assert_eq!(check_capacity(0), Ok(0));
    let largest = i64::MAX as u64 >> 9;
    assert_eq!(check_capacity(largest), Ok(largest));
    assert!(check_capacity(largest + 1).is_err());
}

prop_compose! {
    fn any_topology()(
        a in prop_oneof![1 => any::<u8>(), 3 => 0u8..24],
        b: u8,
        c: u16,
        d: u32,
    ) -> Topology {
        Topology {
            physical_block_exp: a,
            alignment_offset: b,
            min_io_size: c,
            opt_io_size: d,
        }
    }
}

prop_compose! {
    fn any_config()(
        // Weighted, so that many of them are accepted.
        capacity in prop_oneof![1 => any::<u64>(), 7 => any::<u64>().prop_map(|n| n >> 10)],
        seg_max: Option<u32>,
        size_max: Option<u32>,
        blk_size in prop_oneof![
            1 => any::<Option<u32>>(),
            7 => (8u32..18).prop_map(|exp| Some(1 << exp)),
        ],
        topology in proptest::option::of(any_topology()),
        max_dma_size in prop_oneof![any::<usize>(), Just(usize::MAX)],
        ring_size in 0usize..40_000,
    ) -> Config {
        Config { capacity, seg_max, size_max, blk_size, topology, max_dma_size, ring_size }
    }
}

proptest! {
    /// Whatever a device says: no panic, and what is accepted the block layer can live with
    /// (`blk_validate_limits()`), without a warning.
    #[test]
    fn accepted_limits_are_possible(config in any_config()) {
        let Ok(limits) = config.limits() else { return Ok(()) };

        prop_assert!(limits.max_segment_size >= 4096);
        prop_assert!(limits.logical_block_size.is_power_of_two());
        prop_assert!((512..=65536).contains(&limits.logical_block_size));
        prop_assert!(limits.physical_block_size.is_power_of_two());
        prop_assert!(limits.physical_block_size >= limits.logical_block_size);
        prop_assert!(limits.max_segments >= 1);
        prop_assert!(usize::from(limits.max_segments) + FRAME_SEGMENTS <= config.ring_size);
        prop_assert!(config.capacity <= i64::MAX as u64 >> 9);
    }

    /// Nothing that makes sense is refused.
    #[test]
    fn sensible_devices_are_accepted(
        blk_exp in 9u32..=16,
        physical_block_exp in 0u8..=6,
        seg_max in 0u32..=1024,
        ring_exp in 2u32..=15,
        capacity in 0u64..1 << 50,
    ) {
        let config = Config {
            capacity,
            seg_max: Some(seg_max),
            blk_size: Some(1 << blk_exp),
            topology: Some(Topology { physical_block_exp, ..Topology::default() }),
            ring_size: 1 << ring_exp,
            ..qemu()
        };
        prop_assert!(config.limits().is_ok());
    }
}
