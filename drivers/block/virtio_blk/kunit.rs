// SPDX-License-Identifier: GPL-2.0

//! Unit tests of what is pure in this driver: nothing here needs a device, or memory.
//!
//! Not of [`DiskIndex`](crate::names::DiskIndex), whose indices are those of real disks.

#[kernel::macros::kunit_tests(virtio_blk)]
mod tests {
    use crate::{
        flush::{
            Plan,
            Step, //
        },
        limits::{
            check_capacity,
            Config,
            Discard,
            Limits,
            Refusal,
            Topology,
            Transport,
            Zoned, //
        },
        names::{
            first_minor,
            DiskName,
            MAX_DISKS,
            MINORS, //
        },
        wire::{
            appended_at,
            judge,
            status,
            Command,
            Header,
            Lifetime,
            Outcome,
            Range,
            LIFETIME,
            MEASURE,
            NO_FOOTER,
            SERIAL, //
        },
        zones::{
            count,
            parse,
            BadZone,
            ZoneMap,
            DESCRIPTOR,
            REPORT_HEADER, //
        },
    };
    use kernel::{
        fmt::{
            self,
            Write, //
        },
        prelude::*,
        transmute::AsBytes, //
    };
    use storage::{
        block::{
            limits::Zones,
            zoned::{
                Zone,
                ZoneCondition,
                ZoneType, //
            },
            Op,
            Status, //
        },
        virtio::frame::Content, //
    };

    /// What is still to come of a text that is expected.
    struct Rest<'a>(&'a str);

    impl Write for Rest<'_> {
        fn write_str(&mut self, written: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    /// Whether it is printed as `text`.
    fn prints(what: impl fmt::Display, text: &str) -> bool {
        let mut rest = Rest(text);

        rest.write_fmt(fmt!("{}", what)).is_ok() && rest.0.is_empty()
    }

    // --- wire ---

    /// Command, code, whether the header names a sector, and what lies beside the frame.
    const COMMANDS: [(Command, u8, bool, Content); 15] = [
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

    #[test]
    fn header_byte_by_byte() {
        let header = Header::new(true, Command::Write, 0x4003, 0x1122_3344_5566_7788);

        assert_eq!(
            header.as_bytes(),
            [
                1, 0, 0, 0, // VIRTIO_BLK_T_OUT
                0x03, 0x40, 0, 0, // ioprio
                0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // sector
            ]
        );
    }

    #[test]
    fn header_of_a_big_endian_device() {
        let header = Header::new(false, Command::GetId, 2, 9);
        assert_eq!(
            header.as_bytes(),
            [0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        let header = Header::new(false, Command::Read, 0, 9);
        assert_eq!(header.as_bytes()[8..], [0, 0, 0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn every_command() {
        for (command, code, has_sector, content) in COMMANDS {
            // The highest bit is not the device's.
            let header = Header::new(true, command, 0, u64::MAX);
            let sector = if has_sector { !MEASURE } else { 0 };

            assert_eq!(header.as_bytes()[..4], [code, 0, 0, 0]);
            assert_eq!(header.as_bytes()[8..], sector.to_le_bytes());
            assert_eq!(command.content(), content);
        }
    }

    #[test]
    fn every_operation_of_the_block_layer() {
        for (op, command) in [
            (Op::READ, Command::Read),
            (Op::WRITE, Command::Write),
            (Op::FLUSH, Command::Flush),
            (Op::DISCARD, Command::Discard),
            (Op::SECURE_ERASE, Command::SecureErase),
            (Op::WRITE_ZEROES, Command::WriteZeroes),
            (Op::ZONE_APPEND, Command::ZoneAppend),
            (Op::ZONE_OPEN, Command::ZoneOpen),
            (Op::ZONE_CLOSE, Command::ZoneClose),
            (Op::ZONE_FINISH, Command::ZoneFinish),
            (Op::ZONE_RESET, Command::ZoneReset),
            (Op::ZONE_RESET_ALL, Command::ZoneResetAll),
        ] {
            // Only of the driver's own do a flag and the sector tell more.
            assert_eq!(Command::of(op, false, 0), Some(command));
            assert_eq!(Command::of(op, true, LIFETIME), Some(command));
        }
        for (flagged, sector, command) in [
            (true, LIFETIME, Command::ZoneReport),
            (false, SERIAL, Command::GetId),
            (false, LIFETIME, Command::GetLifetime),
            (false, MEASURE | LIFETIME, Command::Read),
        ] {
            assert_eq!(Command::of(Op::DRV_IN, flagged, sector), Some(command));
        }
    }

    #[test]
    fn what_moves_a_write_pointer_is_not_sent_twice() {
        for (command, ..) in COMMANDS {
            let moves = matches!(
                command,
                Command::Write | Command::WriteZeroes | Command::ZoneAppend
            );
            let appends = command == Command::ZoneAppend;

            assert_eq!(command.is_repeatable_on_zones(), !moves);
            assert_eq!(command.is_repeatable(), !appends);
            assert!((command.unanswered() == Status::TRANSPORT) == appends);
        }
    }

    #[test]
    fn range_byte_by_byte() {
        let range = (0x1122_3344_5566_7788, 0x89ab_cdef);
        let mut expected = [
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // sector
            0xef, 0xcd, 0xab, 0x89, // count of sectors
            1, 0, 0, 0, // VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
        ];

        assert_eq!(Range::new(range, true).as_bytes(), expected);
        expected[12] = 0;
        assert_eq!(Range::new(range, false).as_bytes(), expected);
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
                1 | 3 | 4 => Outcome::Error,
                2 => Outcome::Unsupported,
                5 => Outcome::TooManyOpen,
                6 => Outcome::TooManyActive,
                _ => Outcome::Nonsense,
            };

            assert_eq!(judge(status, 513, 513, true), expected);
            // An old device may say any length.
            assert_eq!(judge(status, 0, 513, false), expected);
        }
    }

    #[test]
    fn one_byte_too_few_is_no_success() {
        for expected in [1, 2, 21, 513, 4097] {
            assert_eq!(judge(0, expected - 1, expected, true), Outcome::Nonsense);
            assert_eq!(judge(0, expected, expected, true), Outcome::Ok);
            assert_eq!(judge(0, expected + 1, expected, true), Outcome::Ok);
        }
    }

    #[test]
    fn a_footer_that_was_not_written_is_no_success() {
        assert_eq!(judge(status(NO_FOOTER), 513, 513, true), Outcome::Nonsense);
        assert_eq!(judge(status(NO_FOOTER), 0, 0, false), Outcome::Nonsense);
    }

    #[test]
    fn outcomes() {
        for (outcome, status) in [
            (Outcome::Ok, Status::OK),
            (Outcome::Unsupported, Status::NOTSUPP),
            (Outcome::Error, Status::IOERR),
            (Outcome::Nonsense, Status::IOERR),
            (Outcome::TooManyOpen, Status::ZONE_OPEN_RESOURCE),
            (Outcome::TooManyActive, Status::ZONE_ACTIVE_RESOURCE),
        ] {
            assert!(Status::from(outcome) == status);
            assert_eq!(Outcome::from_byte(outcome.to_byte()), outcome);
        }
        assert_eq!(Outcome::from_byte(6), Outcome::Nonsense);
        assert_eq!(Outcome::from_byte(0xff), Outcome::Nonsense);
    }

    #[test]
    fn lifetime() {
        let lifetime = Lifetime {
            pre_eol_info: 2,
            typ_a: 0x1234,
            typ_b: 11,
        };

        assert_eq!(Lifetime::parse(&[2, 0, 0x34, 0x12, 11, 0]), Some(lifetime));
        assert_eq!(Lifetime::parse(&[0; 5]), None);
    }

    // --- flush ---

    #[test]
    fn flushes_stand_on_their_sides_of_the_data() {
        const PRE: Option<Step> = Some(Step::Preflush);
        const DATA: Option<Step> = Some(Step::Data);
        const POST: Option<Step> = Some(Step::Postflush);

        for (preflush, data, fua, steps) in [
            (false, false, false, [None, None, None]),
            (true, false, false, [PRE, None, None]),
            (false, true, false, [DATA, None, None]),
            (true, true, false, [PRE, DATA, None]),
            (false, true, true, [DATA, POST, None]),
            (true, true, true, [PRE, DATA, POST]),
            // FUA without data asks for nothing beyond the preflush.
            (false, false, true, [None, None, None]),
            (true, false, true, [PRE, None, None]),
        ] {
            let plan = Plan {
                preflush,
                data,
                fua,
            };
            let mut done = None;

            for step in steps {
                assert_eq!(plan.next(done), step);
                // One that is not there is the end.
                done = step;
                if step.is_none() {
                    break;
                }
            }
            assert!(done.is_none() || plan.next(done).is_none());
        }
    }

    // --- names ---

    #[test]
    fn names_that_people_know() {
        for (index, name) in [
            (0, "vda"),
            (1, "vdb"),
            (25, "vdz"),
            (26, "vdaa"),
            (27, "vdab"),
            (51, "vdaz"),
            (52, "vdba"),
            (26 + 26 * 26 - 1, "vdzz"),
            (26 + 26 * 26, "vdaaa"),
            (u32::MAX, "vdmwlqkwv"),
        ] {
            assert!(prints(DiskName(index), name));
        }
        assert!(!prints(DiskName(0), "vdaa"));
        assert!(!prints(DiskName(26), "vda"));
    }

    #[test]
    fn minors() {
        assert_eq!(MINORS, 16);
        assert_eq!(first_minor(0), 0);
        assert_eq!(first_minor(2), 32);
        // The last minor of the last disk is the last one of 20 bits.
        assert_eq!(first_minor(MAX_DISKS - 1) + MINORS - 1, (1 << 20) - 1);
    }

    // --- zones ---

    /// Three zones and a half.
    const MAP: ZoneMap = ZoneMap {
        zone_sectors: 1024,
        capacity: 3584,
    };

    /// A report of one zone: capacity, start, write pointer, type, state.
    fn report(
        cap: u64,
        start: u64,
        wp: u64,
        kind: u8,
        state: u8,
    ) -> [u8; REPORT_HEADER + DESCRIPTOR] {
        let mut report = [0; REPORT_HEADER + DESCRIPTOR];
        let zone = &mut report[REPORT_HEADER..];

        zone[..8].copy_from_slice(&cap.to_le_bytes());
        zone[8..16].copy_from_slice(&start.to_le_bytes());
        zone[16..24].copy_from_slice(&wp.to_le_bytes());
        zone[24] = kind;
        zone[25] = state;
        report[0] = 1;
        report
    }

    #[test]
    fn a_zone() {
        let zone = Zone {
            start: 1024,
            len: 1024,
            capacity: 1000,
            write_pointer: 1500,
            kind: ZoneType::SequentialRequired,
            condition: ZoneCondition::ImplicitOpen,
        };
        assert_eq!(
            parse(&MAP, &report(1000, 1024, 1500, 2, 2), 0, 1024),
            Ok(zone)
        );

        // The last one is smaller; empty, its write pointer is where it begins.
        let zone = Zone {
            start: 3072,
            len: 512,
            capacity: 512,
            write_pointer: 3072,
            kind: ZoneType::SequentialPreferred,
            condition: ZoneCondition::Empty,
        };
        assert_eq!(parse(&MAP, &report(512, 3072, 7, 3, 1), 0, 3072), Ok(zone));
    }

    #[test]
    fn states_of_zones() {
        for state in 0..=u8::MAX {
            let condition = match state {
                1 => Ok(ZoneCondition::Empty),
                2 => Ok(ZoneCondition::ImplicitOpen),
                3 => Ok(ZoneCondition::ExplicitOpen),
                4 => Ok(ZoneCondition::Closed),
                13 => Ok(ZoneCondition::ReadOnly),
                14 => Ok(ZoneCondition::Full),
                15 => Ok(ZoneCondition::Offline),
                // No write pointer where there must be one.
                0 => Err(BadZone::Mixed(2, 0)),
                _ => Err(BadZone::State(state)),
            };
            let zone = parse(&MAP, &report(1024, 0, 8, 2, state), 0, 0);

            assert_eq!(zone.map(|zone| zone.condition), condition);
        }
        // None that the device names where there is none.
        let zone = parse(&MAP, &report(1024, 1024, u64::MAX - 3, 1, 0), 0, 1024);
        assert_eq!(zone.map(|zone| zone.write_pointer), Ok(2048));
    }

    #[test]
    fn types_of_zones() {
        for kind in 0..=u8::MAX {
            let expected = match kind {
                1 => Ok(ZoneType::Conventional),
                2 => Ok(ZoneType::SequentialRequired),
                3 => Ok(ZoneType::SequentialPreferred),
                _ => Err(BadZone::Type(kind)),
            };
            let zone = parse(&MAP, &report(1024, 0, 8, kind, 1), 0, 0);

            assert_eq!(zone.map(|zone| zone.kind), expected);
        }
    }

    #[test]
    fn zones_that_are_refused() {
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
        // Not in the report at all.
        let report = report(1024, 0, 0, 2, 1);
        assert_eq!(parse(&MAP, &report, 1, 0), Err(BadZone::Start(u64::MAX)));
    }

    #[test]
    fn no_more_zones_than_the_report_has_room_for() {
        let mut report = [0; REPORT_HEADER + 2 * DESCRIPTOR];

        assert_eq!(REPORT_HEADER, 64);
        assert_eq!(DESCRIPTOR, 64);
        for (said, zones) in [(0, 0), (1, 1), (2, 2), (3, 2), (u64::MAX, 2)] {
            report[..8].copy_from_slice(&said.to_le_bytes());
            assert_eq!(count(&report), zones);
        }
        assert_eq!(count(&report[..REPORT_HEADER + DESCRIPTOR - 1]), 0);
        assert_eq!(count(&[]), 0);
    }

    #[test]
    fn appends() {
        for (zone, at, bytes, holds) in [
            (1024, 1024, 4096, true),
            (1024, 2040, 4096, true),
            (1024, 2041, 4096, false),
            (1024, 1023, 512, false),
            (1024, u64::MAX, 512, false),
            (3072, 3583, 512, true),
            (3072, 3584, 512, false),
        ] {
            assert_eq!(MAP.holds_append(zone, at, bytes), holds);
        }
    }

    // --- limits ---

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

    /// The limits of that one.
    const USUAL: Limits = Limits {
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
    };

    /// Whether it is refused with this message.
    fn refused(result: Result<Limits, Refusal>, message: &str) -> bool {
        result.is_err_and(|refusal| prints(refusal, message))
    }

    #[test]
    fn a_usual_device() {
        assert_eq!(qemu().limits(PCI), Ok(USUAL));
    }

    #[test]
    fn a_device_that_says_nothing() {
        let transport = Transport {
            max_dma_size: 1 << 20,
            ..PCI
        };
        let expected = Limits {
            max_segments: 1,
            max_segment_size: 1 << 20,
            ..USUAL
        };

        assert_eq!(Config::default().limits(transport), Ok(expected));
    }

    #[test]
    fn topology_counts_in_logical_blocks() {
        let config = Config {
            blk_size: Some(4096),
            topology: Some(Topology {
                physical_block_exp: 2,
                alignment_offset: 1,
                min_io_size: 8,
                opt_io_size: 256,
            }),
            ..qemu()
        };
        let expected = Limits {
            logical_block_size: 4096,
            physical_block_size: 16384,
            alignment_offset: 4096,
            io_min: 32768,
            io_opt: 1 << 20,
            ..USUAL
        };
        assert_eq!(config.limits(PCI), Ok(expected));

        // More is read ahead than makes sense: as good as no hint.
        for (opt_io_size, io_opt) in [(65536, 32 << 20), (65537, 0), (u32::MAX, 0)] {
            let topology = Some(Topology {
                opt_io_size,
                ..Topology::default()
            });
            let limits = Config { topology, ..qemu() }.limits(PCI);

            assert_eq!(limits, Ok(Limits { io_opt, ..USUAL }));
        }
    }

    #[test]
    fn no_chain_is_longer_than_the_ring() {
        for (seg_max, ring_size, max_segments) in [
            (Some(0), 256, 1),
            (Some(254), 4, 2),
            (Some(126), 256, 126),
            (Some(u32::MAX), 1024, 1022),
            (Some(65536), 1 << 20, u16::MAX),
        ] {
            let limits = Config { seg_max, ..qemu() }.limits(Transport { ring_size, ..PCI });

            assert_eq!(
                limits,
                Ok(Limits {
                    max_segments,
                    ..USUAL
                })
            );
        }
    }

    #[test]
    fn refusals_name_the_field_and_the_value() {
        let with_block = |blk_size| {
            let blk_size = Some(blk_size);
            Config { blk_size, ..qemu() }.limits(PCI)
        };
        assert!(refused(
            with_block(513),
            "configuration refused: blk_size is 513, not a power of two from 512 to 65536"
        ));
        for bad in [0, 1, 256, 131_072, u32::MAX] {
            assert!(with_block(bad).is_err());
        }

        let with_size = |size_max| {
            let size_max = Some(size_max);
            Config { size_max, ..qemu() }.limits(PCI)
        };
        assert!(refused(
            with_size(4095),
            "configuration refused: size_max is 4095, less than the 4096 bytes that a segment \
             must be able to have"
        ));
        // Not filled in.
        assert_eq!(
            with_size(0),
            Ok(Limits {
                max_segment_size: 65_536,
                ..USUAL
            })
        );

        assert!(refused(
            qemu().limits(Transport {
                ring_size: 2,
                ..PCI
            }),
            "configuration refused: queue size is 2, too small for a header, data and a status"
        ));

        for physical_block_exp in [22, 32, 255] {
            let topology = Some(Topology {
                physical_block_exp,
                ..Topology::default()
            });
            assert!(Config { topology, ..qemu() }.limits(PCI).is_err());
        }

        let capacity = u64::MAX;
        assert!(refused(
            Config { capacity, ..qemu() }.limits(PCI),
            "configuration refused: capacity is 18446744073709551615, more sectors than a disk \
             can have"
        ));
    }

    #[test]
    fn capacities() {
        let largest = i64::MAX as u64 >> 9;

        assert_eq!(check_capacity(0), Ok(0));
        assert_eq!(check_capacity(largest), Ok(largest));
        assert!(check_capacity(largest + 1).is_err());
    }

    /// What is said of discards, or of secure erase.
    fn ranges(max_sectors: u32, max_seg: u32, alignment: u32) -> Option<Discard> {
        Some(Discard {
            max_sectors,
            max_seg,
            alignment,
        })
    }

    #[test]
    fn discard() {
        for (discard, max_discard_sectors, max_discard_ranges, discard_granularity) in [
            (ranges(2048, 16, 8), 2048, 16, 4096),
            // Without a word of the device: all, as many ranges as segments, by blocks.
            (ranges(0, 0, 0), u32::MAX, 254, 512),
            (ranges(1, u32::MAX, u32::MAX), 1, 256, 1 << 31),
        ] {
            let expected = Limits {
                max_discard_sectors,
                max_discard_ranges,
                discard_granularity,
                ..USUAL
            };
            let limits = Config { discard, ..qemu() }.limits(PCI);

            assert_eq!(limits, Ok(expected));
        }
    }

    #[test]
    fn secure_erase_shares_ranges_and_granularity_with_discard() {
        let with = |discard, secure_erase| {
            Config {
                discard,
                secure_erase,
                ..qemu()
            }
            .limits(PCI)
        };
        let mut expected = Limits {
            max_secure_erase_sectors: 100,
            max_discard_ranges: 4,
            discard_granularity: 8192,
            ..USUAL
        };

        assert_eq!(with(None, ranges(100, 4, 16)), Ok(expected));
        expected.max_discard_sectors = 7;
        expected.max_discard_ranges = 2;
        assert_eq!(with(ranges(7, 2, 64), ranges(100, 4, 16)), Ok(expected));
        for (bad, message) in [
            (
                ranges(0, 4, 16),
                "configuration refused: max_secure_erase_sectors is 0, which secure erase must \
                 not have",
            ),
            (
                ranges(100, 0, 16),
                "configuration refused: max_secure_erase_seg is 0, which secure erase must not \
                 have",
            ),
            (
                ranges(100, 4, 0),
                "configuration refused: secure_erase_sector_alignment is 0, which secure erase \
                 must not have",
            ),
        ] {
            assert!(refused(with(None, bad), message));
        }
    }

    #[test]
    fn zeroes_are_written_to_whole_blocks() {
        for (write_zeroes, blk_size, max_write_zeroes_sectors) in [
            (None, 512, 0),
            (Some(0), 512, u32::MAX),
            (Some(8), 512, 8),
            // The first is what QEMU says.
            (Some(4_194_303), 4096, 4_194_296),
            (Some(0), 4096, u32::MAX & !7),
            (Some(7), 4096, 0),
        ] {
            let limits = Config {
                write_zeroes,
                blk_size: Some(blk_size),
                ..qemu()
            }
            .limits(PCI);
            let expected = Limits {
                logical_block_size: blk_size,
                physical_block_size: blk_size,
                max_write_zeroes_sectors,
                ..USUAL
            };

            assert_eq!(limits, Ok(expected));
        }
    }

    /// Host-managed zones of 1 MiB.
    const ZONED: Zoned = Zoned {
        zone_sectors: 2048,
        max_open_zones: 4,
        max_active_zones: 8,
        max_append_sectors: 256,
        write_granularity: 4096,
        model: 1,
    };

    /// A disk of such zones.
    fn zoned(capacity: u64, zoned: Zoned) -> Config {
        Config {
            capacity,
            zoned: Some(zoned),
            discard: Some(Discard::default()),
            ..qemu()
        }
    }

    #[test]
    fn limits_of_zones() {
        let zones = Zones {
            sectors: 2048,
            max_open: 4,
            max_active: 8,
            max_append_sectors: 256,
            write_granularity: 4096,
        };
        let expected = Limits {
            physical_block_size: 4096,
            io_min: 4096,
            // A zone is reset instead.
            max_discard_sectors: 0,
            max_discard_ranges: 254,
            discard_granularity: 512,
            zones: Some(zones),
            ..USUAL
        };
        assert_eq!(zoned(65536, ZONED).limits(PCI), Ok(expected));
        assert_eq!(zoned(65536, ZONED).zone_map().zone_sectors, 2048);

        // Host-aware, or none: a disk like others, whatever else is said.
        for model in [0, 2] {
            let config = zoned(
                65536,
                Zoned {
                    model,
                    zone_sectors: 3,
                    ..ZONED
                },
            );
            assert_eq!(config.zone_map().zone_sectors, 0);
            assert_eq!(config.limits(PCI).map(|limits| limits.zones), Ok(None));
        }
    }

    #[test]
    fn impossible_zones() {
        let with = |change: fn(&mut Zoned)| {
            let mut changed = ZONED;

            change(&mut changed);
            zoned(65536, changed).limits(PCI)
        };

        assert!(refused(
            with(|zoned| zoned.model = 3),
            "configuration refused: zoned.model is 3, which is unknown"
        ));
        assert!(refused(
            with(|zoned| zoned.zone_sectors = 2047),
            "configuration refused: zoned.zone_sectors is 2047, not a power of two, or less than \
             a block"
        ));
        assert!(with(|zoned| zoned.zone_sectors = 0).is_err());
        assert!(with(|zoned| zoned.zone_sectors = 4).is_err());
        assert!(refused(
            with(|zoned| zoned.write_granularity = 4095),
            "configuration refused: zoned.write_granularity is 4095, not a power of two from 512 \
             to 1 GiB"
        ));
        assert!(with(|zoned| zoned.write_granularity = 0).is_err());
        assert!(with(|zoned| zoned.write_granularity = 1 << 31).is_err());
        assert!(refused(
            with(|zoned| zoned.max_append_sectors = 7),
            "configuration refused: zoned.max_append_sectors is 7, less than a block"
        ));
        assert!(refused(
            with(|zoned| zoned.max_open_zones = 9),
            "configuration refused: zoned.max_open_zones is 9, more than may be active"
        ));

        // The block layer has an array of them, in one piece of memory.
        let many = 4 << 20;
        assert!(zoned(many * 2048, ZONED).limits(PCI).is_ok());
        assert!(refused(
            zoned((many + 1) * 2048, ZONED).limits(PCI),
            "configuration refused: zoned.zone_sectors is 2048, too many zones"
        ));
    }

    #[test]
    fn no_limit_of_open_zones_is_believed_that_cannot_be() {
        for (zones, open, active, expected) in [
            (32, 4, 31, (4, 31)),
            (32, 4, 32, (4, 0)),
            (32, 32, 0, (0, 0)),
            (32, u32::MAX, 0, (0, 0)),
            (32, 0, u32::MAX, (0, 0)),
            (131_072, 65_536, 65_536, (65_536, 65_536)),
            (131_072, 65_537, 0, (0, 0)),
        ] {
            let config = zoned(
                zones * 2048,
                Zoned {
                    max_open_zones: open,
                    max_active_zones: active,
                    ..ZONED
                },
            );
            let limits = config.limits(PCI).map(|limits| limits.zones);

            assert_eq!(
                limits.map(|zones| zones.map(|zones| (zones.max_open, zones.max_active))),
                Ok(Some(expected))
            );
        }
    }
}
