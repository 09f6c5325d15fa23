// SPDX-License-Identifier: GPL-2.0

//! The parameter `disks`: a path for single disks, named by serial number or by the address of
//! their device, "SERIAL=bio,0000:00:04.0=request". A serial number with a comma cannot be named.

use crate::params::UseBio;
use kernel::{
    fmt,
    prelude::*,
    str::BStr,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};
use storage::module_param::Value;

/// The most bytes of the text.
const MAX: usize = 1024;

/// The text, in words. Written when the module is loaded, by one task.
static TEXT: [Atomic<u64>; MAX / 8] = [const { Atomic::new(0) }; MAX / 8];

/// The value of the parameter: the length of the text.
#[derive(Clone, Copy)]
pub(crate) struct Disks(usize);

/// An entry: a name and its path; `None` if it is not of that form.
fn entry(text: &[u8]) -> Option<(&[u8], UseBio)> {
    let at = text.iter().rposition(|byte| *byte == b'=')?;
    let path = UseBio::of_path(&text[at + 1..])?;

    (at > 0).then_some((&text[..at], path))
}

fn entries(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b',')
        .filter(|one| !one.is_empty())
}

impl Disks {
    /// Whether no disk is named.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The path of the disk of this name; the last entry counts.
    #[inline(never)]
    pub(crate) fn path_of(self, name: &[u8]) -> Option<UseBio> {
        let mut text = [0; MAX];

        self.copy(&mut text);
        entries(&text[..self.0])
            .filter_map(entry)
            .filter(|(named, _)| *named == name)
            .last()
            .map(|(_, path)| path)
    }

    fn copy(self, to: &mut [u8; MAX]) {
        for (word, to) in TEXT.iter().zip(to.chunks_exact_mut(8)) {
            to.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
    }
}

impl Value for Disks {
    const TYPE: &'static str = "charp";
    const CHOICES: &'static str = "NAME=request, NAME=bio, NAME=auto, separated by commas";

    fn parse(text: Option<&CStr>) -> Result<Self> {
        let given = text.ok_or(EINVAL)?.to_bytes();
        let mut text = [0; MAX];

        // Root may be on one of these disks: all others count, and so do the defaults.
        for one in entries(given).filter(|one| entry(one).is_none()) {
            pr_err!(
                "disks: '{}' is not NAME=request, NAME=bio or NAME=auto; ignored\n",
                BStr::from_bytes(one)
            );
        }
        let Some(room) = text.get_mut(..given.len()) else {
            pr_err!("disks: more than {} bytes; ignored\n", MAX);
            return Ok(Self(0));
        };
        room.copy_from_slice(given);
        for (word, bytes) in TEXT.iter().zip(text.chunks_exact(8)) {
            let mut one = [0; 8];
            one.copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(one), Relaxed);
        }
        Ok(Self(given.len()))
    }

    fn print(self, to: &mut dyn fmt::Write) -> fmt::Result {
        let mut text = [0; MAX];

        self.copy(&mut text);
        to.write_str(core::str::from_utf8(&text[..self.0]).unwrap_or_default())
    }

    fn to_word(self) -> u32 {
        self.0 as u32
    }

    fn from_word(word: u32) -> Self {
        Self((word as usize).min(MAX))
    }
}
