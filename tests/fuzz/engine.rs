// SPDX-License-Identifier: GPL-2.0

//! The fuzzing engine.

pub use libfuzzer_sys;
