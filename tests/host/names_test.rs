// SPDX-License-Identifier: GPL-2.0

use crate::names::{first_minor, DiskIndex, DiskName, MAX_DISKS, MINORS};
use proptest::prelude::*;

fn name(index: u32) -> String {
    DiskName(index).to_string()
}

#[test]
fn names_that_people_know() {
    for (index, expected) in [
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
        assert_eq!(name(index), expected);
    }
}

#[test]
fn minors() {
    assert_eq!(MINORS, 16);
    assert_eq!(first_minor(0), 0);
    assert_eq!(first_minor(2), 32);
    // The last minor of the last disk is the last one of 20 bits.
    assert_eq!(first_minor(MAX_DISKS - 1) + MINORS - 1, (1 << 20) - 1);
}

/// The inverse: letters as digits without a zero.
fn index_of(name: &str) -> u64 {
    name.strip_prefix("vd")
        .unwrap()
        .bytes()
        .fold(0, |n, letter| n * 26 + u64::from(letter - b'a') + 1)
        - 1
}

proptest! {
    #[test]
    fn a_name_stands_for_one_index(index: u32) {
        prop_assert_eq!(index_of(&name(index)), u64::from(index));
    }
}

/// All of the index pool in one test: it is one for the whole process.
#[test]
fn indices() {
    let a = DiskIndex::take().unwrap();
    let b = DiskIndex::take().unwrap();
    let c = DiskIndex::take().unwrap();
    assert_eq!((a.get(), b.get(), c.get()), (0, 1, 2));

    // The lowest that is free, as the C driver's IDA.
    drop(b);
    let b = DiskIndex::take().unwrap();
    assert_eq!(b.get(), 1);

    let rest: Vec<_> = core::iter::from_fn(DiskIndex::take).collect();
    assert_eq!(rest.len() as u32, MAX_DISKS - 3);
    assert_eq!(rest.last().unwrap().get(), MAX_DISKS - 1);
    assert!(DiskIndex::take().is_none());

    drop(c);
    assert_eq!(DiskIndex::take().unwrap().get(), 2);
    drop(rest);

    // Many at once: never the same index twice.
    let mut taken: Vec<u32> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mine: Vec<_> = (0..200).filter_map(|_| DiskIndex::take()).collect();
                    let numbers: Vec<u32> = mine.iter().map(DiskIndex::get).collect();
                    core::mem::forget(mine);
                    numbers
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap())
            .collect()
    });
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), 800);
}
