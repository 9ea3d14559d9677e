//! What readers of tar are known to read differently: it is refused, because files can be smuggled past one of
//! them (CVE-2025-62518).

use super::header::Header;
use super::path::clean;
use super::pax::SparseRecords;
use crate::error::{Kind, Result};
use crate::fail;

/// Refuses a long name of GNU beside another one of pax: some readers take the first, some the other.
pub(super) fn check_agree(gnu: Option<&Vec<u8>>, pax: Option<&Vec<u8>>) -> Result<()> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => {
            let (gnu, pax) = (gnu.escape_ascii(), pax.escape_ascii());
            Err(fail!(Kind::Spec, "an entry has two names: \"{gnu}\" and \"{pax}\""))
        }
        _ => Ok(()),
    }
}

/// Refuses the records of a sparse file before what is none: some readers take the name and the size in them,
/// and some do not.
pub(super) fn check_sparse(header: Header<'_>, records: &SparseRecords, is_sparse: bool) -> Result<()> {
    match records.is_any() && (!is_sparse || header.kind() == b'S') {
        true => Err(fail!(Kind::Spec, "it has records of a sparse file, and is none")),
        false => Ok(()),
    }
}

/// Refuses a file whose name says that it is a directory, and such a directory of V7 with data: some readers take
/// the data for the next entries, and some do not.
pub(super) fn check_slash(header: Header<'_>, name: &[u8], stored: u64) -> Result<()> {
    // Of the root it is told that it can only be a directory.
    let has_slash = name.ends_with(b"/") && !clean(name).is_empty();
    match (header.kind(), has_slash) {
        (b'0' | b'7', true) => Err(fail!(Kind::Spec, "it is a file, and its name ends in a slash")),
        (b'\0', true) if stored > 0 => Err(fail!(Kind::Spec, "it is a directory, and has data")),
        _ => Ok(()),
    }
}

/// Refuses two headers of one kind before one entry: readers disagree on which of them counts.
pub(super) fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(fail!(Kind::Spec, "an entry has two extended headers of one kind")),
    }
}
