// SPDX-License-Identifier: GPL-2.0

use crate::wire::{judge, Command, Header, Outcome, STATUS_NONE};
use proptest::prelude::*;
use storage::block::Status;

const ALL: [(Command, u8); 4] = [
    (Command::Read, 0),
    (Command::Write, 1),
    (Command::Flush, 4),
    (Command::GetId, 8),
];

fn bytes(header: &Header) -> [u8; 16] {
    // SAFETY: A header is 16 bytes without padding.
    unsafe { core::mem::transmute_copy(header) }
}

#[test]
fn header_is_sixteen_bytes() {
    assert_eq!(size_of::<Header>(), 16);
}

#[test]
fn header_of_a_write_byte_by_byte() {
    let header = Header::new(true, Command::Write, 0x4003, 0x1122_3344_5566_7788);
    let expected = [
        1, 0, 0, 0, // VIRTIO_BLK_T_OUT
        0x03, 0x40, 0, 0, // ioprio
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // sector
    ];
    assert_eq!(bytes(&header), expected);
}

#[test]
fn header_of_a_big_endian_legacy_device() {
    let header = Header::new(false, Command::GetId, 2, 9);
    assert_eq!(
        bytes(&header),
        [0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    let header = Header::new(false, Command::Read, 0, 9);
    assert_eq!(bytes(&header)[8..], [0, 0, 0, 0, 0, 0, 0, 9]);
}

#[test]
fn only_commands_that_move_sectors_name_one() {
    for (command, code) in ALL {
        let raw = bytes(&Header::new(true, command, 0, u64::MAX));
        let moves = matches!(command, Command::Read | Command::Write);
        assert_eq!(raw[0], code);
        assert_eq!(raw[8..], if moves { [0xff; 8] } else { [0; 8] });
    }
}

#[test]
fn what_the_device_writes() {
    assert_eq!(Command::Read.written(4096), 4097);
    assert_eq!(Command::GetId.written(20), 21);
    assert_eq!(Command::Write.written(4096), 1);
    assert_eq!(Command::Flush.written(0), 1);
}

#[test]
fn every_status_byte() {
    for status in 0..=u8::MAX {
        let expected = match status {
            0 => Outcome::Ok,
            1 => Outcome::Error,
            2 => Outcome::Unsupported,
            _ => Outcome::Nonsense,
        };
        assert_eq!(judge(status, 513, 513, true), expected, "status {status}");
        assert_eq!(
            judge(status, 0, 513, false),
            expected,
            "status {status}, legacy"
        );
    }
}

#[test]
fn one_byte_too_few() {
    for expected in [1, 2, 21, 513, 4097] {
        assert_eq!(judge(0, expected - 1, expected, true), Outcome::Nonsense);
        assert_eq!(judge(0, expected, expected, true), Outcome::Ok);
        assert_eq!(judge(0, expected + 1, expected, true), Outcome::Ok);
    }
}

#[test]
fn a_footer_that_the_device_did_not_write_is_no_success() {
    assert_eq!(judge(STATUS_NONE, 513, 513, true), Outcome::Nonsense);
    assert_eq!(judge(STATUS_NONE, 0, 0, false), Outcome::Nonsense);
}

#[test]
fn outcomes_become_statuses() {
    assert_eq!(Status::from(Outcome::Ok), Status::OK);
    assert_eq!(Status::from(Outcome::Unsupported), Status::NOTSUPP);
    assert_eq!(Status::from(Outcome::Error), Status::IOERR);
    assert_eq!(Status::from(Outcome::Nonsense), Status::IOERR);
}

proptest! {
    #[test]
    fn success_needs_the_whole_length(used in 0usize..9000, expected in 1usize..9000) {
        let whole = used >= expected;
        prop_assert_eq!(judge(0, used, expected, true) == Outcome::Ok, whole);
        prop_assert_eq!(judge(0, used, expected, false), Outcome::Ok);
    }

    #[test]
    fn a_length_never_turns_an_error_into_a_success(status in 1u8.., used: usize, expected: usize) {
        prop_assert_ne!(judge(status, used, expected, true), Outcome::Ok);
        prop_assert_ne!(judge(status, used, expected, false), Outcome::Ok);
    }
}
