// SPDX-License-Identifier: GPL-2.0

use crate::zones::{count, parse, BadZone, ZoneMap, DESCRIPTOR, REPORT_HEADER};
use proptest::prelude::*;
use storage::block::zoned::{Zone, ZoneCondition, ZoneType};

/// Three zones and a half.
const MAP: ZoneMap = ZoneMap {
    zone_sectors: 1024,
    capacity: 3584,
};

/// A report of one zone: capacity, start, write pointer, type, state.
fn report(cap: u64, start: u64, wp: u64, kind: u8, state: u8) -> Vec<u8> {
    let mut report = vec![0; REPORT_HEADER];

    report[0] = 1;
    report.extend(cap.to_le_bytes());
    report.extend(start.to_le_bytes());
    report.extend(wp.to_le_bytes());
    report.extend([kind, state]);
    report.resize(REPORT_HEADER + DESCRIPTOR, 0);
    report
}

#[test]
fn sizes_of_the_specification() {
    assert_eq!(REPORT_HEADER, 64);
    assert_eq!(DESCRIPTOR, 64);
}

#[test]
fn a_zone() {
    let zone = parse(&MAP, &report(1000, 1024, 1500, 2, 2), 0, 1024);

    assert_eq!(
        zone,
        Ok(Zone {
            start: 1024,
            len: 1024,
            capacity: 1000,
            write_pointer: 1500,
            kind: ZoneType::SequentialRequired,
            condition: ZoneCondition::ImplicitOpen,
        })
    );
    // The last one is smaller; empty, its write pointer is where it begins.
    let zone = parse(&MAP, &report(512, 3072, 7, 3, 1), 0, 3072).unwrap();
    assert_eq!((zone.len, zone.write_pointer), (512, 3072));
}

#[test]
fn states_and_types() {
    use ZoneCondition as C;
    for (state, condition) in [
        (0, C::NotWp),
        (1, C::Empty),
        (2, C::ImplicitOpen),
        (3, C::ExplicitOpen),
        (4, C::Closed),
        (13, C::ReadOnly),
        (14, C::Full),
        (15, C::Offline),
    ] {
        let kind = if state == 0 { 1 } else { 2 };
        let zone = parse(&MAP, &report(1024, 0, 8, kind, state), 0, 0).unwrap();
        assert_eq!(zone.condition, condition);
    }
    for state in (5..13).chain(16..=255) {
        assert_eq!(
            parse(&MAP, &report(1024, 0, 8, 2, state), 0, 0),
            Err(BadZone::State(state))
        );
    }
    // No write pointer where there must be one; none that the device names where there is none.
    for kind in [2, 3] {
        assert_eq!(
            parse(&MAP, &report(1024, 0, 8, kind, 0), 0, 0),
            Err(BadZone::Mixed(kind, 0))
        );
    }
    let zone = parse(&MAP, &report(1024, 1024, u64::MAX - 3, 1, 0), 0, 1024).unwrap();
    assert_eq!(zone.write_pointer, 2048);
    for kind in (0..1).chain(4..=255) {
        assert_eq!(
            parse(&MAP, &report(1024, 0, 8, kind, 1), 0, 0),
            Err(BadZone::Type(kind))
        );
    }
}

#[test]
fn refused() {
    // Not where it must be; none there; too large; a write pointer elsewhere.
    for (bytes, start, why) in [
        (report(1024, 1024, 0, 2, 1), 0, BadZone::Start(1024)),
        (report(1024, 5, 0, 2, 1), 5, BadZone::Start(5)),
        (report(1024, 4096, 0, 2, 1), 4096, BadZone::Start(4096)),
        (report(1025, 0, 0, 2, 1), 0, BadZone::Capacity(1025)),
        (report(0, 0, 0, 2, 1), 0, BadZone::Capacity(0)),
        (
            report(512, 1024, 1023, 2, 3),
            1024,
            BadZone::WritePointer(1023),
        ),
        (
            report(512, 1024, 1537, 2, 4),
            1024,
            BadZone::WritePointer(1537),
        ),
    ] {
        assert_eq!(parse(&MAP, &bytes, 0, start), Err(why));
    }
}

#[test]
fn appends() {
    let holds = |zone, at, bytes| MAP.holds_append(zone, at, bytes);

    assert!(holds(1024, 1024, 4096));
    assert!(holds(1024, 2040, 4096));
    assert!(!holds(1024, 2041, 4096));
    assert!(!holds(1024, 1023, 512));
    assert!(!holds(1024, u64::MAX, 512));
    assert!(holds(3072, 3583, 512));
    assert!(!holds(3072, 3584, 512));
}

proptest! {
    /// Whatever a device reports: no panic, and what is accepted lies where it must.
    #[test]
    fn any_report(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        index in 0usize..8,
        start in prop_oneof![any::<u64>(), (0u64..5).prop_map(|n| n * 1024)],
    ) {
        prop_assert!(count(&bytes) <= bytes.len() / DESCRIPTOR);
        if let Ok(zone) = parse(&MAP, &bytes, index, start) {
            prop_assert_eq!(zone.start, start);
            prop_assert!(zone.start + zone.len <= MAP.capacity);
            prop_assert!(zone.capacity <= zone.len);
            if zone.condition == ZoneCondition::NotWp {
                prop_assert_eq!(zone.kind, ZoneType::Conventional);
                prop_assert_eq!(zone.write_pointer, start + zone.len);
            }
        }
    }
}
