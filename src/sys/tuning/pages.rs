//! Gives memory of a waiting process back with madvise(2). A created container may wait long for `start`, and
//! there may be hundreds of them. Each then needs 108 KiB of physical memory instead of 920.

#[cfg(target_arch = "x86_64")]
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use libc::Elf64_Phdr as Segment;
#[cfg(any(test, target_arch = "x86_64"))]
use nix::errno::Errno;

use crate::sys::Result;
#[cfg(not(target_arch = "x86_64"))]
use crate::sys::file::read_byte;
use crate::sys::process::page_size;

/// The ranges are the read-only segments of the program and its stack: fewer than this.
const MAX_RANGES: usize = 8;

/// How much of the stack below the current function is given back: a command does not use more. The kernel
/// keeps at least as much free below the stack.
const STACK_SIZE: usize = 1 << 20;
/// How much of the stack below the current function is kept for the functions that run next.
const STACK_IN_USE: usize = 16 << 10;

/// A range of addresses for madvise(2).
#[repr(C)]
#[derive(Clone, Copy)]
struct Range {
    start: usize,
    length: usize,
}

/// Gives back the unused part of the stack, and the program's code and constants. These are in the page cache
/// and are mapped again when they are used.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn release_pages() {
    let mut ranges = [Range { start: 0, length: 0 }; MAX_RANGES];
    for range in releasable(&mut ranges) {
        // SAFETY: the range is a read-only mapping of the program's file, which is read again unchanged, or
        // stack far below this function, which nobody uses. A failure changes nothing.
        unsafe { libc::madvise(range.start as *mut std::ffi::c_void, range.length, libc::MADV_DONTNEED) };
    }
}

/// Gives pages back, and reads one byte from `fd`.
///
/// # Errors
/// Those of read(2), except EINTR, after which it reads again.
#[cfg(target_arch = "x86_64")]
pub(crate) fn read_byte_releasing_pages(fd: BorrowedFd<'_>) -> Result<()> {
    let mut ranges = [Range { start: 0, length: 0 }; MAX_RANGES];
    let ranges = releasable(&mut ranges);
    let mut byte = 0_u8;
    let answer: isize;
    // SAFETY: as in `release_pages`, and a read of one byte into one byte.
    //
    // The code from here to the last system call lies within two pages. MADV_RANDOM splits them into a
    // mapping of their own. Otherwise KERNEL(6.18) would fault in up to a megabyte around them.
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

/// Gives pages back, and reads one byte from `fd`. Unlike the assembly for x86_64, this maps the code around
/// read(2) again at once.
///
/// # Errors
/// Those of read(2), except EINTR, after which it reads again.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn read_byte_releasing_pages(fd: BorrowedFd<'_>) -> Result<()> {
    release_pages();
    read_byte(fd)
}

/// Returns the read-only mappings of the program's file, and the unused part of the stack.
#[inline(never)]
fn releasable(ranges: &mut [Range; MAX_RANGES]) -> &[Range] {
    let (segments, bias) = own_segments();
    let page = page_size();
    let fixed = segments
        .iter()
        .filter(|segment| segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_W == 0);
    let mut count = 0;
    for (range, segment) in ranges[1..].iter_mut().zip(fixed) {
        let first = bias.wrapping_add(segment.p_vaddr as usize);
        let start = first & !(page - 1);
        *range = Range { start, length: first + segment.p_memsz as usize - start };
        count += 1;
    }
    let here = (&raw const count).addr() & !(page - 1);
    ranges[0] = Range {
        start: here.saturating_sub(STACK_SIZE),
        length: STACK_SIZE.saturating_sub(STACK_IN_USE.max(page)),
    };
    &ranges[..=count]
}

/// Returns the program headers of the running binary, and the load bias, which is added to the addresses in
/// its file.
fn own_segments() -> (&'static [Segment], usize) {
    // SAFETY: numbers that the kernel gave to this program.
    let (table, count) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM)) };
    if table == 0 {
        return (&[], 0);
    }
    // SAFETY: the table is in the program's first segment, which stays mapped and is never written to.
    let segments = unsafe { std::slice::from_raw_parts(table as *const Segment, count as usize) };
    // The table has an entry for its own address. Without one, the program is linked to a fixed address.
    let program_headers = segments.iter().find(|segment| segment.p_type == libc::PT_PHDR);
    (segments, program_headers.map_or(0, |own| (table as usize).wrapping_sub(own.p_vaddr as usize)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn byte_ends_the_wait_and_code_comes_back() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, &[7]).unwrap();
        release_pages();
        assert_eq!(read_byte_releasing_pages(reader.as_fd()), Ok(()));
        assert_eq!(read_byte_releasing_pages(writer.as_fd()), Err(Errno::EBADF));
    }
}
