//! Reads the head of an ELF file (elf(5)): its machine, and the loader that it asks for. None of its numbers
//! is trusted.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

const LOADABLE: u32 = 1;
const LOADER: u32 = 3;
const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;
/// How many program headers are read. Linkers make fewer; the kernel accepts up to 64 KiB of them.
const MOST_SEGMENTS: u16 = 64;

/// The numbers of machines with their names in uname(1).
const MACHINES: &[(u16, &str)] = &[
    (2, "sparc"),
    (3, "i386"),
    (4, "m68k"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (43, "sparc64"),
    (50, "ia64"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
    (247, "bpf"),
    (258, "loongarch64"),
];

/// The head of an ELF file.
pub(super) struct Program {
    is_64: bool,
    is_little: bool,
    kind: u16,
    machine: u16,
    /// The path in PT_INTERP.
    pub loader: Option<Vec<u8>>,
    has_code: bool,
    /// Where the last part ends that the kernel maps.
    mapped_end: u64,
    size: u64,
}

/// The kernel maps whole pages. On no machine are they smaller.
const PAGE: u64 = 4096;

/// Returns the bytes of a number at this place; zeros if the file is too short.
fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    from.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

impl Program {
    pub(super) fn read(file: &File, head: &[u8]) -> Self {
        let is_64 = head.get(4) != Some(&1);
        let is_little = head.get(5) != Some(&2);
        let size = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        let (loader, has_code, mapped_end) = (None, false, 0);
        let mut program = Self { is_64, is_little, kind: 0, machine: 0, loader, has_code, mapped_end, size };
        program.kind = program.short(head, 16);
        program.machine = program.short(head, 18);
        let (table, size, count) = match is_64 {
            true => (program.word(head, 32), program.short(head, 54), program.short(head, 56)),
            false => (program.word(head, 28), program.short(head, 42), program.short(head, 44)),
        };
        for index in 0..u64::from(count.min(MOST_SEGMENTS)) {
            let at = table.saturating_add(index * u64::from(size));
            let mut segment = [0; 56];
            let wanted = if is_64 { 56 } else { 32 };
            if file.read_exact_at(&mut segment[..wanted], at).is_err() {
                break;
            }
            program.add(file, &segment);
        }
        program
    }

    fn add(&mut self, file: &File, segment: &[u8]) {
        let kind = self.order(bytes::<4>(segment, 0));
        let (offset, size) = match self.is_64 {
            true => (self.word(segment, 8), self.word(segment, 32)),
            false => (self.word(segment, 4), self.word(segment, 16)),
        };
        if kind == u64::from(LOADABLE) {
            self.has_code = true;
            self.mapped_end = self.mapped_end.max(offset.saturating_add(size));
        }
        if kind != u64::from(LOADER) || self.loader.is_some() {
            return;
        }
        let mut name = [0; 256];
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(name.len());
        if let Ok(read) = file.read_at(&mut name[..length], offset) {
            let name = &name[..read];
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(read);
            self.loader = Some(name[..end].to_vec()).filter(|name| !name.is_empty());
        }
    }

    fn order<const N: usize>(&self, mut bytes: [u8; N]) -> u64 {
        if !self.is_little {
            bytes.reverse();
        }
        bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    fn short(&self, from: &[u8], at: usize) -> u16 {
        self.order(bytes::<2>(from, at)) as u16
    }

    /// Returns an address of the file's class.
    fn word(&self, from: &[u8], at: usize) -> u64 {
        if self.is_64 { self.order(bytes::<8>(from, at)) } else { self.order(bytes::<4>(from, at)) }
    }

    /// Describes a program for another machine. Returns `None` if it is for this one.
    pub(super) fn not_for_here(&self) -> Option<String> {
        let machine = self.machine_name();
        let here = std::env::consts::ARCH;
        (machine != here).then(|| format!("a program for {machine}, this host is {here}"))
    }

    fn machine_name(&self) -> String {
        let known = MACHINES.iter().find(|(number, _)| *number == self.machine).map(|(_, name)| *name);
        match (known, self.is_64, self.is_little) {
            (Some("riscv"), true, _) => "riscv64".into(),
            (Some("riscv"), false, _) => "riscv32".into(),
            (Some("ppc64"), _, true) => "ppc64le".into(),
            (Some("mips"), true, little) => if little { "mips64el" } else { "mips64" }.into(),
            (Some("mips"), false, true) => "mipsel".into(),
            (Some("x86_64"), false, _) => "x32".into(),
            (Some("aarch64"), _, false) => "aarch64_be".into(),
            (Some(name), ..) => name.into(),
            (None, ..) => format!("machine {} of ELF", self.machine),
        }
    }

    /// Describes a program whose file ends before what the kernel maps of it. It is executed, and ends by
    /// SIGBUS or SIGSEGV as soon as it touches what is missing. Returns `None` if nothing is.
    pub(super) fn cut_off(&self) -> Option<String> {
        let is_program = matches!(self.kind, EXECUTABLE | SHARED);
        let is_cut = self.mapped_end > self.size.div_ceil(PAGE).saturating_mul(PAGE);
        (is_program && is_cut).then(|| {
            let Self { size, mapped_end, .. } = self;
            format!("the file is cut off: it has {size} bytes, and its program needs {mapped_end}")
        })
    }

    /// Describes why the file is not a program, or a damaged one. Returns `None` if it looks sound.
    pub(super) fn damage(&self) -> Option<&'static str> {
        match self.kind {
            1 => Some("an object file, which is still to be linked"),
            4 => Some("a core dump, no program"),
            EXECUTABLE | SHARED if self.has_code => None,
            EXECUTABLE | SHARED => Some("an ELF file that is cut off or damaged"),
            _ => Some("an ELF file, but no program"),
        }
    }
}

/// Returns the C library that a loader belongs to, by its name.
pub(super) fn library(loader: &Path) -> Option<&'static str> {
    let name = loader.file_name()?.as_bytes();
    [
        (&b"ld-musl"[..], "musl"),
        (b"ld-linux", "glibc"),
        (b"ld64.so", "glibc"),
        (b"ld.so.1", "glibc"),
        (b"linker", "Android"),
    ]
    .into_iter()
    .find_map(|(prefix, library)| name.starts_with(prefix).then_some(library))
}
