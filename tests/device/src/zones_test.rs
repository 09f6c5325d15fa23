// SPDX-License-Identifier: GPL-2.0

use super::*;
use State::*;

/// Four zones of 64 sectors, 48 of them writable; the first is conventional.
fn zones(max_open: u32, max_active: u32) -> Zones {
    let layout = Layout {
        size: 64,
        capacity: 48,
        conventional: 1,
        max_open,
        max_active,
        max_append: 16,
        granularity: 4096,
    };
    Zones::new(layout, 5 * 64)
}

fn states(zones: &Zones) -> Vec<State> {
    zones.zones.iter().map(|zone| zone.state).collect()
}

#[test]
fn a_sequential_zone_is_written_in_order() {
    let mut zones = zones(0, 0);

    assert_eq!(zones.write(72, 8), Err(Status::ZoneUnalignedWrite));
    assert_eq!(zones.write(64, 4), Err(Status::ZoneUnalignedWrite));
    assert_eq!(zones.write(64, 8), Ok(()));
    assert_eq!(states(&zones)[1], ImplicitlyOpen);
    assert_eq!(zones.write(64, 8), Err(Status::ZoneUnalignedWrite));
    assert_eq!(zones.write(72, 48), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.write(72, 40), Ok(()));
    assert_eq!(states(&zones)[1], Full);
    assert_eq!(zones.write(112, 8), Err(Status::ZoneInvalidCommand));
}

#[test]
fn a_conventional_zone_is_written_anywhere() {
    let mut zones = zones(0, 0);

    assert_eq!(zones.write(40, 3), Ok(()));
    assert_eq!(zones.write(0, 64), Ok(()));
    assert_eq!(zones.write(60, 8), Err(Status::ZoneInvalidCommand));
    assert_eq!(states(&zones)[0], NotWritePointer);
    for result in [
        zones.open(0),
        zones.close(0),
        zones.finish(0),
        zones.reset(0).map(drop),
        zones.append(0, 8).map(drop),
    ] {
        assert_eq!(result, Err(Status::ZoneInvalidCommand));
    }
}

#[test]
fn append_tells_where_the_data_went() {
    let mut zones = zones(0, 0);

    assert_eq!(zones.append(128, 8), Ok(128));
    assert_eq!(zones.append(128, 16), Ok(136));
    assert_eq!(zones.append(129, 8), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.append(128, 0), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.append(128, 24), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.append(128, 16), Ok(152));
    // 8 sectors are left.
    assert_eq!(zones.append(128, 16), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.append(128, 8), Ok(168));
    assert_eq!(states(&zones)[2], Full);
}

#[test]
fn open_close_finish_reset() {
    let mut zones = zones(0, 0);

    assert_eq!(zones.close(64), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.open(64), Ok(()));
    assert_eq!(states(&zones)[1], ExplicitlyOpen);
    // Nothing was written, so it is empty again.
    assert_eq!(zones.close(64), Ok(()));
    assert_eq!(states(&zones)[1], Empty);
    assert_eq!(zones.open(64), Ok(()));
    assert_eq!(zones.write(64, 8), Ok(()));
    assert_eq!(states(&zones)[1], ExplicitlyOpen);
    assert_eq!(zones.close(64), Ok(()));
    assert_eq!(zones.close(64), Ok(()));
    assert_eq!(states(&zones)[1], Closed);
    assert_eq!(zones.write(72, 8), Ok(()));
    assert_eq!(states(&zones)[1], ImplicitlyOpen);
    assert_eq!(zones.finish(64), Ok(()));
    assert_eq!(zones.finish(64), Ok(()));
    assert_eq!(states(&zones)[1], Full);
    assert_eq!(zones.open(64), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.close(64), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.reset(64), Ok((64, 48)));
    assert_eq!(zones.write(64, 8), Ok(()));
    assert_eq!(zones.reset(65), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.reset(64 * 9), Err(Status::ZoneInvalidCommand));
}

#[test]
fn limits_of_open_and_active_zones() {
    let mut zones = zones(2, 3);

    zones.open(64).unwrap();
    zones.open(128).unwrap();
    assert_eq!(zones.write(192, 8), Err(Status::ZoneOpenResource));
    zones.write(64, 8).unwrap();
    zones.close(64).unwrap();
    zones.write(192, 8).unwrap();
    // Three are active: 64 closed, 128 explicitly open, 192 implicitly.
    assert_eq!(zones.write(256, 8), Err(Status::ZoneActiveResource));
    assert_eq!(zones.open(256), Err(Status::ZoneActiveResource));
    // An active zone may be opened: the implicitly open one makes room.
    zones.open(64).unwrap();
    assert_eq!(
        states(&zones)[1..4],
        [ExplicitlyOpen, ExplicitlyOpen, Closed]
    );
    assert_eq!(zones.write(200, 8), Err(Status::ZoneOpenResource));
    zones.finish(64).unwrap();
    zones.write(256, 8).unwrap();
    assert_eq!(
        states(&zones)[1..],
        [Full, ExplicitlyOpen, Closed, ImplicitlyOpen]
    );
    assert_eq!(zones.reset_all().len(), 4);
    assert_eq!(
        states(&zones),
        [NotWritePointer, Empty, Empty, Empty, Empty]
    );
}

#[test]
fn read_only_and_offline_zones() {
    let mut zones = zones(0, 0);

    zones.write(64, 8).unwrap();
    zones.force(64, ReadOnly).unwrap();
    zones.force(128, Offline).unwrap();
    assert_eq!(zones.read(64, 8), Ok(()));
    assert_eq!(zones.write(72, 8), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.reset(64), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.read(120, 16), Err(Status::ZoneInvalidCommand));
    assert_eq!(zones.write(128, 8), Err(Status::ZoneInvalidCommand));
    zones.reset_all();
    assert_eq!(states(&zones)[1..3], [ReadOnly, Offline]);
}

#[test]
fn reports() {
    let mut zones = zones(0, 0);

    zones.write(128, 16).unwrap();
    let report = zones.report(64, 2).unwrap();
    assert_eq!(report.len(), 2);
    assert_eq!(
        (report[0].start, report[0].state, report[0].kind),
        (64, 1, 2)
    );
    assert_eq!(
        (report[1].start, report[1].write_pointer, report[1].capacity),
        (128, 144, 48)
    );
    assert_eq!(zones.report(0, 100).unwrap().len(), 5);
    assert_eq!(zones.report(0, 1).unwrap()[0].kind, 1);
    assert!(zones.report(5 * 64, 1).is_err());
    // The last zone of a disk may be short.
    let short = Zones::new(zones.layout.clone(), 5 * 64 + 8);
    assert_eq!(short.report(320, 9).unwrap()[0].capacity, 8);
}
