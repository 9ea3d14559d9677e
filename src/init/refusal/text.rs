//! Words for files and their properties.

use std::path::Path;

use nix::sys::stat::FileStat;

/// Shows a name as it is, or in quotes if it is not clear where it ends. It never contains characters that
/// control a terminal.
pub(super) fn show(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.is_empty() || text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        true => format!("{text:?}"),
        false => text.into_owned(),
    }
}

/// Shows the mode as chmod(1) takes it.
pub(super) fn mode(stat: &FileStat) -> String {
    format!("{:04o}", stat.st_mode & 0o7777)
}

/// Names the type of a file that is not regular.
pub(super) fn kind(stat: &FileStat) -> Option<&'static str> {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => None,
        libc::S_IFDIR => Some("a directory"),
        libc::S_IFIFO => Some("a FIFO"),
        libc::S_IFSOCK => Some("a socket"),
        libc::S_IFCHR | libc::S_IFBLK => Some("a device"),
        _ => Some("not a file"),
    }
}
