//! A number that nobody else on this host has, most probably: for names and marks.

use std::hash::{BuildHasher, Hasher};

pub(in crate::image::run) fn number() -> u32 {
    // The standard library's hashers have random keys.
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}
