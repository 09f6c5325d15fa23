// SPDX-License-Identifier: GPL-2.0

//! Lies: a device that is told to cheats at random, the same way for the same seed.
//!
//! A lie is never about whether a request was done: what is answered was done, and a status is never
//! false in the driver's favour. So whoever sees I/O end well may rely on it, and whatever else comes of
//! a lie is the driver's fault.

use crate::{
    engine::{
        Guard,
        Ring, //
    },
    faults::{
        Delivery,
        FalseId, //
    },
};
use std::sync::atomic::Ordering;
use vhost_user_backend::VringT;
use virtio_queue::QueueT;
use vm_memory::{
    Address,
    Bytes,
    GuestAddress,
    GuestAddressSpace, //
};

/// What the device does beside, or instead of, answering a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// Tells this used length.
    Length(u32),
    /// Tells this id in the used ring.
    Id(u32),
    /// Tells the id of the next descriptor.
    OtherId,
    /// Completes the request twice.
    Double,
    /// Completes it without an interrupt.
    Mute,
    /// Completes it so many milliseconds later.
    Late(u64),
    /// Does neither do nor complete it.
    Swallow,
    /// Completes another one besides, which may not exist.
    Ghost(u32),
    /// The index of the used ring is so much too high for a while.
    Jump(u16),
    /// The answer's first bytes are these.
    Answer([u8; 12]),
    /// What the driver wrote is this now.
    Header([u8; 16]),
    /// So is the first descriptor.
    Descriptor([u8; 16]),
    /// So is the event index: which kicks the device wants.
    Event(u16),
    /// So many interrupts for nothing.
    Storm(u8),
    /// An event that is none, of what is not there, or not needed; an interrupt for nothing where
    /// there are no events.
    News([u8; 16]),
}

/// The names of the kinds by their number, of 64. Those that cost the driver a second, which its
/// watch takes to see them, come less often.
fn kind_name(number: u64) -> &'static str {
    match number {
        0..=9 => "length",
        10..=12 => "id",
        13..=15 => "other-id",
        16..=19 => "double",
        20 => "mute",
        21..=28 => "late",
        29 => "swallow",
        30..=32 => "ghost",
        33..=34 => "jump",
        35..=44 => "answer",
        45..=50 => "header",
        51..=56 => "descriptor",
        57 => "event",
        58..=62 => "storm",
        _ => "news",
    }
}

const KINDS: u64 = 64;
/// Those after which a driver has to wait: most break the ring, and resets of a device in a row have
/// pauses between them.
const HARD: &[&str] = &[
    "id",
    "other-id",
    "double",
    "mute",
    "swallow",
    "ghost",
    "jump",
    "descriptor",
    "event",
];

impl Lie {
    /// How an answer is changed on its way.
    pub fn bend(self, delivery: &mut Delivery) {
        match self {
            Self::Length(n) => delivery.used = Some(n),
            Self::Id(n) => delivery.id = Some(FalseId::Value(n)),
            Self::OtherId => delivery.id = Some(FalseId::Other),
            Self::Double => delivery.double = true,
            Self::Mute => delivery.noirq = true,
            _ => (),
        }
    }
}

/// xorshift: repeatable, and good enough to choose.
pub struct Random(u64);

impl Random {
    /// Seeds that differ a little choose otherwise from the first time on (splitmix64).
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);

        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // It must not be 0.
        Self((mixed ^ (mixed >> 31)).max(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    /// From 0 up to 1.
    pub fn share(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

/// Who lies about one answer of so many.
pub struct Liar {
    random: Random,
    one_of: u64,
    left: u64,
    /// Of the lies that are hard, one of so many is told.
    gentle: u64,
    /// The only kind that is told.
    only: Option<String>,
    pub told: u64,
}

impl Liar {
    /// `SEED ONE-OF LIES [GENTLE | KIND]`.
    pub fn parse(words: &str) -> Result<Self, String> {
        let words: Vec<&str> = words.split_whitespace().collect();
        let (words, kind) = match words[..] {
            [ref numbers @ .., last] if (0..KINDS).any(|n| kind_name(n) == last) => {
                (numbers, Some(last.to_string()))
            }
            ref numbers => (numbers, None),
        };
        let numbers: Vec<u64> = words
            .iter()
            .map(|word| crate::faults::parse_number(word))
            .collect::<Result<_, _>>()?;
        let (seed, one_of, left, gentle) = match numbers[..] {
            [seed, one_of @ 1..=u64::MAX, left] => (seed, one_of, left, 1),
            [seed, one_of @ 1..=u64::MAX, left, gentle @ 1..=u64::MAX] if kind.is_none() => {
                (seed, one_of, left, gentle)
            }
            _ => return Err(
                "lies takes a seed, how many answers have one lie, how many lies, and maybe of how many hard ones one is told, or a kind".into(),
            ),
        };

        Ok(Self {
            random: Random::new(seed),
            one_of,
            left,
            gentle,
            only: kind,
            told: 0,
        })
    }

    /// The number of the next lie's kind.
    fn kind(&mut self) -> u64 {
        loop {
            let number = self.random.below(KINDS);
            let name = kind_name(number);
            let told = match &self.only {
                Some(only) => only == name,
                None => {
                    self.gentle == 1 || !HARD.contains(&name) || self.random.below(self.gentle) == 0
                }
            };

            if told {
                return number;
            }
        }
    }

    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Whether to lie about the next answer, and how. `size`: of the ring.
    pub fn next(&mut self, size: u16) -> Option<Lie> {
        if self.left == 0 || self.random.below(self.one_of) != 0 {
            return None;
        }
        self.left -= 1;
        self.told += 1;
        let name = kind_name(self.kind());
        let random = &mut self.random;
        let size = u64::from(size);

        Some(match name {
            "length" => Lie::Length(match random.below(4) {
                0 => 0,
                1 => u32::MAX,
                2 => random.below(513) as u32,
                _ => random.next() as u32,
            }),
            "id" => Lie::Id(match random.below(3) {
                0 => u32::MAX,
                1 => random.below(4 * size) as u32,
                _ => random.next() as u32,
            }),
            "other-id" => Lie::OtherId,
            "double" => Lie::Double,
            "mute" => Lie::Mute,
            "late" => Lie::Late(random.below(50)),
            "swallow" => Lie::Swallow,
            "ghost" => Lie::Ghost(random.below(2 * size) as u32),
            "jump" => Lie::Jump(match random.below(3) {
                0 => 1,
                1 => size as u16,
                _ => random.next() as u16,
            }),
            "answer" => Lie::Answer(random.bytes()),
            "header" => Lie::Header(random.bytes()),
            "descriptor" => Lie::Descriptor(random.bytes()),
            "event" => Lie::Event(random.next() as u16),
            "storm" => Lie::Storm(random.below(64) as u8),
            _ => Lie::News(random.bytes()),
        })
    }
}

/// Lies that are told at once, by the ring itself.
pub fn cheat(ring: &Ring, id: u16, lie: Lie) {
    let memory = ring.memory.memory();
    let done = match lie {
        Lie::Ghost(id) => {
            put_id(ring, id, 1, 1);
            Ok(())
        }
        Lie::Jump(by) => {
            let vring = ring.vring.get_ref();
            let queue = vring.get_queue();
            let index = queue.next_used().wrapping_add(by);
            let place = GuestAddress(queue.used_ring() + 2);

            memory.store(index.to_le(), place, Ordering::Release)
        }
        Lie::Descriptor(bytes) => {
            let table = ring.vring.get_ref().get_queue().desc_table();

            memory.write_slice(&bytes, GuestAddress(table + 16 * u64::from(id)))
        }
        Lie::Event(index) => {
            let vring = ring.vring.get_ref();
            let queue = vring.get_queue();
            let place = GuestAddress(queue.used_ring() + 4 + 8 * u64::from(queue.size()));

            memory.store(index.to_le(), place, Ordering::Release)
        }
        Lie::Storm(count) => {
            (0..count).for_each(|_| (ring.interrupt)());
            Ok(())
        }
        // There are no events, see `Model::false_message`.
        Lie::News(_) => {
            (ring.interrupt)();
            Ok(())
        }
        _ => Ok(()),
    };

    if let Err(e) = done {
        eprintln!("blkdev: a lie: {e}");
    }
}

/// Writes as much of `bytes` as there is room for.
pub fn overwrite(memory: &Guard, place: Option<(GuestAddress, u32)>, bytes: &[u8]) {
    let Some((at, room)) = place else { return };
    let end = bytes.len().min(room as usize);

    if let Err(e) = memory.write_slice(&bytes[..end], at) {
        eprintln!("blkdev: a lie: {e}");
    }
}

/// Puts an answer into the used ring, several times, for an id that may be none; true if only we know
/// that an interrupt is due.
pub fn put_id(ring: &Ring, id: u32, used: u32, times: u16) -> bool {
    let memory = ring.memory.memory();
    let mut vring = ring.vring.get_mut();
    let queue = vring.get_queue_mut();

    match u16::try_from(id) {
        Ok(id) if id < queue.size() && times == 1 => {
            let result = queue.add_used(&*memory, id, used);
            if let Err(e) = result {
                eprintln!("blkdev: the used ring: {e}");
            }
            false
        }
        // An id that the crate refuses, as it should; or one that the driver shall find twice at once:
        // between the two it could use the id anew, for a request that we have not even seen.
        _ => {
            let base = GuestAddress(queue.used_ring());
            let next = queue.next_used();
            let index = next.wrapping_add(times);
            let done = (0..times)
                .try_for_each(|i| {
                    let slot = next.wrapping_add(i) % queue.size();
                    let element = base.unchecked_add(4 + 8 * u64::from(slot));
                    memory.write_obj([id.to_le(), used.to_le()], element)
                })
                .and_then(|()| {
                    queue.set_next_used(index);
                    memory.store(index.to_le(), base.unchecked_add(2), Ordering::Release)
                });
            if let Err(e) = done {
                eprintln!("blkdev: the used ring: {e}");
            }
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lies(seed: u64) -> Vec<Option<Lie>> {
        let mut liar = Liar::parse(&format!("{seed} 3 1000")).unwrap();

        (0..1000).map(|_| liar.next(256)).collect()
    }

    #[test]
    fn the_same_seed_tells_the_same_lies() {
        assert_eq!(lies(7), lies(7));
        assert_ne!(lies(7), lies(8));
        let told = lies(7).iter().flatten().count();
        assert!((200..500).contains(&told), "{told} of 1000");
    }

    #[test]
    fn there_are_as_many_as_were_ordered() {
        let mut liar = Liar::parse("1 1 5").unwrap();

        assert_eq!((0..9).filter_map(|_| liar.next(8)).count(), 5);
        assert_eq!(liar.told, 5);
        for words in [
            "",
            "1",
            "1 0 5",
            "1 2 x",
            "1 2 3 0",
            "1 2 3 4 id",
            "1 2 3 ids",
        ] {
            assert!(Liar::parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn one_kind_is_told_or_hard_ones_less_often() {
        let mut liar = Liar::parse("1 1 100 jump").unwrap();
        let hard = |words: &str| {
            let mut liar = Liar::parse(words).unwrap();
            let kinds = (0..6400).map(|_| kind_name(liar.kind()));
            kinds.filter(|kind| HARD.contains(kind)).count()
        };

        assert!((0..100).all(|_| matches!(liar.next(8), Some(Lie::Jump(_)))));
        // 24 of 64, and of 40 that are not hard 24 / 16 that are.
        assert!((2200..2600).contains(&hard("1 1 1")));
        assert!((160..300).contains(&hard("1 1 1 16")));
        assert!(HARD
            .iter()
            .all(|kind| (0..KINDS).any(|n| kind_name(n) == *kind)));
    }
}
