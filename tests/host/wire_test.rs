// SPDX-License-Identifier: GPL-2.0

use crate::wire::{
    appended_at, judge, status, Command, Header, Lifetime, Outcome, Range, LIFETIME, MEASURE,
    NO_FOOTER, SERIAL,
};
use proptest::prelude::*;
use storage::block::{Op, Status};
use storage::virtio::frame::Content;

/// Command, code, whether the header names a sector, and what lies beside the frame.
const ALL: [(Command, u8, bool, Content); 15] = [
    (Command::Read, 0, true, Content::Data),
    (Command::Write, 1, true, Content::Data),
    (Command::Flush, 4, false, Content::None),
    (Command::GetId, 8, false, Content::Data),
    (Command::GetLifetime, 10, false, Content::Data),
    (Command::Discard, 11, false, Content::Payload),
    (Command::WriteZeroes, 13, false, Content::Payload),
    (Command::SecureErase, 14, false, Content::Payload),
    (Command::ZoneAppend, 15, true, Content::Data),
    (Command::ZoneReport, 16, true, Content::Data),
    (Command::ZoneOpen, 18, true, Content::None),
    (Command::ZoneClose, 20, true, Content::None),
    (Command::ZoneFinish, 22, true, Content::None),
    (Command::ZoneReset, 24, true, Content::None),
    (Command::ZoneResetAll, 26, false, Content::None),
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
fn every_command() {
    for (command, code, has_sector, content) in ALL {
        // The highest bit is not the device's.
        let raw = bytes(&Header::new(true, command, 0, u64::MAX));

        assert_eq!(raw[0], code, "{command:?}");
        assert_eq!(
            raw[8..],
            (if has_sector { !MEASURE } else { 0 }).to_le_bytes(),
            "{command:?}"
        );
        assert_eq!(command.content(), content, "{command:?}");
    }
}

#[test]
fn every_operation_of_the_block_layer() {
    for op in 0..=35 {
        let code = match op {
            0 => Some(Command::Read),
            1 => Some(Command::Write),
            2 => Some(Command::Flush),
            3 => Some(Command::Discard),
            5 => Some(Command::SecureErase),
            7 => Some(Command::ZoneAppend),
            9 => Some(Command::WriteZeroes),
            11 => Some(Command::ZoneOpen),
            13 => Some(Command::ZoneClose),
            15 => Some(Command::ZoneFinish),
            17 => Some(Command::ZoneReset),
            19 => Some(Command::ZoneResetAll),
            34 => Some(Command::GetId),
            _ => None,
        };
        assert_eq!(Command::of(Op(op), false, 0), code, "operation {op}");
    }
    assert_eq!(Command::of(Op::DRV_IN, true, 1), Some(Command::ZoneReport));
    assert_eq!(
        Command::of(Op::DRV_IN, false, LIFETIME),
        Some(Command::GetLifetime)
    );
    assert_eq!(Command::of(Op::DRV_IN, false, SERIAL), Some(Command::GetId));
    assert_eq!(
        Command::of(Op::DRV_IN, false, MEASURE | LIFETIME),
        Some(Command::Read)
    );
    assert_eq!(Command::of(Op::READ, true, LIFETIME), Some(Command::Read));
}

#[test]
fn what_moves_a_write_pointer_is_not_sent_twice() {
    for (command, ..) in ALL {
        let moves = matches!(
            command,
            Command::Write | Command::WriteZeroes | Command::ZoneAppend
        );

        assert_eq!(command.is_repeatable_on_zones(), !moves, "{command:?}");
        assert_eq!(
            command.is_repeatable(),
            command != Command::ZoneAppend,
            "{command:?}"
        );
    }
}

#[test]
fn range_byte_by_byte() {
    let raw = |range: Range| -> [u8; 16] {
        assert_eq!(size_of::<Range>(), 16);
        // SAFETY: A range is 16 bytes without padding.
        unsafe { core::mem::transmute(range) }
    };
    let mut expected = [
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // sector
        0xef, 0xcd, 0xab, 0x89, // count of sectors
        1, 0, 0, 0, // VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
    ];
    assert_eq!(
        raw(Range::new((0x1122_3344_5566_7788, 0x89ab_cdef), true)),
        expected
    );
    expected[12] = 0;
    assert_eq!(
        raw(Range::new((0x1122_3344_5566_7788, 0x89ab_cdef), false)),
        expected
    );
}

#[test]
fn footer_of_an_append() {
    let footer = [1, 2, 3, 4, 5, 6, 7, 8, 9];

    assert_eq!(appended_at(footer), 0x0807_0605_0403_0201);
    assert_eq!(status(footer), 9);
    assert_eq!(Command::ZoneAppend.footer(), 9);
    assert_eq!(Command::Write.footer(), 1);
}

#[test]
fn what_the_device_writes() {
    assert_eq!(Command::Read.written(4096), 4097);
    assert_eq!(Command::GetId.written(20), 21);
    assert_eq!(Command::GetLifetime.written(Lifetime::SIZE), 7);
    assert_eq!(Command::Write.written(4096), 1);
    assert_eq!(Command::Flush.written(0), 1);
    assert_eq!(Command::Discard.written(1 << 20), 1);
    assert_eq!(Command::ZoneAppend.written(4096), 9);
    assert_eq!(Command::ZoneReport.written(4096), 4097);
    assert_eq!(Command::ZoneOpen.written(0), 1);
}

#[test]
fn every_status_byte() {
    for status in 0..=u8::MAX {
        let expected = match status {
            0 => Outcome::Ok,
            1 => Outcome::Error,
            2 => Outcome::Unsupported,
            3 | 4 => Outcome::Error,
            5 => Outcome::TooManyOpen,
            6 => Outcome::TooManyActive,
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
    assert_eq!(judge(status(NO_FOOTER), 513, 513, true), Outcome::Nonsense);
    assert_eq!(judge(status(NO_FOOTER), 0, 0, false), Outcome::Nonsense);
}

#[test]
fn outcomes_become_statuses() {
    assert_eq!(Status::from(Outcome::Ok), Status::OK);
    assert_eq!(Status::from(Outcome::Unsupported), Status::NOTSUPP);
    assert_eq!(Status::from(Outcome::Error), Status::IOERR);
    assert_eq!(Status::from(Outcome::Nonsense), Status::IOERR);
    assert_eq!(
        Status::from(Outcome::TooManyOpen),
        Status::ZONE_OPEN_RESOURCE
    );
    assert_eq!(
        Status::from(Outcome::TooManyActive),
        Status::ZONE_ACTIVE_RESOURCE
    );
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

#[test]
fn lifetime() {
    let lifetime = Lifetime::parse(&[2, 0, 0x34, 0x12, 11, 0]).unwrap();
    assert_eq!(
        (lifetime.pre_eol_info, lifetime.typ_a, lifetime.typ_b),
        (2, 0x1234, 11)
    );
    assert_eq!(Lifetime::parse(&[0; 5]), None);
}

#[test]
fn outcomes_are_remembered() {
    for byte in 0..=u8::MAX {
        let outcome = Outcome::from_byte(byte);

        assert!(outcome == Outcome::Nonsense || outcome.to_byte() == byte);
    }
    assert_eq!(Outcome::from_byte(Outcome::Ok.to_byte()), Outcome::Ok);
    assert_eq!(Outcome::from_byte(Outcome::Error.to_byte()), Outcome::Error);
    assert_eq!(Outcome::from_byte(0xff), Outcome::Nonsense);
}
