// SPDX-License-Identifier: GPL-2.0

//! Parameters of who calls its own crate `core`: that has no say in whose module they are.
//~ PASS

#![forbid(unsafe_code)]

extern crate core as real;
extern crate self as core;

pub use real::concat;

storage::module_params! {
    "compile_fail":
    /// A number.
    static NUMBER: u32 = 0, "number", 0o444, "A number";
}

/// What it is.
pub fn number() -> u32 {
    NUMBER.get()
}
