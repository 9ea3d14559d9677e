//! The output of a container in the background: a file of lines in the format of Kubernetes (`TIME STREAM TAG
//! TEXT`), which Podman writes as `k8s-file`. The tag is `F` at the end of a line, and `P` where a line goes on.

use std::fs::File;
use std::io::Write;
use std::time::SystemTime;

/// The name of the file in the container's directory.
pub(crate) const NAME: &str = "log";
/// The longest line of the file; what is longer is written in parts, as other programs do it.
const MAX_LINE: usize = 16 << 10;

/// Writes what a stream gives to the file, line by line.
#[derive(Debug)]
pub(super) struct LogWriter {
    file: File,
    /// What has come of the line that has not ended, of standard output and of standard error.
    begun: [Vec<u8>; 2],
    has_failed: bool,
}

/// The streams, by their index.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

impl LogWriter {
    pub(super) fn new(file: File) -> Self {
        Self { file, begun: [Vec::new(), Vec::new()], has_failed: false }
    }

    /// Writes the lines that end in `bytes`, and keeps the rest.
    pub(super) fn add(&mut self, stream: usize, bytes: &[u8]) {
        let mut text = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(stream, "F", &mut text),
                byte => {
                    self.begun[stream].push(*byte);
                    if self.begun[stream].len() == MAX_LINE {
                        self.end_line(stream, "P", &mut text);
                    }
                }
            }
        }
        self.write(&text);
    }

    /// Writes the lines that have not ended.
    pub(super) fn finish(&mut self) {
        let mut text = Vec::new();
        for stream in 0..STREAMS.len() {
            if !self.begun[stream].is_empty() {
                self.end_line(stream, "P", &mut text);
            }
        }
        self.write(&text);
    }

    fn end_line(&mut self, stream: usize, tag: &str, text: &mut Vec<u8>) {
        let time = humantime::format_rfc3339_nanos(SystemTime::now());
        let _ = write!(text, "{time} {} {tag} ", STREAMS[stream]);
        text.append(&mut self.begun[stream]);
        text.push(b'\n');
    }

    /// Writes whole lines. A full disk must not stop the container: what there is no room for is lost, and the
    /// file goes on with a new line where there is room again.
    fn write(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if self.has_failed && self.file.write_all(b"\n").is_err() {
            return;
        }
        self.has_failed = self.file.write_all(text).is_err();
    }
}

/// A line of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) time: &'a str,
    pub(crate) is_error: bool,
    /// Whether the container's own line ends here.
    pub(crate) is_whole: bool,
    pub(crate) text: &'a [u8],
}

/// Parses a line of the file, without its end; None for what is none.
pub(crate) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |&byte| byte == b' ');
    let mut word = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (time, stream, tag) = (word()?, word()?, word()?);
    let is_error = STREAMS.iter().position(|known| *known == stream)? == 1;
    Some(Line { time, is_error, is_whole: tag == "F", text: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let path = std::env::temp_dir().join(format!("tare-image-log-{}", std::process::id()));
        let mut log = LogWriter::new(File::create(&path).unwrap());
        log.add(0, b"one\ntw");
        log.add(1, b"an error \xff\n");
        log.add(0, b"o\n\nlast");
        log.add(1, &[b'x'; MAX_LINE + 1]);
        log.finish();
        let text = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<_> = text.split(|&byte| byte == b'\n').filter_map(parse).collect();
        let seen: Vec<_> = lines.iter().map(|line| (line.is_error, line.is_whole, line.text.len())).collect();
        let expected = [
            (false, true, 3),
            (true, true, 10),
            (false, true, 3),
            (false, true, 0),
            (true, false, MAX_LINE),
            (false, false, 4),
            (true, false, 1),
        ];
        assert_eq!(seen, expected);
        assert_eq!(lines[1].text, b"an error \xff");
        assert!(humantime::parse_rfc3339(lines[0].time).is_ok());
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"2026 stdin F x"), None);
    }
}
