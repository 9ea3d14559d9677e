//! Filters in the kernel: a child loads one and makes system calls by every way in that the machine has.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "support/skip.rs"]
mod skip;

use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde_json::{Value, json};
use skip::{skip, skip_part};
use tare::sys::seccomp;
use tare::testing::plan::seccomp::{Filter, compile};

use ways::{ARCH, ARCHS, NARROW_GETUID, NARROW_MKDIR, NARROW_MOUNT, NEEDED, WAYS, has_narrow, narrow};

/// The ways into this machine's kernel, and how a call is made by each.
#[cfg(target_arch = "x86_64")]
mod ways {
    use std::arch::asm;

    use super::{Call, Fate, fate};

    pub(super) const ARCH: super::Arch = super::Arch::ScmpArchX86_64;
    /// What a profile lists to let each of them in.
    pub(super) const ARCHS: &[&str] = &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    pub(super) const NEEDED: &str = "needs a kernel that lets 32-bit programs in";
    /// mkdir, but by the machine's own.
    pub(super) const WAYS: &[Call] = &[Call::X32(83, 0, 0), Call::Narrow(NARROW_MKDIR, 0, 0)];
    pub(super) const NARROW_GETUID: u32 = 199;
    pub(super) const NARROW_MOUNT: u32 = 21;
    pub(super) const NARROW_MKDIR: u32 = 39;

    pub(super) fn native(number: u32, one: u64, two: u64) -> i64 {
        let answer: i64;
        // SAFETY: the calls of this file only get numbers and null pointers, which the kernel checks.
        unsafe {
            asm!("syscall", inlateout("rax") u64::from(number) => answer, in("rdi") one, in("rsi") two,
                 in("rdx") 0_u64, in("r10") 0_u64, in("r8") 0_u64, lateout("rcx") _, lateout("r11") _);
        }
        answer
    }

    /// `int 0x80`, the way of 32-bit programs, open to 64-bit ones.
    pub(super) fn narrow(number: u32, one: u64, two: u64) -> i64 {
        let answer: i64;
        // SAFETY: as above; rbx, which the compiler keeps for itself, is put back.
        unsafe {
            asm!("xchg {one}, rbx", "int 0x80", "xchg {one}, rbx", one = inlateout(reg) one => _,
                 inlateout("rax") u64::from(number) => answer, in("rcx") two, in("rdx") 0_u64, in("rsi") 0_u64,
                 lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
        }
        i64::from(answer as i32)
    }

    /// Whether a 64-bit program gets in by `int 0x80` on this host.
    pub(super) fn has_narrow() -> bool {
        matches!(fate(None, &[Call::Narrow(NARROW_GETUID, 0, 0)]), Fate::Answers(answers) if answers[0] >= 0)
    }
}

/// Here nobody gets in as a 32-bit program but by being one, so one is written: it makes the call and ends with the
/// answer's low byte, which shows every errno of these tests (as 256 less).
#[cfg(target_arch = "aarch64")]
mod ways {
    use std::arch::asm;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::{Call, Fate, fate};

    pub(super) const ARCH: super::Arch = super::Arch::ScmpArchAarch64;
    pub(super) const ARCHS: &[&str] = &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
    pub(super) const NEEDED: &str = "needs a processor and a kernel that run 32-bit programs";
    pub(super) const WAYS: &[Call] = &[Call::Narrow(323, 0, 0)]; // mkdirat
    pub(super) const NARROW_GETUID: u32 = 199;
    pub(super) const NARROW_MOUNT: u32 = 21;
    pub(super) const NARROW_MKDIR: u32 = 39;

    pub(super) fn native(number: u32, one: u64, two: u64) -> i64 {
        let answer: i64;
        // SAFETY: the calls of this file only get numbers and null pointers, which the kernel checks.
        unsafe {
            asm!("svc 0", in("x8") u64::from(number), inlateout("x0") one => answer, in("x1") two,
                 in("x2") 0_u64, in("x3") 0_u64, in("x4") 0_u64);
        }
        answer
    }

    /// Executes, in a child, the program that makes this call: the answer is its exit status, or minus the signal that
    /// killed it, far from every errno.
    pub(super) fn narrow(number: u32, one: u64, two: u64) -> i64 {
        let program = file(&program(number, one as u32, two as u32));
        // SAFETY: the child executes the program or ends; a filter may be in force, and then only calls are made.
        let status = unsafe {
            let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32;
            if child == 0 {
                let none = [std::ptr::null::<libc::c_char>()];
                let (path, empty) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
                libc::syscall(
                    libc::SYS_execveat,
                    program.as_raw_fd(),
                    path,
                    none.as_ptr(),
                    none.as_ptr(),
                    empty,
                );
                libc::_exit(1);
            }
            let mut status = 0;
            libc::waitpid(child, &raw mut status, 0);
            status
        };
        if libc::WIFSIGNALED(status) {
            return KILLED - i64::from(libc::WTERMSIG(status));
        }
        let byte = libc::WEXITSTATUS(status);
        i64::from(if byte > 127 { byte - 256 } else { byte })
    }

    /// What `narrow` answers for a program that was killed is this, less the signal.
    pub(super) const KILLED: i64 = -10_000;

    fn file(program: &[u8]) -> std::fs::File {
        let fd = nix::sys::memfd::memfd_create(c"narrow", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
        let mut file = std::fs::File::from(fd);
        file.write_all(program).unwrap();
        // What is open for writing is not executed.
        std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
    }

    /// An ELF program of 32-bit ARM (A32): registers are set with movw and movt, svc makes the call, and exit_group (248)
    /// takes r0 as it is.
    fn program(number: u32, one: u32, two: u32) -> Vec<u8> {
        let set = |register: u32, value: u32| {
            let half = |code: u32, half: u32| code | (half >> 12) << 16 | register << 12 | half & 0xfff;
            [half(0xe300_0000, value & 0xffff), half(0xe340_0000, value >> 16)]
        };
        let mut code = Vec::new();
        for (register, value) in [(0, one), (1, two), (2, 0), (3, 0), (4, 0), (5, 0), (7, number)] {
            code.extend(set(register, value));
        }
        code.push(0xef00_0000);
        code.extend(set(7, 248));
        code.push(0xef00_0000);
        let base = 0x1_0000_u32;
        let size = 84 + code.len() as u32 * 4;
        let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let halves = |bytes: &mut Vec<u8>, halves: &[u16]| {
            halves.iter().for_each(|half| bytes.extend(half.to_le_bytes()))
        };
        let words = |bytes: &mut Vec<u8>, words: &[u32]| {
            words.iter().for_each(|word| bytes.extend(word.to_le_bytes()))
        };
        halves(&mut bytes, &[2, 40]); // ET_EXEC, EM_ARM
        words(&mut bytes, &[1, base + 84, 52, 0, 0x0500_0200]); // the EABI of version 5
        halves(&mut bytes, &[52, 32, 1, 0, 0, 0]);
        words(&mut bytes, &[1, 0, base, base, size, size, 5, 0x1_0000]); // PT_LOAD, read and execute
        words(&mut bytes, &code);
        bytes
    }

    pub(super) fn has_narrow() -> bool {
        matches!(fate(None, &[Call::Narrow(NARROW_MKDIR, 0, 0)]), Fate::Answers(answers) if answers == [super::EFAULT])
    }
}

/// A way into the kernel, and a call made by it: its number there and two arguments.
#[derive(Debug, Clone, Copy)]
enum Call {
    Native(i64, u64, u64),
    /// As 32-bit programs make it.
    Narrow(u32, u64, u64),
    #[cfg(target_arch = "x86_64")]
    X32(u32, u64, u64),
}

impl Call {
    /// Makes the call; the kernel's answer is negative for an errno.
    fn make(self) -> i64 {
        match self {
            Self::Native(number, one, two) => ways::native(number as u32, one, two),
            Self::Narrow(number, one, two) => narrow(number, one, two),
            #[cfg(target_arch = "x86_64")]
            Self::X32(number, one, two) => ways::native(0x4000_0000 | number, one, two),
        }
    }
}

/// What became of the calls.
#[derive(Debug, PartialEq)]
enum Fate {
    Answers(Vec<i64>),
    Killed(Signal),
}

/// The calls' answers in a child, under the filter if there is one.
fn fate(filter: Option<&Filter>, calls: &[Call]) -> Fate {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child allocates nothing and takes no lock: it makes system calls on what is already there.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let ok = filter.is_none_or(loads);
            for call in calls.iter().filter(|_| ok) {
                let _ = writer.write_all(&call.make().to_ne_bytes());
            }
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(if ok { 0 } else { 1 }) }
        }
    };
    drop(writer);
    let answers = read_answers(&mut reader);
    match waitpid(child, None).unwrap() {
        WaitStatus::Exited(_, 0) => Fate::Answers(answers),
        WaitStatus::Signaled(_, signal, _) => Fate::Killed(signal),
        status => panic!("the filter was not loaded: {status:?}"),
    }
}

/// Loads the filter as a container's process without privileges would.
fn loads(filter: &Filter) -> bool {
    nix::sys::prctl::set_no_new_privs().is_ok() && seccomp::load(&filter.program, filter.flags).is_ok()
}

fn read_answers(reader: &mut PipeReader) -> Vec<i64> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_ne_bytes(*bytes)).collect()
}

fn filter(profile: &Value) -> Filter {
    let profile: LinuxSeccomp = serde_json::from_value(profile.clone()).unwrap();
    compile(&profile, ARCH, seccomp::supported_flags()).unwrap()
}

/// The profile in the configuration that Docker wrote for a container without options.
fn docker() -> Filter {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/docker-default.json");
    let config: Value = serde_json::from_reader(File::open(path).unwrap()).unwrap();
    let mut profile = config["linux"]["seccomp"].clone();
    profile["architectures"] = json!(ARCHS);
    filter(&profile)
}

const EPERM: i64 = -(libc::EPERM as i64);
const EFAULT: i64 = -(libc::EFAULT as i64);
const ENOSYS: i64 = -(libc::ENOSYS as i64);

#[test]
fn under_dockers_profile_calls_are_allowed_denied_and_unknown() {
    let calls = [
        (Call::Native(libc::SYS_getpid, 0, 0), None),
        (Call::Native(libc::SYS_mkdirat, 0, 0), Some(EFAULT)), // allowed, and fails for itself
        (Call::Native(libc::SYS_mount, 0, 0), Some(EPERM)),
        (Call::Native(libc::SYS_unshare, 0, 0), Some(EPERM)), // which is harmless and works otherwise
        (Call::Native(libc::SYS_personality, 0xffff_ffff, 0), None), // a question
        (Call::Native(libc::SYS_personality, 1, 0), Some(EPERM)), // a value that is not in the profile
        (Call::Native(libc::SYS_clone3, 0, 0), Some(ENOSYS)), // the C library is to fall back to clone
        (Call::Native(0x3fff_ffff, 0, 0), Some(ENOSYS)),
    ];
    let Fate::Answers(answers) = fate(Some(&docker()), &calls.map(|(call, _)| call)) else {
        panic!("killed under Docker's profile");
    };
    for ((call, expected), answer) in calls.iter().zip(answers) {
        match expected {
            None => assert!(answer >= 0, "{call:?}: {answer}"),
            Some(expected) => assert_eq!(answer, *expected, "{call:?}"),
        }
    }
}

#[test]
fn a_call_newer_than_the_profile_is_unknown_although_the_kernel_has_it() {
    // close_range is 436, openat2 437: without a filter a null pointer is EFAULT or EINVAL.
    let calls = [Call::Native(436, 9000, 8000), Call::Native(437, 0, 0)];
    let rules = json!([{"names": ["write", "exit_group", "mount_setattr"], "action": "SCMP_ACT_ALLOW"}]);
    let with = filter(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}));
    assert_eq!(fate(Some(&with), &calls), Fate::Answers(vec![EPERM; 2]));
    let rules = json!([{"names": ["write", "exit_group", "clone3"], "action": "SCMP_ACT_ALLOW"}]);
    let without = filter(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}));
    assert_eq!(fate(Some(&without), &calls), Fate::Answers(vec![ENOSYS; 2]));
}

/// The numbers are others: on x86, 199, 21 and 39 are fremovexattr, access and getpid of a 64-bit program.
#[test]
fn a_call_of_a_32_bit_program_meets_its_own_rules() {
    if !has_narrow() {
        return skip(NEEDED);
    }
    let calls = [NARROW_GETUID, NARROW_MOUNT, NARROW_MKDIR, 435].map(|number| Call::Narrow(number, 0, 0));
    let Fate::Answers(answers) = fate(Some(&docker()), &calls) else {
        panic!("killed under Docker's profile")
    };
    assert!(answers[0] != EPERM && answers[0] != ENOSYS, "{answers:?}");
    assert_eq!(answers[1..], [EPERM, EFAULT, ENOSYS]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_call_by_the_x32_number_meets_the_rules_of_x32_programs() {
    // Whether the kernel has x32 or not: the filter comes first.
    let calls = [Call::X32(165, 0, 0), Call::X32(135, 1, 0), Call::X32(435, 0, 0)];
    assert_eq!(fate(Some(&docker()), &calls), Fate::Answers(vec![EPERM, EPERM, ENOSYS]));
}

#[test]
fn a_denied_call_is_denied_by_every_way_in() {
    let rules = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100}]);
    let listed =
        filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ARCHS, "syscalls": rules}));
    let native = filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    let own = Call::Native(libc::SYS_mkdirat, 0, 0);
    for filter in [&listed, &native] {
        assert_eq!(fate(Some(filter), &[own]), Fate::Answers(vec![-100]));
    }
    for way in WAYS {
        if matches!(way, Call::Narrow(..)) && !has_narrow() {
            skip_part(NEEDED);
            continue;
        }
        assert_eq!(fate(Some(&listed), &[*way]), Fate::Answers(vec![-100]), "{way:?}");
        assert!(is_killed(&fate(Some(&native), &[*way])), "{way:?}");
    }
}

/// By the filter: the process itself, or the program that stands for a 32-bit call.
fn is_killed(fate: &Fate) -> bool {
    #[cfg(target_arch = "aarch64")]
    if *fate == Fate::Answers(vec![ways::KILLED - Signal::SIGSYS as i64]) {
        return true;
    }
    *fate == Fate::Killed(Signal::SIGSYS)
}

#[test]
fn actions_that_kill_and_trap_end_the_process_and_log_lets_it_go_on() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let rules = json!([{"names": ["getppid"], "action": action}]);
        let filter = filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
        assert_eq!(
            fate(Some(&filter), &[Call::Native(libc::SYS_getppid, 0, 0)]),
            Fate::Killed(Signal::SIGSYS),
            "{action}"
        );
    }
    let rules = json!([{"names": ["getppid"], "action": "SCMP_ACT_LOG"}]);
    let filter = filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    let parent = i64::from(std::process::id());
    assert_eq!(fate(Some(&filter), &[Call::Native(libc::SYS_getppid, 0, 0)]), Fate::Answers(vec![parent]));
}

#[test]
fn a_rule_that_notifies_gives_a_listener() {
    let rules = json!([{"names": ["getppid"], "action": "SCMP_ACT_NOTIFY"}]);
    let filter = filter(&json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": "/run/agent.sock",
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
    }));
    // SAFETY: as in `fate`.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let listener = nix::sys::prctl::set_no_new_privs()
                .and_then(|()| seccomp::load(&filter.program, filter.flags))
                .ok()
                .flatten();
            // SAFETY: fcntl only asks about a descriptor; _exit leaves without running anything of the parent's.
            unsafe {
                let flags = listener.map_or(-1, |listener| libc::fcntl(listener.as_raw_fd(), libc::F_GETFD));
                libc::_exit(flags)
            }
        }
    };
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, libc::FD_CLOEXEC));
}

#[test]
fn the_kernel_takes_a_program_that_ends_in_argument_checks() {
    // It refuses a jump over the end even where no way leads to it.
    for op in ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"] {
        let args = json!([{"index": 0, "value": 5, "op": format!("SCMP_CMP_{op}")}]);
        let rules =
            json!([{"names": ["read", "clone3", "close_range"], "action": "SCMP_ACT_ERRNO", "args": args}]);
        let filter =
            filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ARCHS, "syscalls": rules}));
        assert!(
            matches!(fate(Some(&filter), &[Call::Native(libc::SYS_getpid, 0, 0)]), Fate::Answers(_)),
            "{op}"
        );
    }
}

#[test]
fn a_program_that_the_kernel_refuses_is_an_error() {
    assert_eq!(seccomp::load(&[], 0).unwrap_err(), nix::errno::Errno::EINVAL);
    assert_ne!(seccomp::supported_flags() & libc::SECCOMP_FILTER_FLAG_LOG, 0);
}
