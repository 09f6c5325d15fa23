// SPDX-License-Identifier: GPL-2.0

//! Features and configurations that no device should have, chosen at random: the same ones for the same
//! seed. VDUSE alone lets them reach the driver.

use crate::{
    lies::Random,
    settings::{
        Settings,
        USUAL, //
    },
    wire::{
        CONFIG,
        CONFIG_SIZE,
        FEATURES, //
    },
};

/// Numbers at which something begins, ends or has no room any more.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    9,
    255,
    256,
    511,
    512,
    513,
    4095,
    4096,
    8192,
    65535,
    65536,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64 - 7,
    u32::MAX as u64,
    1 << 32,
    1 << 54,
    1 << 55,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX,
];

/// Bits that mean nothing (any more). Others would be another kind of ring.
const NO_FEATURES: &[u64] = &[0, 3, 7, 8, 18, 23];

/// Ends of fields, and the midst of some.
const SIZES: &[usize] = &[0, 4, 8, 9, 20, 24, 35, 36, 60, 72, 92, 95, CONFIG_SIZE + 1];

fn one<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}

/// A field of the configuration space, and what it says.
pub fn field(random: &mut Random) -> (&'static str, u64) {
    let (name, _, size) = one(random, CONFIG);

    (name, value(random, size))
}

fn value(random: &mut Random, size: usize) -> u64 {
    let value = match random.below(5) {
        0 => random.next(),
        _ => one(random, NUMBERS),
    };

    value & (u64::MAX >> (64 - 8 * size))
}

/// Makes a device of settings that cannot be.
pub fn falsify(settings: &mut Settings, seed: u64) {
    let mut random = Random::new(seed);
    // From a device that is nearly right to one of which nothing is.
    let [few, many] = one(&mut random, &[[24, 12], [24, 12], [12, 8], [6, 3], [3, 2]]);

    for (name, _) in FEATURES {
        // The kernel wants the one, and refuses the other.
        if ["access_platform", "config_wce"].contains(name) {
            continue;
        }
        let (wrong, list) = match USUAL.contains(name) {
            true => (few, &mut settings.without),
            false => (many, &mut settings.features),
        };
        if random.below(wrong) == 0 {
            list.push((*name).into());
        }
    }
    if random.below(many) == 0 {
        settings.features.push(one(&mut random, NO_FEATURES).into());
    }
    if random.below(4) == 0 {
        settings.zones = serde_json::from_str(r#"{"size": 8192}"#).ok();
    }
    settings.queues = 1 + random.below(4) as u16;
    settings.ring = one(&mut random, &[2, 4, 64, 256, 256, 256]);
    for (name, _, size) in CONFIG {
        if random.below(few) == 0 {
            let number = value(&mut random, *size);
            settings.config.insert((*name).into(), number);
        }
    }
    if random.below(few) == 0 {
        settings.config_size = one(&mut random, SIZES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_settings_and_differ() {
        let of = |seed: u64| {
            let settings = Settings::parse(&format!(r#"{{"lies": {seed}}}"#)).unwrap();
            (
                settings.features().unwrap(),
                settings.config_space().unwrap(),
            )
        };
        let honest = Settings::default();
        let same = |seed| of(seed) == (honest.features().unwrap(), honest.config_space().unwrap());

        assert_eq!(of(5), of(5));
        assert!((0..500).filter(|seed| of(*seed) == of(seed + 1)).count() < 5);
        assert!((0..500).filter(|seed| same(*seed)).count() < 50);
    }

    #[test]
    fn a_number_has_room_in_its_field() {
        let mut random = Random::new(1);

        for _ in 0..1000 {
            let (name, value) = field(&mut random);
            let (.., size) = CONFIG.iter().find(|(known, ..)| *known == name).unwrap();
            assert!(*size == 8 || value >> (8 * size) == 0, "{name} {value}");
        }
    }
}
