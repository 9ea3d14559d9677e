//! The runtime's log: JSON objects, one a line. Of a command that failed, the last error is told.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most of a log that is looked at.
const MOST: u64 = 1 << 20;

/// How long the log is now: a command's own lines come after.
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

/// Returns the message of the last error that was logged from `start` on.
pub(crate) fn last_error(path: &Path, start: u64) -> Option<String> {
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let found = file.metadata().ok().filter(Metadata::is_file)?;
    let end = found.len();
    let start = start.max(end.saturating_sub(MOST));
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    in_lines(&bytes)
}

fn in_lines(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(default)]
        level: String,
        #[serde(default)]
        msg: String,
    }
    let lines = bytes.split(|&byte| byte == b'\n');
    let mut errors = lines
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .filter(|line| line.level == "error");
    errors.next_back().map(|line| line.msg.trim().to_owned()).filter(|message| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_told_whatever_stands_around_it() {
        let log = b"{\"level\":\"error\",\"msg\":\"first\"}\nnoise\n{\"level\":\"error\",\"msg\":\" second \"}\n{\"level\":\"debug\",\"msg\":\"x\"}\n{\"level\":\"err";
        assert_eq!(in_lines(log).as_deref(), Some("second"));
        assert_eq!(in_lines(b""), None);
    }
}
