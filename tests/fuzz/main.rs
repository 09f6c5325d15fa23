// SPDX-License-Identifier: GPL-2.0

//! A fuzzer of the drivers: both modules as they are, linked with a model of the kernel whose devices lie.
//!
//! A run is the life of a device, from probe to removal, and its input decides all that happens in
//! it. What must hold whatever the device does is asserted where it is seen: see `block.rs`, `scsi.rs`,
//! `virtio.rs` and `world.rs`.

#![cfg_attr(engine, no_main)]
#![allow(static_mut_refs, clippy::missing_safety_doc)]

extern crate virtio_blk as _;
extern crate virtio_scsi as _;

mod blk_run;
mod block;
#[forbid(unsafe_code)]
mod contract;
mod files;
mod mem;
mod params;
mod run;
mod scsi;
mod scsi_run;
mod shadow;
mod sync;
mod virtio;
mod work;
mod world;

use std::sync::Once;

extern "C" {
    fn __virtio_blk_init() -> i32;
    fn __virtio_scsi_init() -> i32;
}

/// The module that `#[vtable]` takes this to be.
struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static kernel::str::CStr = c"fuzz";
    // SAFETY: There is none, as in what is built in.
    const THIS_MODULE: kernel::ThisModule =
        unsafe { kernel::ThisModule::from_ptr(std::ptr::null_mut()) };
}

/// Whose device the input is the life of: by its first byte, whose third bit says whether a second word
/// of settings follows.
fn driver(input: &[u8]) -> &'static str {
    match input.first().unwrap_or(&0) % 4 {
        0 | 1 => "virtio_blk",
        _ => "virtio_scsi",
    }
}

/// One life of a device.
fn life(input: &[u8]) {
    static LOADED: Once = Once::new();

    world::begin(input);
    LOADED.call_once(|| {
        world::w().verbose = std::env::var_os("VERBOSE").is_some();
        shadow::prove();
        contract::prove();
        // SAFETY: Once, and before all else, as the kernel does with what is built in.
        assert!(unsafe { __virtio_blk_init() == 0 && __virtio_scsi_init() == 0 });
        mem::memory().keep();
    });
    let first = world::byte();
    let more = |has: bool| if has { world::word() } else { 0 };
    let has_more = first & 4 != 0;
    match driver(input) {
        "virtio_blk" => blk_run::run(first % 2 == 1, more(has_more)),
        _ => scsi_run::run(more(has_more)),
    }
}

/// What libFuzzer's crate calls. With DRIVER it keeps no lives of another one.
#[cfg(engine)]
#[no_mangle]
#[allow(improper_ctypes_definitions)] // It is Rust that calls.
extern "C" fn rust_fuzzer_test_input(input: &[u8]) -> i32 {
    static DRIVER: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("DRIVER").ok());

    if DRIVER.as_ref().is_some_and(|name| *name != driver(input)) {
        return -1;
    }
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
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!("{name}: {panic}");
            // With RUST_BACKTRACE=1, of the task that runs.
            eprintln!("{}", std::backtrace::Backtrace::capture());
        }));
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
