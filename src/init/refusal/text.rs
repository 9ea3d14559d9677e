//! Words for files and their properties.

use std::path::Path;

use nix::sys::stat::FileStat;

/// Shows a path, in quotes if it has whitespace or special characters. The result never contains characters
/// that control a terminal or change the direction of text.
pub(in crate::init) fn show(path: &Path) -> String {
    let text = path.to_string_lossy();
    let quoted = format!("{text:?}");
    let is_plain =
        !text.is_empty() && !text.contains(char::is_whitespace) && quoted[1..quoted.len() - 1] == *text;
    if is_plain { text.into_owned() } else { quoted }
}

/// Shows the mode in octal, as for chmod(1).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shown_commands_the_terminal() {
        for (name, shown) in [
            ("/bin/größe", "/bin/größe"),
            ("", "\"\""),
            ("/a b", "\"/a b\""),
            ("/\u{1b}[31m", "\"/\\u{1b}[31m\""),
            ("/a\u{202e}b", "\"/a\\u{202e}b\""),
            ("/a\u{2066}b", "\"/a\\u{2066}b\""),
        ] {
            assert_eq!(show(Path::new(name)), shown);
        }
    }
}
