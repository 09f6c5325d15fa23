// SPDX-License-Identifier: GPL-2.0

use crate::limits::{
    check_capacity, Config, Discard, Limits, Topology, Transport, Zoned, FRAME_SEGMENTS,
};
use proptest::prelude::*;
use storage::block::limits::Zones;

/// A usual one.
const PCI: Transport = Transport {
    ring_size: 256,
    max_dma_size: usize::MAX,
};

/// QEMU's virtio-blk-pci as it is by default.
fn qemu() -> Config {
    Config {
        capacity: 2048,
        seg_max: Some(254),
        size_max: None,
        blk_size: Some(512),
        topology: Some(Topology::default()),
        ..Config::default()
    }
}

#[test]
fn a_usual_device() {
    assert_eq!(
        qemu().limits(PCI),
        Ok(Limits {
            max_segments: 254,
            max_segment_size: u32::MAX,
            logical_block_size: 512,
            physical_block_size: 512,
            alignment_offset: 0,
            io_min: 0,
            io_opt: 0,
            max_discard_sectors: 0,
            max_discard_ranges: 1,
            discard_granularity: 0,
            max_secure_erase_sectors: 0,
            max_write_zeroes_sectors: 0,
            zones: None,
        })
    );
}

#[test]
fn a_device_that_says_nothing() {
    let transport = Transport {
        max_dma_size: 1 << 20,
        ..PCI
    };
    let limits = Config::default().limits(transport).unwrap();

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
    .limits(PCI)
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
    .limits(PCI)
    .unwrap();

    assert_eq!(limits.alignment_offset, 255 * 65536);
    assert_eq!(limits.io_min, 65535 * 65536);
    assert_eq!(limits.io_opt, 0);
}

#[test]
fn no_more_is_read_ahead_than_makes_sense() {
    let io_opt = |opt_io_size| {
        Config {
            topology: Some(Topology {
                opt_io_size,
                ..Topology::default()
            }),
            ..qemu()
        }
        .limits(PCI)
        .unwrap()
        .io_opt
    };

    assert_eq!(io_opt(65536), 32 << 20);
    assert_eq!(io_opt(65537), 0);
    assert_eq!(io_opt((u32::MAX >> 9) - 1), 0);
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
        let config = Config { seg_max, ..qemu() };
        let transport = Transport { ring_size, ..PCI };
        assert_eq!(config.limits(transport).unwrap().max_segments, expected);
    }
}

fn refused(config: &Config) -> String {
    config
        .limits(PCI)
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

    let unsaid = Config {
        size_max: Some(0),
        ..qemu()
    };
    assert_eq!(unsaid.limits(PCI).unwrap().max_segment_size, 65_536);

    let small = qemu().limits(Transport {
        ring_size: 2,
        ..PCI
    });
    let message = small.expect_err("too small").to_string();
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

fn with_discard(max_sectors: u32, max_seg: u32, alignment: u32) -> Limits {
    let discard = Some(Discard {
        max_sectors,
        max_seg,
        alignment,
    });
    Config { discard, ..qemu() }.limits(PCI).unwrap()
}

#[test]
fn discard() {
    let limits = with_discard(2048, 16, 8);
    assert_eq!(limits.max_discard_sectors, 2048);
    assert_eq!(limits.max_discard_ranges, 16);
    assert_eq!(limits.discard_granularity, 4096);

    // Without a word of the device: all, as many ranges as segments, by blocks.
    let limits = with_discard(0, 0, 0);
    assert_eq!(limits.max_discard_sectors, u32::MAX);
    assert_eq!(limits.max_discard_ranges, 254);
    assert_eq!(limits.discard_granularity, 512);

    let limits = with_discard(1, u32::MAX, u32::MAX);
    assert_eq!(limits.max_discard_ranges, 256);
    assert_eq!(limits.discard_granularity, 1 << 31);
}

#[test]
fn write_zeroes() {
    for (says, expected) in [(None, 0), (Some(0), u32::MAX), (Some(8), 8)] {
        let config = Config {
            write_zeroes: says,
            ..qemu()
        };
        assert_eq!(
            config.limits(PCI).unwrap().max_write_zeroes_sectors,
            expected
        );
    }
}

/// A range that is no whole block is refused, and nothing asks again with a smaller one.
#[test]
fn write_zeroes_of_whole_blocks() {
    // The first is what QEMU says.
    for (says, expected) in [(4_194_303, 4_194_296), (0, u32::MAX & !7), (7, 0)] {
        let config = Config {
            write_zeroes: Some(says),
            blk_size: Some(4096),
            ..qemu()
        };
        assert_eq!(
            config.limits(PCI).unwrap().max_write_zeroes_sectors,
            expected
        );
    }
}

#[test]
fn secure_erase_shares_ranges_and_granularity_with_discard() {
    let erase = |max_sectors, max_seg, alignment| {
        Some(Discard {
            max_sectors,
            max_seg,
            alignment,
        })
    };
    let config = Config {
        secure_erase: erase(100, 4, 16),
        ..qemu()
    };
    let limits = config.limits(PCI).unwrap();
    assert_eq!(limits.max_secure_erase_sectors, 100);
    assert_eq!(limits.max_discard_sectors, 0);
    assert_eq!(limits.max_discard_ranges, 4);
    assert_eq!(limits.discard_granularity, 8192);

    let limits = Config {
        discard: erase(7, 2, 64),
        ..config
    }
    .limits(PCI)
    .unwrap();
    assert_eq!(limits.max_discard_sectors, 7);
    assert_eq!(limits.max_discard_ranges, 2);
    assert_eq!(limits.discard_granularity, 8192);

    for (field, secure_erase) in [
        ("max_secure_erase_sectors", erase(0, 4, 16)),
        ("max_secure_erase_seg", erase(100, 0, 16)),
        ("secure_erase_sector_alignment", erase(100, 4, 0)),
    ] {
        let message = refused(&Config {
            secure_erase,
            ..qemu()
        });
        assert!(message.contains(field), "{message}");
    }
}

/// A host-managed disk of zones of 1 MiB, but for what `change` changes.
fn zoned(change: impl Fn(&mut Zoned)) -> Config {
    let mut zoned = Zoned {
        zone_sectors: 2048,
        max_open_zones: 4,
        max_active_zones: 8,
        max_append_sectors: 256,
        write_granularity: 4096,
        model: 1,
    };

    change(&mut zoned);
    Config {
        capacity: 65536,
        zoned: Some(zoned),
        ..qemu()
    }
}

#[test]
fn zones() {
    let limits = Config {
        discard: Some(Discard::default()),
        ..zoned(|_| ())
    }
    .limits(PCI)
    .unwrap();
    assert_eq!(
        limits.zones,
        Some(Zones {
            sectors: 2048,
            max_open: 4,
            max_active: 8,
            max_append_sectors: 256,
            write_granularity: 4096,
        })
    );
    assert_eq!(limits.physical_block_size, 4096);
    assert_eq!(limits.io_min, 4096);
    assert_eq!(limits.max_discard_sectors, 0);

    // Host-aware, or none: a disk like others, whatever else is said.
    for model in [0, 2] {
        let config = zoned(|zoned| {
            zoned.model = model;
            zoned.zone_sectors = 3;
        });
        assert_eq!(config.zone_map().zone_sectors, 0);
        assert_eq!(config.limits(PCI).unwrap().zones, None);
    }
}

#[test]
fn impossible_zones() {
    let refused = |field: &str, change: &dyn Fn(&mut Zoned)| {
        let message = refused(&zoned(change));
        assert!(message.contains(field), "{message}");
    };

    refused("model", &|zoned| zoned.model = 3);
    for bad in [0, 2047, 4] {
        refused("zone_sectors", &|zoned| zoned.zone_sectors = bad);
    }
    for bad in [0, 4095, 1 << 31] {
        refused("write_granularity", &|zoned| zoned.write_granularity = bad);
    }
    for bad in [0, 7] {
        refused("max_append_sectors", &|zoned| {
            zoned.max_append_sectors = bad
        });
    }
    refused("max_open_zones", &|zoned| zoned.max_open_zones = 9);

    // An array of the block layer has a byte for each zone, in one piece of memory.
    let many = |zones: u64| Config {
        capacity: zones * 2048,
        ..zoned(|_| ())
    };
    assert!(many(4 << 20).limits(PCI).is_ok());
    let message = self::refused(&many((4 << 20) + 1));
    assert!(message.contains("too many zones"), "{message}");
}

/// The block layer allocates for as many zones as may be open, or active, and takes the number for
/// an `int`: beyond 2,147,483,647 its `BUG_ON()` stops the kernel.
#[test]
fn no_limit_of_open_zones_is_believed_that_cannot_be() {
    let limits = |capacity, max_open_zones, max_active_zones| {
        let zones = Config {
            capacity,
            ..zoned(|zoned| {
                zoned.max_open_zones = max_open_zones;
                zoned.max_active_zones = max_active_zones;
            })
        }
        .limits(PCI)
        .unwrap()
        .zones
        .unwrap();

        (zones.max_open, zones.max_active)
    };

    // 32 zones.
    assert_eq!(limits(65536, 4, 31), (4, 31));
    assert_eq!(limits(65536, 4, 32), (4, 0));
    assert_eq!(limits(65536, 32, 0), (0, 0));
    assert_eq!(limits(65536, u32::MAX, 0), (0, 0));
    assert_eq!(limits(65536, 0, u32::MAX), (0, 0));
    // 131,072.
    assert_eq!(limits(131_072 * 2048, 65_536, 65_536), (65_536, 65_536));
    assert_eq!(limits(131_072 * 2048, 65_537, 0), (0, 0));
}

prop_compose! {
    fn any_discard()(
        max_sectors: u32,
        max_seg: u32,
        alignment: u32,
    ) -> Discard {
        Discard { max_sectors, max_seg, alignment }
    }
}

prop_compose! {
    fn any_zoned()(
        zone_sectors in prop_oneof![any::<u32>(), (0u32..32).prop_map(|exp| 1 << exp)],
        max_open_zones: u32,
        max_active_zones: u32,
        max_append_sectors: u32,
        write_granularity in prop_oneof![any::<u32>(), (0u32..32).prop_map(|exp| 1 << exp)],
        model in 0u8..4,
    ) -> Zoned {
        Zoned {
            zone_sectors,
            max_open_zones,
            max_active_zones,
            max_append_sectors,
            write_granularity,
            model,
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
        discard in proptest::option::of(any_discard()),
        write_zeroes: Option<u32>,
        secure_erase in proptest::option::of(any_discard()),
        zoned in proptest::option::of(any_zoned()),
    ) -> Config {
        Config {
            capacity,
            seg_max,
            size_max,
            blk_size,
            topology,
            discard,
            write_zeroes,
            secure_erase,
            zoned,
        }
    }
}

proptest! {
    /// Whatever a device says: no panic, and what is accepted the block layer can live with
    /// (`blk_validate_limits()`), without a warning.
    #[test]
    fn accepted_limits_are_possible(
        config in any_config(),
        ring_size in 0usize..40_000,
        max_dma_size in prop_oneof![any::<usize>(), Just(usize::MAX)],
    ) {
        let Ok(limits) = config.limits(Transport { ring_size, max_dma_size }) else { return Ok(()) };

        prop_assert!(limits.max_segment_size >= 4096);
        prop_assert!(limits.logical_block_size.is_power_of_two());
        prop_assert!((512..=65536).contains(&limits.logical_block_size));
        prop_assert!(limits.physical_block_size.is_power_of_two());
        prop_assert!(limits.physical_block_size >= limits.logical_block_size);
        prop_assert!(limits.max_segments >= 1);
        prop_assert!(usize::from(limits.max_segments) + FRAME_SEGMENTS <= ring_size);
        prop_assert!(config.capacity <= i64::MAX as u64 >> 9);
        prop_assert!((1..=256).contains(&limits.max_discard_ranges));
        if let Some(zones) = limits.zones {
            prop_assert!(zones.sectors.is_power_of_two());
            prop_assert!(zones.sectors >= limits.logical_block_size >> 9);
            prop_assert!(zones.max_append_sectors >= zones.write_granularity >> 9);
            prop_assert!(zones.max_active == 0 || zones.max_open <= zones.max_active);
            prop_assert_eq!(u64::from(zones.sectors), config.zone_map().zone_sectors);
            prop_assert!(config.capacity.div_ceil(zones.sectors.into()) <= 4 << 20);
            prop_assert!(zones.max_open.max(zones.max_active) <= 65_536);
        }
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
            ..qemu()
        };
        let transport = Transport { ring_size: 1 << ring_exp, ..PCI };
        prop_assert!(config.limits(transport).is_ok());
    }
}
