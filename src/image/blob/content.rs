//! Names the format of a file by its first bytes, where a tar archive was expected.

use crate::error::{Error, Kind};
use crate::fail;

/// Formats that users give instead of a tar archive: the first bytes, the name, and the command that unpacks
/// it.
const KNOWN: [(&[u8], &str, Option<&str>); 13] = [
    (b"\xfd7zXZ\0", "xz", Some("xz -d")),
    (b"BZh", "bzip2", Some("bzip2 -d")),
    (b"\x1f\x8b", "gzip", Some("gzip -d")),
    (b"\x28\xb5\x2f\xfd", "zstd", Some("zstd -d")),
    (b"\x04\x22\x4d\x18", "lz4", Some("lz4 -d")),
    (b"LZIP", "lzip", Some("lzip -d")),
    (b"\x5d\0\0", "lzma", Some("xz -d")),
    (b"\x1f\x9d", "compress", Some("uncompress")),
    (b"PK\x03\x04", "a zip archive", None),
    (b"hsqs", "a squashfs filesystem", None),
    (b"\x7fELF", "an ELF program", None),
    (b"{", "JSON", None),
    (b"<", "HTML or XML", None),
];

/// Returns the name of the format whose files begin with these bytes, if it is known.
pub(crate) fn name(start: &[u8]) -> Option<&'static str> {
    KNOWN.iter().find(|(magic, ..)| start.starts_with(magic)).map(|&(_, name, _)| name)
}

/// The error for an archive that begins with these bytes.
pub(crate) fn no_tar(start: &[u8]) -> Error {
    match KNOWN.iter().find(|(magic, ..)| start.starts_with(magic)) {
        None => fail!(Kind::Spec, "it is no tar archive"),
        Some((_, name, None)) => fail!(Kind::Spec, "it is no tar archive, but {name}"),
        Some((_, name, Some(program))) => {
            let error = fail!(Kind::Unsupported, "it is compressed with {name}: only gzip and zstd are read");
            error.with_hint(format!("decompress it first: {program} FILE"))
        }
    }
}
