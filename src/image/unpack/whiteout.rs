//! Recognizes whiteouts, entries by whose names a layer removes files of the layers below (image-spec,
//! layer.md); `apply_whiteout` applies them.

use crate::error::{Kind, Result};
use crate::fail;
use crate::image::archive::path::{check_length, split};
use crate::weak::{Defence, stands};

pub(crate) const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The prefix of names that AUFS reserves for its bookkeeping.
const RESERVED: &[u8] = b".wh..wh.";

/// The directory where AUFS keeps files that have several names.
pub(crate) const PSEUDOLINKS: &[u8] = b".wh..wh.plnk";

/// The kind of an entry, according to its path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EntryMeaning<'a> {
    /// An ordinary entry.
    File,
    /// Hide what lower layers have in this directory.
    Opaque { dir: &'a [u8] },
    /// Hide this name of lower layers.
    Whiteout { dir: &'a [u8], name: &'a [u8] },
    /// AUFS' own bookkeeping: no part of the tree.
    Reserved,
    /// A file in `.wh..wh.plnk`: hard links name it as their target.
    Pseudolink,
}

/// Returns what an entry means, from its clean path.
///
/// # Errors
///
/// `Kind::Spec` for a whiteout without a name, or a path inside a whiteout; ENAMETOOLONG for a name that no file
/// can have.
pub(crate) fn classify(path: &[u8]) -> Result<EntryMeaning<'_>> {
    check_length(path)?;
    let (dir, name) = split(path);
    if dir == PSEUDOLINKS && !name.starts_with(PREFIX) {
        return Ok(EntryMeaning::Pseudolink);
    }
    if let Some(bad) = dir.split(|&byte| byte == b'/').find(|part| part.starts_with(PREFIX)) {
        return match bad.starts_with(RESERVED) {
            true => Ok(EntryMeaning::Reserved),
            false => Err(fail!(Kind::Spec, "\"{}\" is a whiteout, nothing can be in it", bad.escape_ascii())),
        };
    }
    if name == OPAQUE {
        return Ok(EntryMeaning::Opaque { dir });
    }
    if name.starts_with(RESERVED) {
        return Ok(EntryMeaning::Reserved);
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(EntryMeaning::File),
        Some(b"" | b"." | b"..") if stands(Defence::WhiteoutName) => {
            Err(fail!(Kind::Spec, "the whiteout names nothing"))
        }
        Some(name) => Ok(EntryMeaning::Whiteout { dir, name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_off_the_last_component() {
        assert_eq!(classify(b"a/b").unwrap(), EntryMeaning::File);
        assert_eq!(classify(b"a/.wh.b").unwrap(), EntryMeaning::Whiteout { dir: b"a", name: b"b" });
        assert_eq!(classify(b".wh.b").unwrap(), EntryMeaning::Whiteout { dir: b"", name: b"b" });
        assert_eq!(classify(b".wh...x").unwrap(), EntryMeaning::Whiteout { dir: b"", name: b"..x" });
        assert_eq!(classify(b"a/.wh..wh..opq").unwrap(), EntryMeaning::Opaque { dir: b"a" });
        assert_eq!(classify(b".wh..wh.plnk").unwrap(), EntryMeaning::Reserved);
        assert_eq!(classify(b".wh..wh.plnk/1.2").unwrap(), EntryMeaning::Pseudolink);
        assert_eq!(classify(b"a/.wh..wh.plnk/1.2").unwrap(), EntryMeaning::Reserved);
        assert_eq!(classify(b".wh..wh.plnk/a/b").unwrap(), EntryMeaning::Reserved);
        assert_eq!(classify(b".whale").unwrap(), EntryMeaning::File);
    }

    #[test]
    fn a_whiteout_of_nothing_is_refused() {
        for bad in [&b".wh."[..], b"a/.wh..", b"a/.wh...", b".wh.a/b"] {
            assert!(classify(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
