//! Reads /proc/self/mountinfo, the list of mounts in our mount namespace (proc_pid_mountinfo(5)).

use std::ffi::CString;
use std::path::Path;

use super::{Result, errno_of};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number in this mount namespace.
    pub id: u64,
    /// The filesystem's device, `MAJOR:MINOR`.
    pub device: Vec<u8>,
    /// The mounted directory of the filesystem; `/` for the whole filesystem.
    pub root: Vec<u8>,
    /// The mount point.
    pub point: CString,
    /// The type of the filesystem.
    pub kind: Vec<u8>,
    pub source: Vec<u8>,
    /// The filesystem's options, each with the kernel's escapes.
    pub options: Vec<u8>,
}

/// Reads all mounts, in the order of the kernel.
pub fn read() -> Result<Vec<Mount>> {
    read_of(Path::new("/proc/self"))
}

/// Reads the mounts of the process that has this directory in /proc: those below its root directory.
pub fn read_of(process: &Path) -> Result<Vec<Mount>> {
    let text = std::fs::read(process.join("mountinfo"));
    let text = text.map_err(|error| errno_of(&error))?;
    Ok(parse_all(&text))
}

/// Parses the text of the file; a line that is none is left out.
pub(crate) fn parse_all(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse).collect()
}

/// Parses one line: numbered fields, any number of tagged ones, a dash, then the filesystem's fields.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let (device, root, point) = (fields.nth(1)?.to_vec(), unescape(fields.next()?), fields.next()?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (fields.next()?.to_vec(), unescape(fields.next()?));
    let (point, options) = (CString::new(unescape(point)).ok()?, fields.next()?.to_vec());
    Some(Mount { id, device, root, point, kind, source, options })
}

/// Undoes the kernel's escapes: blanks and backslashes are written as a backslash and three octal digits.
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, others @ ..] = rest {
        match (first, others) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', left @ ..]) => {
                text.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = left;
            }
            _ => {
                text.push(*first);
                rest = others;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line =
            b"40 29 0:45 /a\\134b /mnt/re\\040sctrl rw,relatime shared:2 master:1 - resctrl some-source rw";
        let mount = Mount {
            id: 40,
            device: b"0:45".into(),
            root: b"/a\\b".into(),
            point: c"/mnt/re sctrl".into(),
            kind: b"resctrl".into(),
            source: b"some-source".into(),
            options: b"rw".into(),
        };
        assert_eq!(parse(line), Some(mount));
        assert_eq!(parse(b"29 1 8:1 / / rw - ext4 /dev/sda rw").unwrap().kind, b"ext4");
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn this_machine_has_a_procfs() {
        assert!(
            read().unwrap().iter().any(|mount| mount.kind == b"proc" && mount.point.as_c_str() == c"/proc")
        );
    }
}
