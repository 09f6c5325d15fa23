// SPDX-License-Identifier: GPL-2.0

//! What the data of a disk lie in.

use std::{
    fs::{
        File,
        OpenOptions, //
    },
    path::Path, //
};
use vmm_sys_util::tempfile::TempFile;

/// A file of so many bytes: the one at `path`, with what is in it, or a temporary one that is empty.
pub fn room(path: Option<&Path>, size: u64) -> Result<File, String> {
    let file = match path {
        Some(path) => OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| format!("{}: {e}", path.display()))?,
        None => TempFile::new()
            .map_err(|e| format!("no temporary file: {e}"))?
            .into_file(),
    };

    file.set_len(size)
        .map_err(|e| format!("cannot make room for the data: {e}"))?;
    Ok(file)
}
