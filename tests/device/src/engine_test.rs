// SPDX-License-Identifier: GPL-2.0

//! The test plays the driver: it fills a ring in memory of its own and looks at the answers.

use super::*;
use crate::{
    block,
    settings::Settings,
    wire::{
        self,
        Op,
        ZoneDescriptor, //
    },
};
use std::sync::atomic::AtomicUsize;
use virtio_queue::desc::{
    split::Descriptor,
    RawDescriptor, //
};
use vm_memory::{
    Bytes,
    GuestAddress, //
};

const WRITE: u16 = 2;
const NEXT: u16 = 1;

const DESCRIPTORS: u64 = 0x1000;
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
/// Where request `n` lies, `STEP` bytes for each.
const BUFFERS: u64 = 0x10000;
const STEP: u64 = 0x10000;
const SIZE: u16 = 16;

struct Driver {
    engine: Arc<Engine>,
    memory: GuestMemoryMmap,
    requests: u16,
    interrupts: Arc<AtomicUsize>,
}

impl Driver {
    fn new(settings: &str) -> Self {
        let settings = Settings::parse(settings).unwrap();
        let engine = block::engine(&settings).unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x200000)]).unwrap();
        let atomic = Memory::new(memory.clone());
        let vring = Vring::new(atomic.clone(), SIZE).unwrap();
        let interrupts = Arc::new(AtomicUsize::new(0));
        let count = interrupts.clone();

        vring.set_queue_size(SIZE);
        vring.set_queue_info(DESCRIPTORS, AVAIL, USED).unwrap();
        vring.set_queue_ready(true);
        engine.attach(
            0,
            Ring {
                vring,
                memory: atomic,
                interrupt: Arc::new(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                }),
                refresh: Arc::new(|| ()),
            },
        );
        Self {
            engine,
            memory,
            requests: 0,
            interrupts,
        }
    }

    /// Adds a request; each has three descriptors, whose first is its id. Returns the id.
    fn add(&mut self, op: Op, sector: u64, input: &[u8], output: usize) -> u16 {
        let id = self.requests % (SIZE / 3) * 3;
        let at = BUFFERS + STEP * u64::from(id);
        let mut header = op.code().to_le_bytes().to_vec();

        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        header.extend(input);
        self.memory.write_slice(&header, GuestAddress(at)).unwrap();
        // What the device does not write stays so.
        self.memory
            .write_slice(&vec![0xee; output + 1], GuestAddress(at + 0x8000))
            .unwrap();
        let descriptors = [
            (at, 16, NEXT),
            (at + 16, input.len(), NEXT),
            (at + 0x8000, output + 1, WRITE),
        ];
        let mut index = id;
        for (n, (address, length, flags)) in descriptors.into_iter().enumerate() {
            if n == 1 && length == 0 {
                continue;
            }
            let skip = u16::from(n == 0 && input.is_empty());
            let descriptor = Descriptor::new(address, length as u32, flags, index + 1 + skip);
            self.memory
                .write_obj(
                    RawDescriptor::from(descriptor),
                    GuestAddress(DESCRIPTORS + 16 * u64::from(index)),
                )
                .unwrap();
            index += 1 + skip;
        }
        let slot = u64::from(self.requests % SIZE);
        self.memory
            .write_obj(id.to_le(), GuestAddress(AVAIL + 4 + 2 * slot))
            .unwrap();
        self.requests += 1;
        self.memory
            .write_obj(self.requests.to_le(), GuestAddress(AVAIL + 2))
            .unwrap();
        id
    }

    /// All used elements so far: id and length.
    fn used(&self) -> Vec<(u32, u32)> {
        let index: u16 = self.memory.read_obj(GuestAddress(USED + 2)).unwrap();

        (0..u64::from(index))
            .map(|n| {
                let at = GuestAddress(USED + 4 + 8 * (n % u64::from(SIZE)));
                let [id, length]: [u32; 2] = self.memory.read_obj(at).unwrap();
                (id, length)
            })
            .collect()
    }

    /// What the device wrote for request `id`.
    fn answer(&self, id: u16, bytes: usize) -> Vec<u8> {
        let mut answer = vec![0; bytes];
        let at = BUFFERS + STEP * u64::from(id) + 0x8000;

        self.memory
            .read_slice(&mut answer, GuestAddress(at))
            .unwrap();
        answer
    }

    /// Sends one request; returns the data and the status.
    fn send(&mut self, op: Op, sector: u64, input: &[u8], output: usize) -> (Vec<u8>, u8) {
        let id = self.add(op, sector, input, output);
        let before = self.used().len();

        self.engine.kick(0);
        assert_eq!(self.used().len(), before + 1);
        let mut answer = self.answer(id, output + 1);
        let status = answer.pop().unwrap();
        (answer, status)
    }
}

fn ranges(list: &[(u64, u32, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();

    for (sector, sectors, flags) in list {
        bytes.extend(sector.to_le_bytes());
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
    }
    bytes
}

#[test]
fn what_is_written_is_read() {
    let mut driver = Driver::new(r#"{"serial": "abc", "capacity": 64}"#);

    assert_eq!(driver.send(Op::Write, 7, &[5; 1024], 0).1, 0);
    assert_eq!(driver.send(Op::Read, 8, &[], 512), (vec![5; 512], 0));
    assert_eq!(driver.send(Op::Read, 9, &[], 512), (vec![0; 512], 0));
    assert_eq!(driver.send(Op::Flush, 0, &[], 0).1, 0);
    let (id, status) = driver.send(Op::GetId, 0, &[], 20);
    assert_eq!((&id[..4], status), (&b"abc\0"[..], 0));
    // Beyond the end, half a sector, an operation that is not offered, and one that there is not.
    assert_eq!(driver.send(Op::Read, 64, &[], 512).1, 1);
    assert_eq!(driver.send(Op::Read, u64::MAX, &[], 512).1, 1);
    assert_eq!(driver.send(Op::Write, 0, &[0; 100], 0).1, 1);
    assert_eq!(driver.send(Op::Discard, 0, &ranges(&[(0, 8, 0)]), 0).1, 2);
    assert_eq!(driver.send(Op::Unknown(99), 0, &[], 0).1, 2);
    assert_eq!(driver.used()[1], (3, 513));
    assert_eq!(driver.interrupts.load(Ordering::Relaxed), 10);
}

#[test]
fn ranges_of_discard_and_its_like() {
    let mut driver = Driver::new(
        r#"{"capacity": 64, "features": ["discard", "write_zeroes", "secure_erase"],
            "config": {"max_discard_seg": 2, "max_discard_sectors": 16}}"#,
    );

    driver.send(Op::Write, 0, &[7; 64 * 512], 0);
    let two = ranges(&[(0, 2, 0), (4, 1, 0)]);
    assert_eq!(driver.send(Op::Discard, 0, &two, 0).1, 0);
    let data = driver.send(Op::Read, 0, &[], 6 * 512).0;
    let firsts: Vec<u8> = data.chunks(512).map(|sector| sector[0]).collect();
    assert_eq!(firsts, [0, 0, 7, 7, 0, 7]);
    for (wrong, status) in [
        (ranges(&[(0, 1, 0), (1, 1, 0), (2, 1, 0)]), 1),
        (ranges(&[(0, 17, 0)]), 1),
        (ranges(&[(60, 8, 0)]), 1),
        (ranges(&[(0, 1, 1)]), 2),
        (vec![], 1),
        (vec![0; 17], 1),
    ] {
        assert_eq!(
            driver.send(Op::Discard, 0, &wrong, 0).1,
            status,
            "{wrong:?}"
        );
    }
    for flags in [0, 1] {
        driver.send(Op::Write, 8, &[7; 512], 0);
        let range = ranges(&[(8, 1, flags)]);
        assert_eq!(driver.send(Op::WriteZeroes, 0, &range, 0).1, 0);
        assert_eq!(driver.send(Op::Read, 8, &[], 512).0, [0; 512]);
    }
    assert_eq!(
        driver.send(Op::WriteZeroes, 0, &ranges(&[(8, 1, 2)]), 0).1,
        2
    );
    assert_eq!(
        driver.send(Op::SecureErase, 0, &ranges(&[(16, 8, 0)]), 0).1,
        0
    );
    assert_eq!(driver.send(Op::Read, 16, &[], 512).0, [0; 512]);
}

#[test]
fn zones_over_the_ring() {
    let mut driver = Driver::new(r#"{"capacity": 256, "zones": {"size": 64, "max_append": 8}}"#);

    assert_eq!(driver.send(Op::Write, 8, &[1; 512], 0).1, 4);
    assert_eq!(driver.send(Op::Write, 0, &[1; 512], 0).1, 0);
    let (at, status) = driver.send(Op::Append, 0, &[2; 1024], 8);
    assert_eq!((wire::number(&at), status), (1, 0));
    assert_eq!(driver.answer(6, 9), [1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(driver.used()[2].1, 9);
    assert_eq!(driver.send(Op::Read, 2, &[], 512).0, [2; 512]);
    let (report, status) = driver.send(Op::Report, 0, &[], 64 + 2 * ZoneDescriptor::SIZE);
    assert_eq!((wire::number(&report[..8]), status), (2, 0));
    assert_eq!(wire::number(&report[64 + 16..64 + 24]), 3);
    assert_eq!(driver.send(Op::Reset, 0, &[], 0).1, 0);
    assert_eq!(driver.send(Op::Read, 0, &[], 512).0, [0; 512]);
    assert_eq!(driver.send(Op::Open, 1, &[], 0).1, 3);
}

#[test]
fn orders() {
    for (order, expected) in [("fifo", vec![0, 3, 6, 9]), ("reversed", vec![9, 6, 3, 0])] {
        let mut driver = Driver::new(&format!(r#"{{"order": "{order}", "latency_ms": 10}}"#));

        for sector in 0..4 {
            driver.add(Op::Read, sector, &[], 512);
        }
        driver.engine.kick(0);
        assert_eq!(driver.used(), []);
        // The interrupt comes after the last of them.
        while driver.used().len() < 4 || driver.interrupts.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let ids: Vec<u32> = driver.used().iter().map(|used| used.0).collect();
        assert_eq!(ids, expected);
    }
    // A random order has all of them.
    let mut driver = Driver::new(r#"{"order": "random"}"#);
    for sector in 0..5 {
        driver.add(Op::Read, sector, &[], 512);
    }
    driver.engine.kick(0);
    while driver.used().len() < 5 {
        std::thread::yield_now();
    }
    let mut ids: Vec<u32> = driver.used().iter().map(|used| used.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 3, 6, 9, 12]);
}

#[test]
fn wrong_answers() {
    let mut driver = Driver::new(r#"{"features": ["discard"]}"#);
    let fault = |driver: &Driver, words| driver.engine.command("fault", words).unwrap();

    fault(&driver, "op=read sector=5 status=0xff");
    assert_eq!(driver.send(Op::Read, 4, &[], 512).1, 0);
    // The data stays as it was.
    assert_eq!(
        driver.send(Op::Read, 4, &[], 1024),
        (vec![0xee; 1024], 0xff)
    );
    fault(&driver, "status=none");
    assert_eq!(driver.send(Op::Flush, 0, &[], 0).1, 0xee);
    fault(&driver, "used=0");
    driver.send(Op::Flush, 0, &[], 0);
    assert_eq!(driver.used()[3], (9, 0));
    fault(&driver, "id=other used=0xffffffff");
    driver.send(Op::Flush, 0, &[], 0);
    assert_eq!(driver.used()[4], (u32::from(SIZE) - 1, u32::MAX));
    fault(&driver, "id=70000");
    driver.send(Op::Flush, 0, &[], 0);
    assert_eq!(driver.used()[5].0, 70000);
    assert_eq!(driver.interrupts.load(Ordering::Relaxed), 6);
    fault(&driver, "double");
    driver.add(Op::Flush, 0, &[], 0);
    driver.engine.kick(0);
    assert_eq!(driver.used()[6..], [(3, 1), (3, 1)]);
    fault(&driver, "noirq");
    driver.send(Op::Flush, 0, &[], 0);
    assert_eq!(driver.interrupts.load(Ordering::Relaxed), 7);
}

#[test]
fn dropped_and_released() {
    let mut driver = Driver::new(r#"{"faults": ["op=write drop count=0"]}"#);

    driver.add(Op::Write, 0, &[1; 512], 0);
    driver.add(Op::Flush, 0, &[], 0);
    driver.engine.kick(0);
    assert_eq!(driver.used(), [(3, 1)]);
    let state = driver.engine.command("state", "").unwrap();
    let (state, ago) = state.split_once(" ago=").unwrap();
    assert_eq!(
        state,
        "seen=2 lies=0 changes=0 pending=0 dropped=1 rings=1 wrong=1"
    );
    assert!(ago.parse::<u64>().is_ok(), "{ago}");
    driver.engine.command("clear", "").unwrap();
    driver.engine.command("release", "").unwrap();
    assert_eq!(driver.used(), [(3, 1), (0, 1)]);

    driver.engine.command("silence", "").unwrap();
    driver.add(Op::Flush, 0, &[], 0);
    driver.engine.kick(0);
    assert_eq!(driver.used().len(), 2);
    driver.engine.command("resume", "").unwrap();
    assert_eq!(driver.used().len(), 3);
    // After this nobody may touch the ring.
    driver.engine.detach_all();
    driver.add(Op::Flush, 0, &[], 0);
    driver.engine.kick(0);
    assert_eq!(driver.used().len(), 3);
}

#[test]
fn one_answer_is_late() {
    let mut driver = Driver::new(r#"{"faults": ["op=write delay=1000"]}"#);

    driver.add(Op::Write, 0, &[1; 512], 0);
    driver.add(Op::Flush, 0, &[], 0);
    driver.engine.kick(0);
    assert_eq!(driver.used(), [(3, 1)]);
    std::thread::sleep(Duration::from_millis(1000));
    driver.engine.kick(0);
    assert_eq!(driver.used(), [(3, 1), (0, 1)]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for text in [
        r#"{"capactiy": 1}"#,
        r#"{"features": ["zonde"]}"#,
        r#"{"config": {"blk_size": 4294967296}}"#,
        r#"{"config": {"blocks": 1}}"#,
        r#"{"ring": 5}"#,
        r#"{"zones": {"size": 0}}"#,
    ] {
        assert!(Settings::parse(text).is_err(), "{text}");
    }
    let wrong = Settings::parse(r#"{"config": {"blk_size": 513}, "without": ["flush"]}"#).unwrap();
    assert_eq!(wrong.field("blk_size"), 513);
    assert_eq!(wrong.features().unwrap() & (1 << 9), 0);
}
