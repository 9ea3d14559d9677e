//! Re-execution from a read-only clone of the binary, before the C library has started.
//!
//! Commands that put a process of ours into a container execute themselves again ([`launch::seal`] says why).
//! Everything before that runs twice. So this file has the program's first instructions: the kernel enters at
//! `tare_entry`, which executes the read-only clone at once if it can, and otherwise jumps to the C library's
//! `_start`. It is optional: without it, or if it fails, `launch::seal` does the same later.
//!
//! Nothing here may need what the C library prepares: no thread-local variable (errno), no `memcpy` (its
//! address is found at start-up), no pointer in a static (a position-independent program has not relocated
//! itself yet), no allocation; and nothing may panic. Any failure is silent.
//!
//! [`launch::seal`]: crate::launch::seal

use std::arch::asm;

/// The verbs that call [`launch::seal::own_binary`], because they put a process of ours into a container
/// (`restore` does not: CRIU makes the processes). They are padded with NULs. A container with such a name
/// costs one needless re-execution. They are arrays and not slices, because a slice in a static is a pointer.
/// They are statics and not constants, because `memcpy` copies a constant to where it is used.
///
/// [`launch::seal::own_binary`]: crate::launch::seal
static VERBS: [[u8; 8]; 4] = [*b"create\0\0", *b"exec\0\0\0\0", *b"mounts\0\0", *b"run\0\0\0\0\0"];

static OWN_BINARY: [u8; 15] = *b"/proc/self/exe\0";
static EMPTY_PATH: [u8; 1] = [0];

/// struct mount_attr (mount_setattr(2)): set, clear, propagation, namespace.
static READ_ONLY: [u64; 4] = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];

/// The start of the auxiliary name (AT_EXECFN, getauxval(3)) of a program that was executed by descriptor
/// (execveat(2)).
static BY_DESCRIPTOR: [u8; 8] = *b"/dev/fd/";

/// Executes the program again from a read-only clone, if its command needs that and it was not yet executed
/// by descriptor. `/dev/fd/` in the auxiliary name shows only that somebody used execveat; `launch::seal`
/// checks that the mount is read-only.
///
/// # Safety
/// Only for the program's entry: `stack` is what the kernel has put there, argc followed by argv and envp.
pub unsafe extern "C" fn seal(stack: *const usize) {
    // The other place is asked whether it stands.
    if cfg!(feature = "weak") {
        return;
    }
    // SAFETY: the kernel's layout (execve(2), System V ABI): argc, argc pointers, a null, the environment's
    // pointers.
    let (argc, argv) = unsafe { (*stack, stack.add(1)) };
    // SAFETY: argv has argc pointers to NUL-terminated strings.
    if !unsafe { has_verb(argv, argc) } {
        return;
    }
    // SAFETY: as above, past the null that ends argv.
    let envp = unsafe { argv.add(argc + 1) };
    // SAFETY: as above.
    if unsafe { is_by_descriptor(envp) } {
        return;
    }
    let (own, empty) = (OWN_BINARY.as_ptr() as usize, EMPTY_PATH.as_ptr() as usize);
    // SAFETY: pointers to NUL-terminated strings, to a struct of the size given and to the kernel's own
    // vectors; the descriptor is closed by execveat, and does no harm where that fails.
    unsafe {
        let flags = libc::OPEN_TREE_CLONE as usize | libc::O_CLOEXEC as usize;
        let clone = call(libc::SYS_open_tree, libc::AT_FDCWD as usize, own, flags, 0, 0);
        if clone < 0 {
            return;
        }
        let (clone, flags) = (clone as usize, libc::AT_EMPTY_PATH as usize);
        let change = READ_ONLY.as_ptr() as usize;
        if call(libc::SYS_mount_setattr, clone, empty, flags, change, size_of::<libc::mount_attr>()) == 0 {
            call(libc::SYS_execveat, clone, empty, argv as usize, envp as usize, flags);
        }
    }
}

/// Whether the auxiliary name of the program shows that it was executed by descriptor. The auxiliary vector
/// is behind the environment.
///
/// # Safety
/// `envp` must be the kernel's: pointers, a null, then pairs of a key and a value up to the key 0.
unsafe fn is_by_descriptor(envp: *const usize) -> bool {
    let mut word = envp;
    // SAFETY: up to the null.
    while unsafe { *word } != 0 {
        // SAFETY: as above.
        word = unsafe { word.add(1) };
    }
    // SAFETY: past the null, the first pair.
    word = unsafe { word.add(1) };
    loop {
        // SAFETY: pairs up to the key 0; the value of AT_EXECFN is a NUL-terminated string.
        unsafe {
            match *word as libc::c_ulong {
                libc::AT_NULL => return false,
                libc::AT_EXECFN => return begins_with(*word.add(1) as *const u8, &BY_DESCRIPTOR),
                _ => word = word.add(2),
            }
        }
    }
}

/// # Safety
/// `argv` must have `argc` pointers to NUL-terminated strings.
unsafe fn has_verb(argv: *const usize, argc: usize) -> bool {
    let mut index = 1;
    while index < argc {
        // SAFETY: index is below argc.
        let argument = unsafe { *argv.add(index) } as *const u8;
        let mut verb = 0;
        while verb < VERBS.len() {
            // SAFETY: a NUL-terminated string.
            if unsafe { begins_with(argument, &VERBS[verb]) } {
                return true;
            }
            verb += 1;
        }
        index += 1;
    }
    false
}

/// Whether `text` begins with `word`. A NUL in `word` ends it, and then it must be the whole text.
///
/// # Safety
/// `text` must be NUL-terminated.
unsafe fn begins_with(text: *const u8, word: &[u8; 8]) -> bool {
    let mut index = 0;
    while index < word.len() {
        // SAFETY: not past the NUL, because up to here both are the same and had none. Volatile, so that the
        // compiler does not turn the loop into a call of the C library.
        if unsafe { text.add(index).read_volatile() } != word[index] {
            return false;
        }
        if word[index] == 0 {
            return true;
        }
        index += 1;
    }
    true
}

/// Makes a system call with the instruction itself. An error is a negative number.
///
/// # Safety
/// Those of the system call.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let answer: isize;
    // SAFETY: the kernel's calling convention; it changes rcx and r11 besides its answer.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

/// Makes a system call with the instruction itself. An error is a negative number.
///
/// # Safety
/// Those of the system call.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let answer: isize;
    // SAFETY: the kernel's calling convention; it changes nothing but x0.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => answer, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, options(nostack));
    }
    answer
}

/// Makes a system call with the instruction itself. An error is a negative number.
///
/// # Safety
/// Those of the system call.
#[cfg(target_arch = "riscv64")]
#[inline(always)]
unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let answer: isize;
    // SAFETY: the kernel's calling convention; it changes nothing but a0.
    unsafe {
        asm!("ecall", in("a7") number, inlateout("a0") a => answer, in("a1") b, in("a2") c, in("a3") d,
            in("a4") e, options(nostack));
    }
    answer
}

/// Defines `tare_entry`, where the kernel enters the program (build.rs tells the linker). It calls [`seal`],
/// then jumps to the C library's start with unchanged registers and stack.
///
/// It is a macro because the symbol must be the binary's own: the linker drops it from a library.
#[macro_export]
macro_rules! early_seal_entry {
    () => {
        /// The first instructions of the program.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn tare_entry() -> ! {
            // rdx holds a function that the C library calls at exit (System V ABI). The stack is aligned as
            // required.
            std::arch::naked_asm!(
                "xor ebp, ebp",
                "mov r12, rdx",
                "mov r13, rsp",
                "mov rdi, rsp",
                "call {seal}",
                "mov rsp, r13",
                "mov rdx, r12",
                "jmp _start",
                seal = sym $crate::sys::tuning::early_seal::seal,
            )
        }

        /// The first instructions of the program.
        #[cfg(target_arch = "aarch64")]
        #[allow(unsafe_code)]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn tare_entry() -> ! {
            // x0 is kept for the C library, like rdx on x86_64.
            std::arch::naked_asm!(
                "mov x29, xzr",
                "mov x19, x0",
                "mov x0, sp",
                "bl {seal}",
                "mov x0, x19",
                "mov x30, xzr",
                "b _start",
                seal = sym $crate::sys::tuning::early_seal::seal,
            )
        }

        /// The first instructions of the program.
        #[cfg(target_arch = "riscv64")]
        #[allow(unsafe_code)]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn tare_entry() -> ! {
            // The linker may have turned addresses of data into distances from gp, which is therefore set first,
            // and cannot itself be found that way. a0 is kept for the C library, like rdx on x86_64.
            std::arch::naked_asm!(
                ".option push",
                ".option norelax",
                "la gp, __global_pointer$",
                ".option pop",
                "mv s0, zero",
                "mv s1, a0",
                "mv a0, sp",
                "call {seal}",
                "mv a0, s1",
                "mv ra, zero",
                "tail _start",
                seal = sym $crate::sys::tuning::early_seal::seal,
            )
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains_verb(arguments: &[&std::ffi::CStr]) -> bool {
        let argv: Vec<usize> = arguments.iter().map(|argument| argument.as_ptr() as usize).collect();
        // SAFETY: as many pointers as it has, to strings that live.
        unsafe { has_verb(argv.as_ptr(), argv.len()) }
    }

    #[test]
    fn the_verbs_are_those_that_seal_the_binary() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lifecycle/verbs");
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        let seals =
            |path: &std::path::PathBuf| std::fs::read_to_string(path).unwrap().contains("seal::own_binary()");
        let mut sealing: Vec<_> = files
            .filter(seals)
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        sealing.sort();
        // A person calls it, who does not see half a millisecond; and the word is the value of a flag as well.
        sealing.retain(|verb| verb != "debug");
        let verb = |padded: &[u8; 8]| String::from_utf8_lossy(padded).trim_end_matches('\0').to_owned();
        let verbs: Vec<_> = VERBS.iter().map(verb).collect();
        assert_eq!(sealing, verbs);
    }

    #[test]
    fn a_verb_is_a_whole_argument_but_the_first() {
        assert!(contains_verb(&[c"tare", c"run", c"x"]));
        assert!(contains_verb(&[c"tare", c"--root", c"/r", c"exec", c"x"]));
        assert!(!contains_verb(&[c"run"]));
        assert!(!contains_verb(&[c"tare", c"runs", c"ru", c"", c"state", c"--exec"]));
    }
}
