//! Finds out what kind of file it is, by its first bytes.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::elf;

/// How many bytes are read: as many as the kernel reads (BINPRM_BUF_SIZE).
const HEAD: usize = 256;

pub(super) enum Content {
    /// A script: what was read of the text after `#!`.
    Script(Vec<u8>),
    Elf(elf::Program),
    /// The description of a file that this kernel does not execute.
    Other(String),
}

/// Formats that people try to execute, by their first bytes.
const FORMATS: &[(&[u8], &str)] = &[
    (b"MZ", "a program for Windows"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"\xce\xfa\xed\xfe", "a program for macOS"),
    (b"\xca\xfe\xba\xbe", "a program for macOS, or a Java class"),
    (b"\0asm", "a WebAssembly module"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"!<arch>\n", "an ar archive (a static library or a deb)"),
    (b"version https://git-lfs", "a pointer of Git LFS, and not the file itself"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"\xef\xbb\xbf#!", "a script with a byte order mark before its #!"),
];

/// Reads the content of a file. `None` if the file cannot be read: a program need not be readable.
pub(super) fn of(path: &Path) -> Option<Content> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = [0; HEAD];
    let length = file.read_at(&mut head, 0).ok()?;
    let head = &head[..length];
    Some(match head {
        [] => Content::Other("the file is empty".into()),
        [b'#', b'!', line @ ..] => Content::Script(line.to_vec()),
        [0x7f, b'E', b'L', b'F', ..] => Content::Elf(elf::Program::read(&file, head)),
        _ => Content::Other(unknown(head)),
    })
}

/// Describes a file that is neither ELF nor a script.
fn unknown(head: &[u8]) -> String {
    if let Some((_, what)) = FORMATS.iter().find(|(begin, _)| head.starts_with(begin)) {
        return (*what).into();
    }
    let is_text =
        head.iter().all(|&byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b | b' '..=0x7e | 0x80..));
    let trimmed = head.trim_ascii_start();
    match is_text {
        true if trimmed.starts_with(b"#!") => "its #! is not at the very beginning of the file".into(),
        true => "a text file without a #! line".into(),
        false if head.iter().all(|&byte| byte == 0) => {
            "the file holds zeros: it was not written to its end".into()
        }
        false => "neither ELF nor a script".into(),
    }
}

/// Returns the interpreter that a `#!` line names, as the kernel reads it.
pub(super) fn interpreter(line: &[u8]) -> Result<&[u8], &'static str> {
    let end = line.iter().position(|&byte| byte == b'\n');
    let text = &line[..end.unwrap_or(line.len())];
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let name = &text[start..];
    let length = name.iter().position(|byte| is_space(byte) || *byte == 0);
    match (name.is_empty(), end, length) {
        (true, ..) => Err("its #! line names no interpreter"),
        (false, None, None) if line.len() == HEAD - 2 => {
            Err("its #! line is longer than the 255 bytes that the kernel reads")
        }
        (false, ..) => Ok(&name[..length.unwrap_or(name.len())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_the_first_word_of_the_line() {
        type Row<'a> = (&'a [u8], Result<&'a [u8], &'a str>);
        let long = [b'x'; HEAD - 2];
        let rows: [Row<'_>; 6] = [
            (b"/bin/sh\necho", Ok(b"/bin/sh")),
            (b" /bin/sh -e\n", Ok(b"/bin/sh")),
            (b"/bin/sh\r\n", Ok(b"/bin/sh\r")),
            (b"/bin/sh", Ok(b"/bin/sh")),
            (b"  \n", Err("its #! line names no interpreter")),
            (&long, Err("its #! line is longer than the 255 bytes that the kernel reads")),
        ];
        for (line, expected) in rows {
            assert_eq!(interpreter(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }
}
