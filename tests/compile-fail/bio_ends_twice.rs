// SPDX-License-Identifier: GPL-2.0

//! A bio in two lists ends twice.
//~ ERROR use of moved value: `bio`

#![forbid(unsafe_code)]

use storage::block::bio::{
    Bio,
    BioList, //
};

/// Ends a bio, and once more.
pub fn twice(bio: Bio) {
    let mut list = BioList::new();

    list.push(bio);
    list.push(bio);
    list.end_all();
}
