//! Files of the kernel whose text a container has a say in: it names its mount points and its groups.

use crate::cgroup::live::stats::read;
use crate::host::cgroup::Layout;
use crate::sys::mountinfo;

/// Any text is read, and a line that the kernel would write for a mount comes back as that mount.
pub(super) fn mountinfo(input: &[u8]) {
    let (first, second) = super::halves(input);
    let _ = mountinfo::parse_all(first);
    let (cgroup, mounts) = (String::from_utf8_lossy(second), String::from_utf8_lossy(first));
    let _ = Layout::parse(&cgroup, &mounts).mode();
    let point = [b"/", first].concat();
    let line =
        [b"36 35 98:0 / ", &*escaped(&point), b" rw shared:1 - ext4 ", &*escaped(first), b" rw\n"].concat();
    let mounts = mountinfo::parse_all(&line);
    assert_eq!(mounts.len(), 1, "{:?}", line.escape_ascii().to_string());
    assert_eq!(mounts[0].point.as_bytes(), point);
    assert_eq!(mounts[0].source, first);
}

/// As the kernel escapes a path (mangle_path, fs/seq_file.c).
fn escaped(path: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
        other => vec![*other],
    };
    path.iter().flat_map(escape).collect()
}

/// The files of a control group.
pub(super) fn group_files(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = read::keyed(&text);
    let _ = read::cpu_numbers(&text);
    let _ = read::blkio(&text);
    let _ = read::parse_psi(&text);
    let _ = text.lines().map(read::device).count();
}
