// SPDX-License-Identifier: GPL-2.0
//! Nobody else makes kinds of disk.
//~ ERROR `Kind` is a "sealed trait"

#![forbid(unsafe_code)]

use storage::block::gen_disk::Kind;

pub struct Both;

impl Kind for Both {}
