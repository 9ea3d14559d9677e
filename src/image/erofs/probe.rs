//! Finds out whether this host mounts indexes, by mounting one.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;

use super::builder::IndexBuilder;
use super::format::BLOCK;
use super::index_file::write_index;
use crate::error::{Context, Error, Result};
use crate::image::filesystem::erofs;
use crate::image::unpack::entry_adapter::EntryAdapter;

/// Mounts the index of an empty archive, with both files in `dir`, without names, and forgets it. Returns why the
/// host cannot.
///
/// # Errors
///
/// What the files say, and any other answer than those of a host that cannot.
pub(crate) fn probe(dir: &Path) -> Result<Option<Error>> {
    let place = "try whether this host mounts EROFS";
    let (index, archive) = (nameless(dir).context(place)?, nameless(dir).context(place)?);
    archive.set_len(2 * BLOCK).context(place)?;
    let Ok(mut empty) = IndexBuilder::new(EntryAdapter::default()).finish() else { return Ok(None) };
    write_index(&mut empty, &archive, None, [0; 16], &index)?;
    match erofs::mount(&index, &archive) {
        Ok(_) => Ok(None),
        Err(failed) if failed.may_be_the_host => Ok(Some(failed.into())),
        Err(failed) => Err(Error::from(failed).context(place)),
    }
}

/// Makes a file that is gone when it is closed.
fn nameless(dir: &Path) -> Result<File> {
    let options = |flags| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(flags);
        options
    };
    match options(libc::O_TMPFILE).open(dir) {
        // The filesystem has no such files.
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {}
        made => return Ok(made?),
    }
    for number in 0..u32::MAX {
        let path = dir.join(format!("probe.{}.{number}", std::process::id()));
        match options(0).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => {
                let made = made?;
                std::fs::remove_file(&path)?;
                return Ok(made);
            }
        }
    }
    Err(Errno::EEXIST.into())
}
