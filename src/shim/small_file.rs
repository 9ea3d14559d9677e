//! Files of a bundle. A pipe in the place of one is not waited for, and none is read without end: every other
//! container of the pod would wait too.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Most of what is read.
const LARGEST: u64 = 16 << 20;

/// Reads a regular file, which no symlink leads to.
pub(crate) fn read(path: &Path) -> Result<String> {
    read_with(path, libc::O_NOFOLLOW)
}

/// Reads a regular file that a request names: symlinks are the caller's.
pub(crate) fn read_named(path: &Path) -> Result<String> {
    read_with(path, 0)
}

fn read_with(path: &Path, flags: i32) -> Result<String> {
    let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(Error::new(ErrorKind::InvalidData, "larger than 16 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let dir = std::env::temp_dir().join(format!("tare-small-file-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = |name: &str| dir.join(name);
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::write(path("file"), "text").unwrap();
        symlink("file", path("link")).unwrap();
        File::create(path("large")).unwrap().set_len(LARGEST + 1).unwrap();
        let kind = |found: Result<String>| found.map_err(|error| error.kind());
        for name in ["fifo", "large"] {
            assert!(kind(read(&path(name))).is_err() && kind(read_named(&path(name))).is_err(), "{name}");
        }
        assert_eq!(kind(read_named(Path::new("/dev/zero"))), Err(ErrorKind::InvalidInput));
        assert_eq!(kind(read(&path("file"))), Ok("text".into()));
        // Of what a request names, links are the caller's; of a bundle's own, they are nobody's.
        assert_eq!(kind(read_named(&path("link"))), Ok("text".into()));
        assert!(read(&path("link")).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
