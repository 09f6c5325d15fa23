// SPDX-License-Identifier: GPL-2.0

//! A fuzzer of the drivers: both modules as they are, linked with a model of the kernel whose devices lie.
//!
//! A run is the life of a device, from probe to removal, and its input decides all that happens in
//! it. What must hold whatever the device does is asserted where it is seen: see `block.rs`, `virtio.rs`
//! and `world.rs`.

#![cfg_attr(engine, no_main)]
#![allow(static_mut_refs, clippy::missing_safety_doc)]

extern crate virtio_blk as _;

mod blk_run;
mod block;
mod files;
mod mem;
mod params;
mod run;
mod sync;
mod virtio;
mod work;
mod world;

use std::sync::Once;

extern "C" {
    fn __virtio_blk_init() -> i32;
}

/// One life of a device.
fn life(input: &[u8]) {
    static LOADED: Once = Once::new();

    world::begin(input);
    LOADED.call_once(|| {
        world::w().verbose = std::env::var_os("VERBOSE").is_some();
        // SAFETY: Once, and before all else, as the kernel does with what is built in.
        assert!(unsafe { __virtio_blk_init() } == 0);
        mem::memory().keep();
    });
    match world::byte() % 2 {
        0 => blk_run::run(false),
        _ => blk_run::run(true),
    }
}

/// What libFuzzer's crate calls.
#[cfg(engine)]
#[no_mangle]
extern "C" fn rust_fuzzer_test_input(input: &[u8]) -> i32 {
    life(input);
    0
}
#[cfg(engine)]
extern crate engine as _;

/// Runs the inputs of the files given: a line of hexadecimal digits each, or, of other names than
/// `*.txt`, one for the file.
#[cfg(not(engine))]
fn main() {
    let mut runs = 0;
    let mut run = |name: String, input: &[u8]| {
        std::panic::set_hook(Box::new(move |panic| eprintln!("{name}: {panic}")));
        life(input);
        runs += 1;
    };

    for name in std::env::args().skip(1) {
        let bytes = std::fs::read(&name).expect("a file of inputs");
        if !name.ends_with(".txt") {
            run(name, &bytes);
            continue;
        }
        for (i, line) in String::from_utf8(bytes).expect("text").lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let digit = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("two digits");
            let input: Vec<u8> = (0..line.len()).step_by(2).map(digit).collect();
            run(format!("{name}:{}", i + 1), &input);
        }
    }
    println!("{runs} lives of devices");
    assert!(runs > 0);
}
