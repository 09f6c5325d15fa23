// SPDX-License-Identifier: GPL-2.0

use crate::scsi::wire::*;
use proptest::prelude::*;
use storage::scsi::HostByte;

const LE: Order = Order {
    little_endian: true,
};
const BE: Order = Order {
    little_endian: false,
};

fn bytes<T, const N: usize>(value: &T) -> [u8; N] {
    assert_eq!(size_of::<T>(), N);
    // SAFETY: The wire structures have no padding.
    unsafe { core::mem::transmute_copy(value) }
}

fn task() -> Task {
    Task {
        address: Address::new(255, 16684).unwrap(),
        tag: 0x1122_3344_5566_7788,
        priority: 3,
    }
}

#[test]
fn sizes_are_those_of_the_specification() {
    assert_eq!(REQUEST_SIZE, 51);
    assert_eq!(REQUEST_PI_SIZE, 59);
    assert_eq!(size_of::<Request>(), 59);
    assert_eq!(size_of::<Response>(), 108);
    assert_eq!(size_of::<ResponseHead>(), 12);
    assert_eq!(SENSE_OFFSET, 12);
    assert_eq!(size_of::<ControlRequest>(), 24);
}

/// A command descriptor block in its field.
fn cdb(bytes: &[u8]) -> [u8; CDB_SIZE] {
    let mut field = [0; CDB_SIZE];
    field[..bytes.len()].copy_from_slice(bytes);
    field
}

#[test]
fn a_request_byte_by_byte() {
    let mut request = Request::default();

    request.set(LE, &task(), &cdb(&[0x2a, 1, 2, 3, 4, 5, 6, 7, 8, 9]), None);
    let raw: [u8; 59] = bytes(&request);
    assert_eq!(
        raw[..19],
        [
            1, 255, 0x41, 0x2c, 0, 0, 0, 0, // unit
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // tag
            0, 3, 0 // attribute, priority, CRN
        ]
    );
    assert_eq!(raw[19..29], [0x2a, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(raw[29..], [0; 30]);
}

#[test]
fn a_request_with_protection_information() {
    let mut request = Request::default();
    let protection = Protection {
        out: 0x0102_0304,
        into: 0x0a0b_0c0d,
    };

    request.set(LE, &task(), &[0x7f; 32], Some(protection));
    let raw: [u8; 59] = bytes(&request);
    assert_eq!(raw[19..27], [4, 3, 2, 1, 0x0d, 0x0c, 0x0b, 0x0a]);
    assert_eq!(raw[27..], [0x7f; 32]);

    request.set(BE, &task(), &cdb(&[0x12]), Some(protection));
    let raw: [u8; 59] = bytes(&request);
    assert_eq!(raw[8..16], [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    assert_eq!(raw[19..27], [1, 2, 3, 4, 0x0a, 0x0b, 0x0c, 0x0d]);
    assert_eq!(raw[27], 0x12);
    assert_eq!(raw[28..], [0; 31]);
}

#[test]
fn nothing_is_left_of_the_command_before() {
    let mut request = Request::default();

    request.set(LE, &task(), &[0xff; 32], None);
    request.set(LE, &task(), &[0; 32], None);
    let raw: [u8; 59] = bytes(&request);
    assert_eq!(raw[19..51], [0; 32]);
}

#[test]
fn addresses() {
    assert_eq!(
        Address::new(3, 5).unwrap().to_wire(),
        [1, 3, 0x40, 5, 0, 0, 0, 0]
    );
    assert_eq!(
        Address::new(0, 0x4000 + 16383).unwrap().to_wire(),
        [1, 0, 0x7f, 0xff, 0, 0, 0, 0]
    );
    assert_eq!(Address::new(256, 0), None);
    assert_eq!(Address::new(0, 0x8000), None);
    assert_eq!(Address::new(0, 0xc101), None);
    assert_eq!(Address::new(0, u64::MAX), None);

    assert_eq!(
        Address::from_wire([1, 9, 0, 200, 0, 0, 0, 0]),
        Address::new(9, 200)
    );
    assert_eq!(
        Address::from_wire([1, 9, 0x41, 0x2c, 0, 0, 0, 0]),
        Address::new(9, 16684)
    );
    for bad in [
        [0, 9, 0, 0, 0, 0, 0, 0],
        [2, 9, 0, 0, 0, 0, 0, 0],
        [1, 9, 1, 0, 0, 0, 0, 0],
        [1, 9, 0x80, 0, 0, 0, 0, 0],
        [1, 9, 0xc1, 1, 0, 0, 0, 0],
        [1, 9, 0, 0, 1, 0, 0, 0],
        [1, 9, 0, 0, 0, 0, 0, 1],
    ] {
        assert_eq!(Address::from_wire(bad), None, "{bad:?}");
    }
}

/// The answer to a question, for [`is_absurd`].
fn absurd(question: &[u8], len: usize, answer: &[u8]) -> bool {
    is_absurd(&cdb(question), len, |at| {
        core::array::from_fn(|i| answer.get(at + i).copied().unwrap_or(0))
    })
}

#[test]
fn lists_of_units() {
    let list = |len: u32| absurd(&[0xa0], 4096, &len.to_be_bytes());

    for len in [0, 7, 8, 4088, 8 * 16384, 8 * 0x8001] {
        assert!(!list(len), "{len}");
    }
    for len in [8 * 0x8001 + 1, 1 << 31, u32::MAX - 7, u32::MAX] {
        assert!(list(len), "{len}");
    }
    // Who has no room for the length does not believe it.
    assert!(!absurd(&[0xa0], 3, &[0xff; 4]));
    assert!(!absurd(&[0x28], 4096, &[0xff; 4]));
}

#[test]
fn designators() {
    let page = [0x12, 1, 0x83, 1, 0];
    // One of 8 bytes, one of 2.
    let mut answer = vec![
        0, 0x83, 0, 18, 1, 3, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 2, 1, 0, 2, 9, 9,
    ];

    assert!(!absurd(&page, 256, &answer));
    // Only the length of the page is asked for.
    assert!(!absurd(&page, 4, &answer));
    assert!(!absurd(&page, 21, &answer));
    for size in [0, 1, 3, 255] {
        answer[19] = size;
        assert!(absurd(&page, 256, &answer), "{size}");
    }
    // Another page, and what is no page.
    assert!(!absurd(&[0x12, 1, 0x80, 1, 0], 256, &answer));
    assert!(!absurd(&[0x12, 0, 0x83, 1, 0], 256, &answer));
    // No more of them are looked at.
    let large = [0x12, 1, 0x83, 16, 0];
    assert!(!absurd(&large, 4096, &[0, 0x83, 3, 0xfc]));
    assert!(absurd(&large, 4096, &[0, 0x83, 4, 0]));
    // Nor what was not asked for, whatever the size of the buffer.
    answer[19] = 3;
    assert!(absurd(&[0x12, 1, 0x83, 0, 22], 4096, &answer));
    assert!(!absurd(&[0x12, 1, 0x83, 0, 21], 4096, &answer));
}

proptest! {
    /// Whatever a device answers: what passes ends where its page ends.
    #[test]
    fn designators_end_with_their_page(
        answer in proptest::collection::vec(any::<u8>(), 4..600),
        size in 0u16..600,
    ) {
        let mut answer = answer;
        answer[2..4].copy_from_slice(&size.to_be_bytes());
        if !absurd(&[0x12, 1, 0x83, 2, 88], 600, &answer) && size < 597 {
            let (mut at, end) = (4, 4 + usize::from(size));
            while at < end {
                at += 4 + usize::from(answer.get(at + 3).copied().unwrap_or(0));
            }
            prop_assert_eq!(at, end);
        }
    }
}

#[test]
fn priorities() {
    // No class, and best effort.
    assert_eq!(priority(0), 0);
    assert_eq!(priority(2 << 13 | 7), 0);
    // Real time, from the highest to the lowest level.
    assert_eq!(priority(1 << 13), 1);
    assert_eq!(priority(1 << 13 | 7), 8);
    assert_eq!(priority(3 << 13), 15);
}

fn head(response: u8) -> ResponseHead {
    ResponseHead {
        sense_len: 0,
        resid: 0,
        status_qualifier: 0,
        status: 2,
        response,
    }
}

#[test]
fn every_response_code() {
    for code in 0..=u8::MAX {
        let verdict = judge(LE, &head(code));
        let (host, status) = match code {
            0 => (HostByte::OK, 2),
            1 => (HostByte::ERROR, 2),
            2 => (HostByte::ABORT, 2),
            3 => (HostByte::BAD_TARGET, 2),
            4 => (HostByte::RESET, 2),
            5 => (HostByte::BUS_BUSY, 2),
            6 => (HostByte::TRANSPORT_DISRUPTED, 2),
            7 => (HostByte::BAD_TARGET, 2),
            8 => (HostByte::OK, 0x18),
            _ => (HostByte::ERROR, 2),
        };
        assert_eq!((verdict.host, verdict.status), (host, status), "{code}");
        assert_eq!(verdict.unknown, code > 9, "{code}");
    }
}

#[test]
fn a_response_that_the_device_did_not_write_is_no_success() {
    let mut response = Response::default();
    for _ in 0..2 {
        let raw: [u8; 108] = bytes(&response);
        let verdict = judge(LE, &head(raw[11]));
        assert!(verdict.unknown);
        assert_eq!(verdict.host, HostByte::ERROR);
        response.reset();
    }
}

#[test]
fn task_management() {
    let address = Address::new(7, 300).unwrap();
    let unit = [1, 7, 0x41, 0x2c, 0, 0, 0, 0];
    for (function, subtype, tag) in [
        (
            Function::AbortTask(0x0102_0304),
            0,
            [4, 3, 2, 1, 0, 0, 0, 0],
        ),
        (Function::ResetNexus, 4, [0; 8]),
        (Function::ResetUnit, 5, [0; 8]),
        (Function::QueryTask(0x0506), 6, [6, 5, 0, 0, 0, 0, 0, 0]),
    ] {
        let raw: [u8; 24] = bytes(&ControlRequest::new(LE, function, address));
        assert_eq!(raw[..4], [0; 4]);
        assert_eq!(raw[4..8], [subtype, 0, 0, 0]);
        assert_eq!(raw[8..16], unit);
        assert_eq!(raw[16..], tag);
    }
    for response in 0..=u8::MAX {
        assert_eq!(
            function_succeeded(response),
            response == 0 || response == 10
        );
        let has = match response {
            0 => Some(false),
            10 => Some(true),
            _ => None,
        };
        assert_eq!(is_in_task_set(response), has);
    }
}

fn event(order: Order, kind: u32, lun: [u8; 8], reason: u32) -> Event {
    let mut raw = [0; EVENT_SIZE];
    let write = |value: u32| match order.little_endian {
        true => value.to_le_bytes(),
        false => value.to_be_bytes(),
    };
    raw[..4].copy_from_slice(&write(kind));
    raw[4..12].copy_from_slice(&lun);
    raw[12..].copy_from_slice(&write(reason));
    Event::parse(order, &raw)
}

#[test]
fn events() {
    const UNIT: [u8; 8] = [1, 3, 0, 4, 0, 0, 0, 0];
    let unit = Address::new(3, 4).unwrap();

    for order in [LE, BE] {
        for (kind, reason, what) in [
            (0, 0, Happening::Nothing),
            (1, 0, Happening::Reset(unit)),
            (1, 1, Happening::Added(unit)),
            (1, 2, Happening::Removed(unit)),
            (1, 3, Happening::Unknown(1, 3)),
            (2, 0, Happening::Unknown(2, 0)),
            (3, 0x092a, Happening::Changed(unit, 0x2a, 9)),
            (3, 0x0e3f, Happening::Changed(unit, 0x3f, 0x0e)),
            (4, 0, Happening::Unknown(4, 0)),
        ] {
            let found = event(order, kind, UNIT, reason);
            assert_eq!(found.what, what);
            assert!(!found.missed);
        }
        let missed = event(order, 0x8000_0001, UNIT, 1);
        assert!(missed.missed);
        assert_eq!(missed.what, Happening::Added(unit));
    }
    // An event of no unit does nothing to any.
    let found = event(LE, 1, [0; 8], 2);
    assert_eq!(found.what, Happening::Unknown(1, 2));
    // A buffer that the device did not write.
    let found = Event::parse(LE, &[0; EVENT_SIZE]);
    assert_eq!(found.what, Happening::Nothing);
    assert!(!found.missed);
}

#[test]
fn only_questions_and_flushes_are_sent_twice() {
    // INQUIRY, READ CAPACITY, REPORT LUNS, SYNCHRONIZE CACHE, PERSISTENT RESERVE IN.
    for code in [0x12, 0x25, 0xa0, 0x35, 0x91, 0x5e] {
        assert!(is_repeatable([code, 0]), "{code:#x}");
    }
    // REPORT ZONES, REPORT ZONE DOMAINS; READ CAPACITY(16), GET LBA STATUS, GET STREAM STATUS, GET
    // PHYSICAL ELEMENT STATUS; REPORT TARGET PORT GROUPS, REPORT SUPPORTED OPERATION CODES. A logical
    // unit's number in the upper bits, as of SCSI-2, does not count.
    for operation in [
        [0x95, 0],
        [0x95, 7],
        [0x9e, 0x10],
        [0x9e, 0x32],
        [0x9e, 0x16],
        [0x9e, 0x17],
        [0xa3, 0x0a],
        [0xa3, 0x0c],
    ] {
        assert!(is_repeatable(operation), "{operation:#x?}");
    }
    // ZONE ACTIVATE; STREAM CONTROL, BACKGROUND CONTROL, REMOVE ELEMENT AND TRUNCATE, RESTORE
    // ELEMENTS AND REBUILD, what is not known; a vendor's own.
    for operation in [
        [0x95, 8],
        [0x9e, 0x14],
        [0x9e, 0x15],
        [0x9e, 0x18],
        [0x9e, 0x19],
        [0x9e, 0x1a],
        [0xa3, 0x1f],
    ] {
        assert!(!is_repeatable(operation), "{operation:#x?}");
    }
    // PERSISTENT RESERVE OUT, RESERVE, COMPARE AND WRITE, EXTENDED COPY; REQUEST SENSE, which takes
    // what it tells; READ(6), WRITE(6) and SPACE of a tape, which move it; ATA PASS-THROUGH; ZONING
    // OUT.
    for code in [
        0x5f, 0x16, 0x56, 0x89, 0x83, 0x03, 0x08, 0x0a, 0x11, 0x85, 0xa1, 0x94,
    ] {
        assert!(!is_repeatable([code, 0]), "{code:#x}");
    }
}

proptest! {
    #[test]
    fn nothing_that_a_device_answers_is_out_of_bounds(
        sense_len: u32, resid: u32, status: u8, response: u8, little_endian: bool,
    ) {
        let head = ResponseHead { sense_len, resid, status_qualifier: 0, status, response };
        let verdict = judge(Order { little_endian }, &head);
        prop_assert!(verdict.sense_len <= SENSE_SIZE);
        prop_assert!(SENSE_OFFSET + verdict.sense_len <= size_of::<Response>());
    }

    #[test]
    fn only_code_zero_and_eight_leave_the_host_byte_alone(status: u8, response: u8) {
        let head = ResponseHead { sense_len: 0, resid: 0, status_qualifier: 0, status, response };
        let verdict = judge(LE, &head);
        prop_assert_eq!(verdict.host == HostByte::OK, response == 0 || response == 8);
    }

    #[test]
    fn an_address_survives_the_way(target in 0u32..256, lun in prop_oneof![0u64..256, 0x4000u64..0x8000]) {
        let address = Address::new(target, lun).unwrap();
        let wire = address.to_wire();
        let back = Address::from_wire(wire).unwrap();
        // In flat format, small numbers have two names.
        prop_assert_eq!(back.target, address.target);
        prop_assert_eq!(back.lun & 0x3fff, address.lun & 0x3fff);
        prop_assert_eq!(back.to_wire(), wire);
    }

    #[test]
    fn no_event_names_an_address_that_is_none(raw: Vec<u8>, little_endian: bool) {
        let found = Event::parse(Order { little_endian }, &raw);
        if let Happening::Added(a) | Happening::Removed(a) | Happening::Reset(a)
            | Happening::Changed(a, ..) = found.what
        {
            prop_assert!(a.lun < 0x8000);
            prop_assert_eq!(Address::new(a.target.into(), a.lun.into()), Some(a));
        }
    }

    #[test]
    fn a_header_has_all_of_its_field(cdb: [u8; 32], pi: bool) {
        let mut request = Request::default();
        request.set(LE, &task(), &cdb, pi.then(Protection::default));
        let raw: [u8; 59] = bytes(&request);
        let at = if pi { 27 } else { 19 };
        prop_assert_eq!(&raw[at..at + 32], &cdb);
    }
}
