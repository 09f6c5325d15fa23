// SPDX-License-Identifier: GPL-2.0

//! Unit tests of what is pure in this driver: nothing here needs a device, or memory.

#[kernel::macros::kunit_tests(virtio_scsi)]
mod tests {
    use crate::{
        limits::{
            Config,
            Queues, //
        },
        wire::{
            function_succeeded,
            is_absurd,
            is_bad_target,
            is_in_task_set,
            is_repeatable,
            judge,
            priority,
            Address,
            ControlRequest,
            Event,
            Function,
            Happening,
            Order,
            Protection,
            Request,
            Response,
            ResponseHead,
            Task,
            CDB_SIZE,
            EVENT_SIZE,
            REQUEST_PI_SIZE,
            REQUEST_SIZE,
            RESPONSE_NONE,
            SENSE_OFFSET,
            SENSE_SIZE, //
        },
    };
    use kernel::transmute::AsBytes;
    use storage::scsi::{
        HostByte,
        Limits, //
    };

    const LE: Order = Order {
        little_endian: true,
    };
    const BE: Order = Order {
        little_endian: false,
    };

    // --- wire ---

    const TASK: Task = Task {
        address: Address {
            target: 255,
            lun: 16684,
        },
        tag: 0x1122_3344_5566_7788,
        priority: 3,
    };

    /// A command descriptor block in its field.
    fn cdb(bytes: &[u8]) -> [u8; CDB_SIZE] {
        let mut field = [0; CDB_SIZE];

        field[..bytes.len()].copy_from_slice(bytes);
        field
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

    #[test]
    fn request_byte_by_byte() {
        let mut request = Request::default();

        request.set(LE, &TASK, &cdb(&[0x2a, 1, 2, 3, 4, 5, 6, 7, 8, 9]), None);
        let raw = request.as_bytes();
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
    fn request_with_protection_information() {
        let mut request = Request::default();
        let protection = Protection {
            out: 0x0102_0304,
            into: 0x0a0b_0c0d,
        };

        request.set(LE, &TASK, &[0x7f; CDB_SIZE], Some(protection));
        let raw = request.as_bytes();
        assert_eq!(raw[19..27], [4, 3, 2, 1, 0x0d, 0x0c, 0x0b, 0x0a]);
        assert_eq!(raw[27..], [0x7f; CDB_SIZE]);

        request.set(BE, &TASK, &cdb(&[0x12]), Some(protection));
        let raw = request.as_bytes();
        assert_eq!(raw[8..16], [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        assert_eq!(raw[19..27], [1, 2, 3, 4, 0x0a, 0x0b, 0x0c, 0x0d]);
        assert_eq!(raw[27], 0x12);
        assert_eq!(raw[28..], [0; 31]);
    }

    #[test]
    fn nothing_is_left_of_the_command_before() {
        let mut request = Request::default();

        request.set(LE, &TASK, &[0xff; CDB_SIZE], None);
        request.set(LE, &TASK, &[0; CDB_SIZE], None);
        assert_eq!(request.as_bytes()[19..51], [0; CDB_SIZE]);
    }

    #[test]
    fn addresses() {
        for (target, lun, wire) in [
            (3, 5, Some([1, 3, 0x40, 5, 0, 0, 0, 0])),
            (0, 0x4000 + 16383, Some([1, 0, 0x7f, 0xff, 0, 0, 0, 0])),
            (255, 0x7fff, Some([1, 255, 0x7f, 0xff, 0, 0, 0, 0])),
            (256, 0, None),
            (0, 0x8000, None),
            (0, 0xc101, None),
            (0, u64::MAX, None),
        ] {
            assert_eq!(Address::new(target, lun).map(Address::to_wire), wire);
        }
        for (wire, address) in [
            ([1, 9, 0, 200, 0, 0, 0, 0], Address::new(9, 200)),
            ([1, 9, 0x41, 0x2c, 0, 0, 0, 0], Address::new(9, 16684)),
            ([0, 9, 0, 0, 0, 0, 0, 0], None),
            ([2, 9, 0, 0, 0, 0, 0, 0], None),
            ([1, 9, 1, 0, 0, 0, 0, 0], None),
            ([1, 9, 0x80, 0, 0, 0, 0, 0], None),
            ([1, 9, 0xc1, 1, 0, 0, 0, 0], None),
            ([1, 9, 0, 0, 1, 0, 0, 0], None),
            ([1, 9, 0, 0, 0, 0, 0, 1], None),
        ] {
            assert_eq!(Address::from_wire(wire), address);
        }
    }

    #[test]
    fn priorities() {
        // No class, and best effort.
        assert_eq!(priority(0), 0);
        assert_eq!(priority(2 << 13 | 7), 0);
        // Real time, from the highest to the lowest level; idle.
        assert_eq!(priority(1 << 13), 1);
        assert_eq!(priority(1 << 13 | 7), 8);
        assert_eq!(priority(3 << 13), 15);
    }

    /// An answer with the status CHECK CONDITION.
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
                2 => (HostByte::ABORT, 2),
                3 | 7 => (HostByte::BAD_TARGET, 2),
                4 => (HostByte::RESET, 2),
                5 => (HostByte::BUS_BUSY, 2),
                6 => (HostByte::TRANSPORT_DISRUPTED, 2),
                // A reservation of another.
                8 => (HostByte::OK, 0x18),
                _ => (HostByte::ERROR, 2),
            };

            assert!(verdict.host == host);
            assert_eq!(verdict.status, status);
            assert_eq!(verdict.unknown, code > 9);
            assert_eq!(is_bad_target(code), code == 3);
            assert!(!verdict.is_success());
        }
    }

    #[test]
    fn success() {
        let good = ResponseHead {
            status: 0,
            ..head(0)
        };

        assert!(judge(LE, &good).is_success());
        // A device that has written nothing.
        let unwritten = ResponseHead {
            response: RESPONSE_NONE,
            ..good
        };
        assert!(!judge(LE, &unwritten).is_success());
        assert!(judge(LE, &unwritten).unknown);
    }

    #[test]
    fn no_length_is_out_of_bounds() {
        for (said, sense_len) in [
            (0, 0),
            (18, 18),
            (96, SENSE_SIZE),
            (97, SENSE_SIZE),
            (u32::MAX, SENSE_SIZE),
        ] {
            for order in [LE, BE] {
                let verdict = judge(
                    order,
                    &ResponseHead {
                        // The same in both directions.
                        sense_len: order.native(said),
                        resid: order.native(512),
                        ..head(0)
                    },
                );

                assert_eq!(verdict.sense_len, sense_len);
                assert_eq!(verdict.residual, 512);
                assert!(SENSE_OFFSET + verdict.sense_len <= size_of::<Response>());
            }
        }
    }

    /// Whether an answer to this question is refused.
    fn absurd(question: &[u8], len: usize, answer: &[u8]) -> bool {
        is_absurd(&cdb(question), len, |at| {
            core::array::from_fn(|i| answer.get(at + i).copied().unwrap_or(0))
        })
    }

    #[test]
    fn lists_of_units() {
        for (len, expected) in [
            (0, false),
            (7, false),
            (8, false),
            (4088, false),
            (8 * 16384, false),
            (8 * 0x8001, false),
            (8 * 0x8001 + 1, true),
            (1 << 31, true),
            (u32::MAX - 7, true),
            (u32::MAX, true),
        ] {
            assert_eq!(absurd(&[0xa0], 4096, &len.to_be_bytes()), expected);
        }
        // Who has no room for the length does not believe it.
        assert!(!absurd(&[0xa0], 3, &[0xff; 4]));
        assert!(!absurd(&[0x28], 4096, &[0xff; 4]));
    }

    #[test]
    fn designators() {
        let page = [0x12, 1, 0x83, 1, 0];
        // One of 8 bytes, one of 2.
        let mut answer = [
            0, 0x83, 0, 18, 1, 3, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 2, 1, 0, 2, 9, 9,
        ];

        assert!(!absurd(&page, 256, &answer));
        // Only the length of the page is asked for.
        assert!(!absurd(&page, 4, &answer));
        assert!(!absurd(&page, 21, &answer));
        for size in [0, 1, 3, 255] {
            answer[19] = size;
            assert!(absurd(&page, 256, &answer));
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

    #[test]
    fn task_management() {
        let address = Address {
            target: 7,
            lun: 300,
        };

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
            let request = ControlRequest::new(LE, function, address);
            let raw = request.as_bytes();

            assert_eq!(raw[..4], [0; 4]);
            assert_eq!(raw[4..8], [subtype, 0, 0, 0]);
            assert_eq!(raw[8..16], [1, 7, 0x41, 0x2c, 0, 0, 0, 0]);
            assert_eq!(raw[16..], tag);
        }
        for response in 0..=u8::MAX {
            let has = match response {
                0 => Some(false),
                10 => Some(true),
                _ => None,
            };

            assert_eq!(is_in_task_set(response), has);
            assert_eq!(function_succeeded(response), has.is_some());
        }
    }

    /// An event about unit 4 of target 3.
    fn event(order: Order, kind: u32, reason: u32) -> [u8; EVENT_SIZE] {
        let mut raw = [0; EVENT_SIZE];
        let write = |value: u32| match order.little_endian {
            true => value.to_le_bytes(),
            false => value.to_be_bytes(),
        };

        raw[..4].copy_from_slice(&write(kind));
        raw[4..12].copy_from_slice(&[1, 3, 0, 4, 0, 0, 0, 0]);
        raw[12..].copy_from_slice(&write(reason));
        raw
    }

    #[test]
    fn events() {
        const UNIT: Address = Address { target: 3, lun: 4 };

        for order in [LE, BE] {
            for (kind, reason, what) in [
                (0, 0, Happening::Nothing),
                (1, 0, Happening::Reset(UNIT)),
                (1, 1, Happening::Added(UNIT)),
                (1, 2, Happening::Removed(UNIT)),
                (1, 3, Happening::Unknown(1, 3)),
                (2, 0, Happening::Unknown(2, 0)),
                (3, 0x092a, Happening::Changed(UNIT, 0x2a, 9)),
                (3, 0x0e3f, Happening::Changed(UNIT, 0x3f, 0x0e)),
                (4, 0, Happening::Unknown(4, 0)),
            ] {
                for missed in [false, true] {
                    // VIRTIO_SCSI_T_EVENTS_MISSED.
                    let flag = u32::from(missed) << 31;
                    let raw = event(order, kind | flag, reason);
                    let what = match what {
                        Happening::Unknown(kind, reason) => Happening::Unknown(kind | flag, reason),
                        what => what,
                    };

                    assert_eq!(Event::parse(order, &raw), Event { missed, what });
                }
            }
        }
        // An event of no unit does nothing to any.
        let mut raw = event(LE, 1, 2);
        raw[4..12].fill(0);
        assert_eq!(Event::parse(LE, &raw).what, Happening::Unknown(1, 2));
        // A buffer that the device did not write, or not all of it.
        for size in [0, 11, EVENT_SIZE] {
            let nothing = Event {
                missed: false,
                what: Happening::Nothing,
            };
            assert_eq!(Event::parse(LE, &[0; EVENT_SIZE][..size]), nothing);
        }
    }

    #[test]
    fn only_questions_and_flushes_are_sent_twice() {
        for operation in [
            // INQUIRY, READ CAPACITY, REPORT LUNS, SYNCHRONIZE CACHE, PERSISTENT RESERVE IN.
            [0x12, 0],
            [0x25, 0],
            [0xa0, 0],
            [0x35, 0],
            [0x91, 0],
            [0x5e, 0],
            // REPORT ZONES, REPORT ZONE DOMAINS.
            [0x95, 0],
            [0x95, 7],
            // READ CAPACITY(16), also with the number of a unit, as of SCSI-2; GET LBA STATUS.
            [0x9e, 0x10],
            [0x9e, 0x32],
            // REPORT TARGET PORT GROUPS, REPORT SUPPORTED OPERATION CODES.
            [0xa3, 0x0a],
            [0xa3, 0x0c],
        ] {
            assert!(is_repeatable(operation));
        }
        for operation in [
            // ZONE ACTIVATE; STREAM CONTROL, BACKGROUND CONTROL, REMOVE ELEMENT AND TRUNCATE,
            // RESTORE ELEMENTS AND REBUILD; a vendor's own.
            [0x95, 8],
            [0x9e, 0x14],
            [0x9e, 0x15],
            [0x9e, 0x18],
            [0x9e, 0x19],
            [0xa3, 0x1f],
            // PERSISTENT RESERVE OUT, RESERVE, COMPARE AND WRITE, EXTENDED COPY.
            [0x5f, 0],
            [0x16, 0],
            [0x56, 0],
            [0x89, 0],
            [0x83, 0],
            // REQUEST SENSE, which takes what it tells; READ(6), WRITE(6), SPACE of a tape.
            [0x03, 0],
            [0x08, 0],
            [0x0a, 0],
            [0x11, 0],
            // ATA PASS-THROUGH; ZONING OUT.
            [0x85, 0],
            [0xa1, 0],
            [0x94, 0],
        ] {
            assert!(!is_repeatable(operation));
        }
    }

    // --- limits ---

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

    /// The limits of that one.
    const USUAL: Limits = Limits {
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
    };

    #[test]
    fn a_usual_device() {
        assert_eq!(qemu().limits(), Ok(USUAL));
    }

    #[test]
    fn a_device_that_says_nothing() {
        let config = Config {
            queues: Queues::new(0, 0),
            ring_size: 128,
            ..Config::default()
        };
        let expected = Limits {
            nr_hw_queues: 1,
            can_queue: 128,
            cmd_per_lun: 1,
            sg_tablesize: 1,
            max_id: 1,
            max_lun: 0x4001,
            ..USUAL
        };

        assert_eq!(config.limits(), Ok(expected));
    }

    #[test]
    fn many_segments_are_not_truncated() {
        for seg_max in [65535, 65536, 65537, u32::MAX] {
            let config = Config {
                seg_max,
                ring_size: 1 << 20,
                ..qemu()
            };
            let expected = Limits {
                can_queue: u16::MAX,
                sg_tablesize: u16::MAX,
                ..USUAL
            };

            assert_eq!(config.limits(), Ok(expected));
        }
    }

    #[test]
    fn what_no_address_can_name_is_not_offered() {
        let config = Config {
            max_target: u16::MAX,
            max_lun: u32::MAX,
            ..qemu()
        };

        assert_eq!(config.limits(), Ok(USUAL));
    }

    #[test]
    fn no_chain_is_longer_than_its_ring() {
        for (ring_size, protection, sg_tablesize) in [
            (0, false, None),
            (2, false, None),
            (3, false, Some(1)),
            (3, true, None),
            (4, true, Some(1)),
            (64, false, Some(62)),
            (64, true, Some(31)),
        ] {
            let config = Config {
                ring_size,
                protection,
                ..qemu()
            };
            let limits = config.limits();

            assert_eq!(limits.ok().map(|limits| limits.sg_tablesize), sg_tablesize);
        }
    }

    #[test]
    fn a_command_can_move_a_page() {
        let least = (kernel::page::PAGE_SIZE / 512) as u32;

        for (max_sectors, expected) in [
            (0, Some(0xffff)),
            (1, None),
            (least - 1, None),
            (least, Some(least)),
            (u32::MAX, Some(u32::MAX)),
        ] {
            let config = Config {
                max_sectors,
                ..qemu()
            };
            let limits = config.limits();

            assert_eq!(limits.ok().map(|limits| limits.max_sectors), expected);
        }
    }

    #[test]
    fn one_queue_always_interrupts() {
        for (all, wanted, interrupting, polled) in [
            (0, 0, 1, 0),
            (1, 1, 1, 0),
            (2, 1, 1, 1),
            (4, 2, 2, 2),
            (4, u32::MAX, 1, 3),
        ] {
            let queues = Queues::new(all, wanted);

            assert_eq!(queues.interrupting, interrupting);
            assert_eq!(queues.polled, polled);
            assert_eq!(queues.all(), all.max(1));
        }
    }
}
