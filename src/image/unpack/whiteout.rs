//! Whiteouts: the names by which a layer takes away what is below it (image-spec, layer.md).

use crate::error::{Kind, Result};
use crate::fail;
use crate::image::archive::path::split;

pub const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that AUFS kept for itself.
const RESERVED: &[u8] = b".wh..wh.";

/// Where AUFS kept files that have several names.
pub const PSEUDOLINKS: &[u8] = b".wh..wh.plnk";

/// What the path of an entry means.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark<'a> {
    /// An entry like any other.
    None,
    /// Hide what lower layers have in this directory.
    Opaque { dir: &'a [u8] },
    /// Hide this name of lower layers.
    Whiteout { dir: &'a [u8], name: &'a [u8] },
    /// AUFS' own bookkeeping: no part of the tree.
    Reserved,
    /// A file in `.wh..wh.plnk`: hard links name it as their target.
    Pseudolink,
}

/// Reads the mark off a clean path (no leading slash, no dots).
pub fn mark(path: &[u8]) -> Result<Mark<'_>> {
    let (dir, name) = split(path);
    if dir == PSEUDOLINKS && !name.starts_with(PREFIX) {
        return Ok(Mark::Pseudolink);
    }
    if let Some(bad) = dir.split(|&byte| byte == b'/').find(|part| part.starts_with(PREFIX)) {
        return match bad.starts_with(RESERVED) {
            true => Ok(Mark::Reserved),
            false => Err(fail!(Kind::Spec, "\"{}\" is a whiteout, nothing can be in it", bad.escape_ascii())),
        };
    }
    if name == OPAQUE {
        return Ok(Mark::Opaque { dir });
    }
    if name.starts_with(RESERVED) {
        return Ok(Mark::Reserved);
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(Mark::None),
        Some(b"" | b"." | b"..") => Err(fail!(Kind::Spec, "the whiteout names nothing")),
        Some(name) => Ok(Mark::Whiteout { dir, name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_off_the_last_component() {
        assert_eq!(mark(b"a/b").unwrap(), Mark::None);
        assert_eq!(mark(b"a/.wh.b").unwrap(), Mark::Whiteout { dir: b"a", name: b"b" });
        assert_eq!(mark(b".wh.b").unwrap(), Mark::Whiteout { dir: b"", name: b"b" });
        assert_eq!(mark(b".wh...x").unwrap(), Mark::Whiteout { dir: b"", name: b"..x" });
        assert_eq!(mark(b"a/.wh..wh..opq").unwrap(), Mark::Opaque { dir: b"a" });
        assert_eq!(mark(b".wh..wh.plnk").unwrap(), Mark::Reserved);
        assert_eq!(mark(b".wh..wh.plnk/1.2").unwrap(), Mark::Pseudolink);
        assert_eq!(mark(b"a/.wh..wh.plnk/1.2").unwrap(), Mark::Reserved);
        assert_eq!(mark(b".wh..wh.plnk/a/b").unwrap(), Mark::Reserved);
        assert_eq!(mark(b".whale").unwrap(), Mark::None);
    }

    #[test]
    fn a_whiteout_of_nothing_is_refused() {
        for bad in [&b".wh."[..], b"a/.wh..", b"a/.wh...", b".wh.a/b"] {
            assert!(mark(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
