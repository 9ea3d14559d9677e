//! The memory that this process holds while it waits.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::Elf64_Phdr as Segment;
use nix::errno::Errno;

use super::Result;

/// More than a program has read-only parts, and one.
const MOST: usize = 8;

/// What a command may have used of its stack, and what the kernel keeps free below it at least.
const STACK: usize = 1 << 20;
/// What is left to the functions that are at work.
const IN_USE: usize = 16 << 10;

/// A range of addresses, as madvise(2) takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Range {
    start: usize,
    length: usize,
}

/// Takes out of this process's memory what it does not need to keep: the program's code and constants, which are in the
/// page cache and come back by themselves, and what was on the stack.
pub fn forget() {
    let mut room = [Range { start: 0, length: 0 }; MOST];
    for range in forgettable(&mut room) {
        // SAFETY: mappings of the program's file that cannot be written to, so what is read again is what was there; and
        // the stack far below this function. A failure changes nothing.
        unsafe { libc::madvise(range.start as *mut c_void, range.length, libc::MADV_DONTNEED) };
    }
}

/// Reads one byte, and forgets until it comes. For whoever waits for long.
///
/// # Errors
/// Those of read(2), but for EINTR: it goes on.
#[cfg(target_arch = "x86_64")]
pub fn read_forgetful(fd: BorrowedFd<'_>) -> Result<()> {
    let mut room = [Range { start: 0, length: 0 }; MOST];
    let ranges = forgettable(&mut room);
    let mut byte = 0_u8;
    let answer: isize;
    // SAFETY: as in `forget`, and a read of one byte into one byte. All of it is in two pages of code, that one
    // after the last call is needed for: they get a mapping of their own (by advice that others do not have), because
    // KERNEL(6.18) brings back as much as the page cache holds in one piece, a megabyte perhaps, but within a mapping.
    unsafe {
        std::arch::asm!(
            "lea rdi, [rip + 2f]",
            "neg {page}",
            "and rdi, {page}",
            "neg {page}",
            "lea rsi, [{page} + {page}]",
            "mov edx, {random}",
            "mov eax, {madvise}",
            "syscall",
            "2:",
            "test {count}, {count}",
            "jz 3f",
            "mov rdi, [{ranges}]",
            "mov rsi, [{ranges} + 8]",
            "mov edx, {dont_need}",
            "mov eax, {madvise}",
            "syscall",
            "add {ranges}, 16",
            "dec {count}",
            "jmp 2b",
            "3:",
            "mov rdi, {fd}",
            "mov rsi, {byte}",
            "mov edx, 1",
            "mov eax, {read}",
            "syscall",
            "cmp rax, {interrupted}",
            "je 3b",
            page = inout(reg) page_size() => _,
            count = inout(reg) ranges.len() => _,
            ranges = inout(reg) ranges.as_ptr() => _,
            fd = in(reg) fd.as_raw_fd() as isize,
            byte = in(reg) &raw mut byte,
            random = const libc::MADV_RANDOM,
            dont_need = const libc::MADV_DONTNEED,
            madvise = const libc::SYS_madvise,
            read = const libc::SYS_read,
            interrupted = const -libc::EINTR,
            out("rax") answer,
            out("rdi") _, out("rsi") _, out("rdx") _, out("rcx") _, out("r11") _,
            options(nostack),
        );
    }
    if answer < 0 { Err(Errno::from_raw(-answer as i32)) } else { Ok(()) }
}

/// The same, as well as can be without the processor's own words.
#[cfg(not(target_arch = "x86_64"))]
pub fn read_forgetful(fd: BorrowedFd<'_>) -> Result<()> {
    forget();
    read(fd)
}

/// Reads one byte.
///
/// # Errors
/// Those of read(2), but for EINTR: it goes on.
pub fn read(fd: BorrowedFd<'_>) -> Result<()> {
    loop {
        match nix::unistd::read(fd, &mut [0]) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Where the program's file is mapped and cannot be written to, and the part of the stack that is not in use.
#[inline(never)]
fn forgettable(room: &mut [Range; MOST]) -> &[Range] {
    let (segments, moved) = own_segments();
    let page = page_size();
    let fixed = segments.iter().filter(|one| one.p_type == libc::PT_LOAD && one.p_flags & libc::PF_W == 0);
    let mut count = 0;
    for (range, segment) in room[1..].iter_mut().zip(fixed) {
        let first = moved.wrapping_add(segment.p_vaddr as usize);
        let start = first & !(page - 1);
        *range = Range { start, length: first + segment.p_memsz as usize - start };
        count += 1;
    }
    let here = (&raw const count).addr() & !(page - 1);
    room[0] = Range { start: here.saturating_sub(STACK), length: STACK.saturating_sub(IN_USE.max(page)) };
    &room[..=count]
}

/// The parts of the program's file, and how far from the addresses in it the kernel has mapped them.
fn own_segments() -> (&'static [Segment], usize) {
    // SAFETY: numbers that the kernel gave to this program.
    let (table, count) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM)) };
    if table == 0 {
        return (&[], 0);
    }
    // SAFETY: the table is in the program's first segment, which stays mapped and is never written to.
    let segments = unsafe { std::slice::from_raw_parts(table as *const Segment, count as usize) };
    // The table tells where it would be itself; without that, the program is linked to a fixed place.
    let own = segments.iter().find(|one| one.p_type == libc::PT_PHDR);
    (segments, own.map_or(0, |own| (table as usize).wrapping_sub(own.p_vaddr as usize)))
}

fn page_size() -> usize {
    // SAFETY: a number that the kernel gave to this program.
    unsafe { libc::getauxval(libc::AT_PAGESZ) as usize }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn byte_ends_the_wait_and_code_comes_back() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, &[7]).unwrap();
        forget();
        assert_eq!(read_forgetful(reader.as_fd()), Ok(()));
        assert_eq!(read_forgetful(writer.as_fd()), Err(Errno::EBADF));
    }
}
