// SPDX-License-Identifier: GPL-2.0

//! Commands given to the host without a ring.

use super::*;

fn host(units: &str) -> Host {
    let settings = Settings::parse(&format!(r#"{{"units": [{units}]}}"#)).unwrap();
    let mut host = Host {
        units: BTreeMap::new(),
        faults: Faults::default(),
        protection: false,
        block: 512,
    };

    for unit in &settings.units {
        let at = Address {
            target: unit.target,
            lun: unit.lun,
        };
        host.units.insert(at, Unit::new(unit).unwrap());
    }
    host
}

fn header(at: &str, cdb: &[u8]) -> Header {
    let mut input = Address::parse(at).unwrap().to_wire().to_vec();

    input.resize(19, 0);
    input.extend(cdb);
    input.resize(19 + wire::CDB_SIZE, 0);
    Header::parse(&input, false).unwrap()
}

impl Host {
    /// Sends one command; there is room for 64 KiB.
    fn send(&mut self, at: &str, cdb: &[u8], data: &[u8], tuples: &[u8]) -> Result<Done, Failure> {
        self.execute(&header(at, cdb), data, tuples, 65536)
    }

    fn sense(&mut self, at: &str, cdb: &[u8], data: &[u8], tuples: &[u8]) -> Sense {
        match self.send(at, cdb, data, tuples) {
            Err(Failure::Sense(sense)) => sense,
            other => panic!("{other:?}"),
        }
    }
}

fn rw(code: u8, protect: u8, lba: u8, blocks: u8) -> [u8; 10] {
    [code, protect << 5, 0, 0, 0, lba, 0, 0, blocks, 0]
}

#[test]
fn what_is_written_is_read() {
    let mut host = host(r#"{"target": 1, "lun": 300, "serial": "x", "blocks": 64}"#);

    host.send("1:300", &rw(0x2a, 0, 62, 2), &[5; 1024], &[])
        .unwrap();
    let read = host.send("1:300", &rw(0x28, 0, 61, 2), &[], &[]).unwrap();
    assert_eq!(read.data, [[0; 512], [5; 512]].concat());
    assert_eq!(
        host.sense("1:300", &rw(0x28, 0, 63, 2), &[], &[]),
        Sense::OUT_OF_RANGE
    );
    // Less data than the command says.
    let short = host.send("1:300", &rw(0x2a, 0, 0, 2), &[5; 512], &[]);
    assert_eq!(short.unwrap_err(), Failure::Response(wire::S_OVERRUN));
    let mut list = vec![0; 8];
    list.extend(63u64.to_be_bytes());
    list.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    host.send("1:300", &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, &[])
        .unwrap();
    let read = host.send("1:300", &rw(0x28, 0, 62, 2), &[], &[]).unwrap();
    assert_eq!(read.data, [[5; 512], [0; 512]].concat());
    assert_eq!(
        host.sense("1:300", &[0xff], &[], &[]),
        Sense::INVALID_OPCODE
    );
}

#[test]
fn blocks_are_compared_and_mapped() {
    const AT: u8 = 16;
    let mut host = host(r#"{"target": 0, "serial": "x", "blocks": 64}"#);
    let mut compare = [0; 16];
    compare[0] = 0x89;
    (compare[9], compare[13]) = (AT, 2);
    let mut status = [0; 16];
    (status[0], status[1], status[13]) = (0x9e, 0x12, 24);
    let mapped =
        |host: &mut Host| host.send("0:0", &status, &[], &[]).unwrap().data[8 + 8..][..5].to_vec();

    assert_eq!(mapped(&mut host), [0, 0, 0, 64, 1]);
    let both = [[0; 1024], [7; 1024]].concat();
    let done = host.send("0:0", &compare, &both, &[]).unwrap();
    assert_eq!(done.taken, 2048);
    let read = host.send("0:0", &rw(0x28, 0, AT, 2), &[], &[]).unwrap();
    assert_eq!(read.data, [7; 1024]);
    assert_eq!(host.sense("0:0", &compare, &both, &[]), Sense::MISCOMPARE);
    let short = host.send("0:0", &compare, &both[..1024], &[]);
    assert_eq!(short.unwrap_err(), Failure::Response(wire::S_OVERRUN));
    assert_eq!(mapped(&mut host), [0, 0, 0, AT, 1]);
}

#[test]
fn who_is_there() {
    let mut host =
        host(r#"{"target": 1, "lun": 2, "serial": "a"}, {"target": 1, "lun": 300, "serial": "b"}"#);
    let luns = [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

    let list = host.send("1:0", &luns, &[], &[]).unwrap().data;
    assert_eq!(list[..4], [0, 0, 0, 16]);
    assert_eq!(
        (&list[8..10], &list[16..18]),
        (&[0, 2][..], &[0x41, 44][..])
    );
    // No unit, but a target; no target.
    let inquiry = [0x12, 0, 0, 0, 36, 0];
    assert_eq!(host.send("1:0", &inquiry, &[], &[]).unwrap().data[0], 0x7f);
    assert_eq!(host.sense("1:0", &[0], &[], &[]), Sense::NO_SUCH_UNIT);
    assert_eq!(
        host.send("2:0", &inquiry, &[], &[]).unwrap_err(),
        Failure::Response(wire::S_BAD_TARGET)
    );
    assert_eq!(host.send("1:2", &inquiry, &[], &[]).unwrap().data[0], 0);
    let page = host.send("1:2", &[0x12, 1, 0x80, 0, 255, 0], &[], &[]);
    assert_eq!(page.unwrap().data, [0, 0x80, 0, 1, b'a']);
    assert_eq!(
        host.sense("1:2", &[0x12, 1, 0x99, 0, 255, 0], &[], &[]),
        Sense::INVALID_FIELD
    );
}

#[test]
fn protection_is_checked_kept_and_returned() {
    let mut host =
        host(r#"{"target": 0, "serial": "p", "protected": true}, {"target": 1, "serial": "q"}"#);
    let data = [7; 1024];
    let tuples = protection::generate(&data, 512, 4);

    let done = host
        .send("0:0", &rw(0x2a, 1, 4, 2), &data, &tuples)
        .unwrap();
    assert_eq!((done.checked, done.taken), (2, 1024));
    let read = host.send("0:0", &rw(0x28, 1, 3, 3), &[], &[]).unwrap();
    assert_eq!(read.tuples, [&[0xff; 8], &tuples[..]].concat());
    assert_eq!(read.checked, 2);
    // Another block's, another's data, none at all, and where there is none.
    assert_eq!(
        host.sense("0:0", &rw(0x2a, 1, 5, 2), &data, &tuples),
        Sense::REFERENCE
    );
    assert_eq!(
        host.sense("0:0", &rw(0x2a, 1, 4, 2), &[8; 1024], &tuples),
        Sense::GUARD
    );
    assert_eq!(
        host.sense("0:0", &rw(0x2a, 1, 4, 2), &data, &[]),
        Sense::INVALID_FIELD
    );
    assert_eq!(
        host.sense("1:0", &rw(0x28, 1, 4, 2), &[], &[]),
        Sense::INVALID_FIELD
    );
    // Without protection on the wire the unit makes it.
    host.send("0:0", &rw(0x2a, 0, 9, 1), &data[..512], &[])
        .unwrap();
    let read = host.send("0:0", &rw(0x28, 1, 9, 1), &[], &[]).unwrap();
    assert_eq!(read.tuples, protection::generate(&data[..512], 512, 9));
}

#[test]
fn a_header_with_protection_is_longer() {
    let mut input = vec![1, 2, 0x41, 44, 0, 0, 0, 0];
    input.extend(9u64.to_le_bytes());
    input.extend([0, 3, 0]);
    input.extend(8u32.to_le_bytes());
    input.extend(16u32.to_le_bytes());
    input.extend([0x28; 32]);

    let header = Header::parse(&input, true).unwrap();
    assert_eq!(header.name(), "2:300");
    assert_eq!((header.tag, header.priority), (9, 3));
    assert_eq!((header.pi_out, header.pi_in, header.size), (8, 16, 59));
    assert_eq!(header.cdb, [0x28; 32]);
    assert!(Header::parse(&input[..58], true).is_err());
    assert_eq!(Header::parse(&input, false).unwrap().pi_out, 0);
}

#[test]
fn faults_hit_what_they_name() {
    let mut faults = Faults::default();
    let at = |text| Some(Address::parse(text).unwrap());

    faults.add("op=read unit=1:2 lba=5 response=6").unwrap();
    faults.add("op=tmf response=11 count=2").unwrap();
    faults.add("sense_len=4096 resid=1").unwrap();
    assert_eq!(faults.take("read", at("1:2"), 4, 2).response, Some(6));
    // Used up; the fault without a name means commands only.
    assert_eq!(faults.take("abort", at("1:2"), 0, 0).response, Some(11));
    assert_eq!(faults.take("unit-reset", None, 0, 0).response, Some(11));
    assert!(faults.take("abort", None, 0, 0).is_none());
    let effect = faults.take("read", at("1:2"), 4, 2);
    let mut response = Response::default();
    effect.apply(&mut response);
    assert!(!effect.is_refusal());
    assert_eq!(response.bytes()[..8], [0, 16, 0, 0, 1, 0, 0, 0]);
    assert_eq!(response.bytes().len(), 108);
    for text in [
        "",
        "op=raed drop",
        "response=256",
        "sense=1,2",
        "unit=1 drop",
    ] {
        assert!(faults.add(text).is_err(), "{text}");
    }
}

#[test]
fn events_are_what_the_test_says() {
    let reply = event("type=0x80000001 reason=2 unit=3:300 count=2 used=3").unwrap();
    let message = &reply.messages[1];

    assert_eq!(reply.messages.len(), 2);
    assert_eq!(
        message.bytes,
        [1, 0, 0, 0x80, 1, 3, 0x41, 44, 0, 0, 0, 0, 2, 0, 0, 0]
    );
    assert_eq!(message.delivery.used, Some(3));
    assert!(event("typ=1").is_err());
    let mut host = host(r#"{"target": 0, "serial": "p"}"#);
    let silent = host.change("remove", "0:0 silently").unwrap();
    assert!(silent.messages.is_empty());
    assert!(host.change("resize", "0:0 5").is_err());
}

#[test]
fn false_events_do_not_take_away_what_is_there() {
    let host = host(r#"{"target": 0, "serial": "p"}"#);
    let mut random = crate::lies::Random::new(1);
    let mut known = 0;

    for _ in 0..10000 {
        let message = host.false_message(random.bytes()).unwrap();
        let [kind, reason] = [0, 12].map(|at| number(&message.bytes[at..at + 4]) as u32);
        let at = Address::from_wire(wire::bytes(&message.bytes, 4));

        assert_eq!(message.queue, wire::EVENTS);
        if at.is_some_and(|at| host.units.contains_key(&at)) {
            known += 1;
            assert_ne!(reason, wire::RESET_REMOVED);
            assert_ne!(kind & !wire::MISSED, wire::PARAM_CHANGE);
        }
    }
    assert!((1000..5000).contains(&known), "{known}");
}
