//! Filters in the kernel: a child loads one and makes system calls by every way in that the machine has.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "support/skip.rs"]
mod skip;

use std::arch::asm;
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

/// A way into the kernel, and a call made by it: its number there and two arguments.
#[derive(Debug, Clone, Copy)]
enum Call {
    Native(u32, u64, u64),
    /// `int 0x80`, the way of 32-bit programs, open to 64-bit ones.
    Int80(u32, u64, u64),
    X32(u32, u64, u64),
}

impl Call {
    /// Makes the call; the kernel's answer is negative for an errno.
    fn make(self) -> i64 {
        let answer: i64;
        match self {
            // SAFETY: the calls of this file only get numbers and null pointers, which the kernel checks.
            Self::Native(number, one, two) => unsafe {
                asm!("syscall", inlateout("rax") u64::from(number) => answer, in("rdi") one, in("rsi") two,
                     in("rdx") 0_u64, in("r10") 0_u64, in("r8") 0_u64, lateout("rcx") _, lateout("r11") _);
                answer
            },
            Self::X32(number, one, two) => Self::Native(0x4000_0000 | number, one, two).make(),
            // SAFETY: as above; rbx, which the compiler keeps for itself, is put back.
            Self::Int80(number, one, two) => unsafe {
                asm!("xchg {one}, rbx", "int 0x80", "xchg {one}, rbx", one = inlateout(reg) one => _,
                     inlateout("rax") u64::from(number) => answer, in("rcx") two, in("rdx") 0_u64, in("rsi") 0_u64,
                     lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
                i64::from(answer as i32)
            },
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
    compile(&profile, Arch::ScmpArchX86_64, seccomp::supported_flags()).unwrap()
}

/// The profile in the configuration that Docker wrote for a container without options.
fn docker() -> Filter {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/docker-default.json");
    let config: Value = serde_json::from_reader(File::open(path).unwrap()).unwrap();
    filter(&config["linux"]["seccomp"])
}

const NO_INT80: &str = "needs a kernel that lets 32-bit programs in";

/// Whether a 64-bit program gets in by `int 0x80` on this host.
fn has_int80() -> bool {
    matches!(fate(None, &[Call::Int80(20, 0, 0)]), Fate::Answers(answers) if answers[0] > 0)
}

const EPERM: i64 = -(libc::EPERM as i64);
const EFAULT: i64 = -(libc::EFAULT as i64);
const ENOSYS: i64 = -(libc::ENOSYS as i64);

#[test]
fn under_dockers_profile_calls_are_allowed_denied_and_unknown() {
    let calls = [
        (Call::Native(39, 0, 0), None),            // getpid
        (Call::Native(83, 0, 0), Some(EFAULT)),    // mkdir: allowed, and fails for itself
        (Call::Native(165, 0, 0), Some(EPERM)),    // mount
        (Call::Native(272, 0, 0), Some(EPERM)),    // unshare(0), which is harmless and works otherwise
        (Call::Native(135, 0xffff_ffff, 0), None), // personality(query)
        (Call::Native(135, 1, 0), Some(EPERM)),    // personality with a value that is not in the profile
        (Call::Native(435, 0, 0), Some(ENOSYS)),   // clone3: the C library is to fall back to clone
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

#[test]
fn a_call_by_int_0x80_meets_the_rules_of_32_bit_programs() {
    if !has_int80() {
        return skip(NO_INT80);
    }
    // In 32-bit numbers 20 is getpid, 21 mount, 39 mkdir; in 64-bit numbers writev, access, getpid.
    let calls = [Call::Int80(20, 0, 0), Call::Int80(21, 0, 0), Call::Int80(39, 0, 0), Call::Int80(435, 0, 0)];
    let Fate::Answers(answers) = fate(Some(&docker()), &calls) else {
        panic!("killed under Docker's profile")
    };
    assert!(answers[0] > 0, "{answers:?}");
    assert_eq!(answers[1..], [EPERM, EFAULT, ENOSYS]);
}

#[test]
fn a_call_by_the_x32_number_meets_the_rules_of_x32_programs() {
    // Whether the kernel has x32 or not: the filter comes first.
    let calls = [Call::X32(165, 0, 0), Call::X32(135, 1, 0), Call::X32(435, 0, 0)];
    assert_eq!(fate(Some(&docker()), &calls), Fate::Answers(vec![EPERM, EPERM, ENOSYS]));
}

#[test]
fn a_denied_call_is_denied_by_every_way_in() {
    let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100}]);
    let archs = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let listed =
        filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "syscalls": rules}));
    let native = filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    let ways = [Call::Native(83, 0, 0), Call::X32(83, 0, 0), Call::Int80(39, 0, 0)];
    let ways = if has_int80() {
        &ways[..]
    } else {
        skip_part(NO_INT80);
        &ways[..2]
    };
    assert_eq!(fate(Some(&listed), ways), Fate::Answers(vec![-100; ways.len()]));
    assert_eq!(fate(Some(&native), &ways[..1]), Fate::Answers(vec![-100]));
    for way in &ways[1..] {
        assert_eq!(fate(Some(&native), &[*way]), Fate::Killed(Signal::SIGSYS), "{way:?}");
    }
}

#[test]
fn actions_that_kill_and_trap_end_the_process_and_log_lets_it_go_on() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let rules = json!([{"names": ["getppid"], "action": action}]);
        let filter = filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
        assert_eq!(fate(Some(&filter), &[Call::Native(110, 0, 0)]), Fate::Killed(Signal::SIGSYS), "{action}");
    }
    let rules = json!([{"names": ["getppid"], "action": "SCMP_ACT_LOG"}]);
    let filter = filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    let parent = i64::from(std::process::id());
    assert_eq!(fate(Some(&filter), &[Call::Native(110, 0, 0)]), Fate::Answers(vec![parent]));
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
        let archs = json!(["SCMP_ARCH_X86"]);
        let filter =
            filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "syscalls": rules}));
        assert!(matches!(fate(Some(&filter), &[Call::Native(39, 0, 0)]), Fate::Answers(_)), "{op}");
    }
}

#[test]
fn a_program_that_the_kernel_refuses_is_an_error() {
    assert_eq!(seccomp::load(&[], 0).unwrap_err(), nix::errno::Errno::EINVAL);
    assert_ne!(seccomp::supported_flags() & libc::SECCOMP_FILTER_FLAG_LOG, 0);
}
