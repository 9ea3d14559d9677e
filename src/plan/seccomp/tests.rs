//! What the compiled program answers to single calls, and what the compiler refuses, as tables.

use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde_json::{Value, json};

use super::action::Action;
use super::{Filter, compile};
use crate::error::{Kind, Result};

#[path = "../../../tests/seccomp/bpf.rs"]
mod bpf;

const ALL_FLAGS: libc::c_ulong = 0x3f;
const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;
const X32: u32 = 0x4000_0000;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;
const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;

fn profile(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

fn compiled_for(machine: Arch, value: Value) -> Result<Filter> {
    compile(&profile(value), machine, ALL_FLAGS)
}

fn compiled(value: Value) -> Result<Filter> {
    compiled_for(Arch::ScmpArchX86_64, value)
}

fn answer(filter: &Filter, arch: u32, number: u32, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    bpf::trace(&filter.program, &bpf::Call { number, arch, arguments: all }, |_| {})
}

fn answers(filter: &Filter, table: &[(u32, u32, &[u64], u32)]) {
    for (arch, number, arguments, expected) in table {
        let got = answer(filter, *arch, *number, arguments);
        assert_eq!(
            Action(got),
            Action(*expected),
            "{arch:#x} {number:#x} {arguments:x?}: {} is not {}",
            Action(got),
            Action(*expected)
        );
    }
}

/// A profile that denies by default, for x86_64 and its sub-architectures.
fn deny(syscalls: &Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": syscalls,
    })
}

#[test]
fn each_action_becomes_the_kernels_word() {
    let table = [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_ERRNO", None, 0x0005_0001),
        ("SCMP_ACT_ERRNO", Some(0), 0x0005_0000),
        ("SCMP_ACT_ERRNO", Some(38), 0x0005_0026),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
        ("SCMP_ACT_TRACE", Some(0xffff), 0x7ff0_ffff),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_NOTIFY", None, 0x7fc0_0000),
        ("SCMP_ACT_ALLOW", Some(5), 0x7fff_0000),
    ];
    for (action, errno, expected) in table {
        let rule = json!({"names": ["getpid"], "action": action, "errnoRet": errno});
        let default = if action == "SCMP_ACT_ALLOW" { "SCMP_ACT_KILL_PROCESS" } else { "SCMP_ACT_ALLOW" };
        let value = json!({"defaultAction": default, "listenerPath": "/run/agent.sock", "syscalls": [rule]});
        answers(&compiled(value).unwrap(), &[(X86_64, 39, &[], expected)]);
    }
}

#[test]
fn each_operator_compares_as_it_is_called() {
    /// Operator, its two values, arguments for which it holds, arguments for which it does not.
    type Row = (&'static str, u64, u64, &'static [u64], &'static [u64]);
    const BIG: u64 = 0x1_0000_0005;
    let table: &[Row] = &[
        ("SCMP_CMP_EQ", 5, 0, &[5], &[0, 4, 6, BIG, u64::MAX]),
        ("SCMP_CMP_EQ", BIG, 0, &[BIG], &[5, BIG - 1, BIG + 1, 2 << 32 | 5]),
        ("SCMP_CMP_NE", 5, 0, &[0, 4, 6, BIG], &[5]),
        ("SCMP_CMP_LT", BIG, 0, &[0, 6, BIG - 1], &[BIG, BIG + 1, 2 << 32, u64::MAX]),
        ("SCMP_CMP_LE", BIG, 0, &[0, 6, BIG], &[BIG + 1, 2 << 32, u64::MAX]),
        ("SCMP_CMP_GT", BIG, 0, &[BIG + 1, 2 << 32, u64::MAX], &[0, 6, BIG]),
        ("SCMP_CMP_GE", BIG, 0, &[BIG, BIG + 1, u64::MAX], &[0, 6, BIG - 1]),
        ("SCMP_CMP_MASKED_EQ", 0xf0, 0x30, &[0x30, 0x3f, BIG << 8 | 0x30], &[0, 0x20, 0xf0]),
        ("SCMP_CMP_MASKED_EQ", BIG, 1 << 32, &[1 << 32, 3 << 32 | 0x10], &[0, 5, 1 << 32 | 4]),
    ];
    for (op, value, value_two, hold, fail) in table {
        let args = json!([{"index": 3, "value": value, "valueTwo": value_two, "op": op}]);
        let rule = json!({"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "args": args});
        let filter = compiled(deny(&json!([rule]))).unwrap();
        for argument in *hold {
            assert_eq!(
                answer(&filter, X86_64, 39, &[9, 9, 9, *argument]),
                ALLOW,
                "{op} {value:x} {argument:x}"
            );
        }
        for argument in *fail {
            assert_eq!(
                answer(&filter, X86_64, 39, &[9, 9, 9, *argument]),
                EPERM,
                "{op} {value:x} {argument:x}"
            );
        }
    }
}

#[test]
fn conditions_of_one_rule_must_all_hold_and_those_on_one_argument_are_alternatives() {
    let arg = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let rules = json!([
        {"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "args": [arg(0, 1), arg(1, 2)]},
        {"names": ["getuid"], "action": "SCMP_ACT_ALLOW", "args": [arg(0, 1), arg(0, 2), arg(1, 7)]},
    ]);
    answers(
        &compiled(deny(&rules)).unwrap(),
        &[
            (X86_64, 39, &[1, 2], ALLOW),
            (X86_64, 39, &[1, 3], EPERM),
            (X86_64, 39, &[0, 2], EPERM),
            (X86_64, 102, &[1], ALLOW),
            (X86_64, 102, &[2], ALLOW),
            (X86_64, 102, &[3, 7], ALLOW),
            (X86_64, 102, &[3], EPERM),
        ],
    );
}

#[test]
fn where_rules_meet_the_unconditional_one_decides_and_else_the_first_that_holds() {
    let when = |op: &str, value: u64| json!([{"index": 0, "value": value, "op": op}]);
    let errno = |name: &str, errno: u32, args: Value| json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args});
    let allow = |name: &str, args: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args});
    let rules = json!([
        errno("getpid", 2, when("SCMP_CMP_EQ", 1)),
        allow("getpid", json!([])),
        errno("getpid", 3, json!([])),
        // The default's own answer is no rule and hides nothing.
        errno("getuid", 1, json!([])),
        allow("getuid", when("SCMP_CMP_EQ", 1)),
        errno("getgid", 2, when("SCMP_CMP_LT", 10)),
        allow("getgid", when("SCMP_CMP_GT", 5)),
    ]);
    answers(
        &compiled(deny(&rules)).unwrap(),
        &[
            (X86_64, 39, &[1], ALLOW),
            (X86_64, 39, &[0], ALLOW),
            (X86_64, 102, &[1], ALLOW),
            (X86_64, 102, &[0], EPERM),
            (X86_64, 104, &[7], libc::SECCOMP_RET_ERRNO | 2),
            (X86_64, 104, &[11], ALLOW),
        ],
    );
}

#[test]
fn an_architecture_that_is_not_listed_kills_and_x32_cannot_slip_past() {
    let rules = json!([{"names": ["getpid", "mkdir", "execve"], "action": "SCMP_ACT_ALLOW"}]);
    let native = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
    answers(
        &compiled(native).unwrap(),
        &[
            (X86_64, 39, &[], ALLOW),
            (X86_64, X32 | 39, &[], KILL),
            (X86_64, X32 | 520, &[], KILL),
            (X86_64, u32::MAX, &[], EPERM),
            (X86, 20, &[], KILL),
            (AARCH64, 172, &[], KILL),
        ],
    );
    answers(
        &compiled(deny(&rules)).unwrap(),
        &[
            (X86_64, 39, &[], ALLOW),
            (X86_64, 20, &[], EPERM),
            (X86_64, X32 | 39, &[], ALLOW),
            (X86_64, X32 | 520, &[], ALLOW),
            (X86_64, X32 | 59, &[], EPERM),
            (X86, 20, &[], ALLOW),
            (X86, 39, &[], ALLOW),
            (AARCH64, 172, &[], KILL),
        ],
    );
}

#[test]
fn thirty_two_bit_architectures_and_x32_compare_the_lower_half() {
    let args = json!([{"index": 0, "value": 0xffff_ffff_ffff_ffff_u64, "op": "SCMP_CMP_EQ"}]);
    let rules = json!([{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": args}]);
    answers(
        &compiled(deny(&rules)).unwrap(),
        &[
            (X86_64, 135, &[u64::MAX], ALLOW),
            (X86_64, 135, &[0xffff_ffff], EPERM),
            (X86_64, X32 | 135, &[0xffff_ffff], ALLOW),
            (X86_64, X32 | 135, &[0x1234_ffff_ffff], ALLOW),
            (X86_64, X32 | 135, &[0x1234_ffff_fffe], EPERM),
            (X86, 136, &[0xffff_ffff], ALLOW),
            (X86, 136, &[0xffff_fffe], EPERM),
        ],
    );
}

#[test]
fn numbers_above_the_newest_that_the_profile_names_are_answered_enosys() {
    // openat2 is 437 everywhere, mkdir 83 and 39.
    let rules = json!([
        {"names": ["openat2"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["cachestat"], "action": "SCMP_ACT_ERRNO"},
    ]);
    let table: &[(u32, u32, &[u64], u32)] = &[
        (X86_64, 437, &[], ALLOW),
        (X86_64, 438, &[], EPERM),
        (X86_64, 451, &[], EPERM),
        (X86_64, 452, &[], ENOSYS),
        (X86_64, X32 - 1, &[], ENOSYS),
        (X86_64, X32 | 451, &[], EPERM),
        (X86_64, X32 | 452, &[], ENOSYS),
        (X86_64, u32::MAX, &[], ENOSYS),
        (X86, 451, &[], EPERM),
        (X86, 452, &[], ENOSYS),
    ];
    answers(&compiled(deny(&rules)).unwrap(), table);
    for (default, expected) in [("SCMP_ACT_LOG", 0x7ffc_0000), ("SCMP_ACT_TRACE", 0x7ff0_0001)] {
        let value = json!({"defaultAction": default, "syscalls": rules.clone()});
        answers(&compiled(value).unwrap(), &[(X86_64, 452, &[], expected), (X86_64, 437, &[], ALLOW)]);
    }
}

#[test]
fn arms_private_calls_do_not_count_as_the_newest() {
    let rules = json!([{"names": ["mkdir", "cacheflush", "set_tls"], "action": "SCMP_ACT_ALLOW"}]);
    let architectures = json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    let value = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": rules});
    answers(
        &compiled_for(Arch::ScmpArchAarch64, value).unwrap(),
        &[
            (ARM, 39, &[], ALLOW),
            (ARM, 40, &[], ENOSYS),
            (ARM, 0xeffff, &[], ENOSYS),
            (ARM, 0xf0001, &[], EPERM),
            (ARM, 0xf0002, &[], ALLOW),
            (ARM, 0xf0005, &[], ALLOW),
            (ARM, 0xf0006, &[], EPERM),
            (AARCH64, 39, &[], EPERM),
            (X86_64, 39, &[], KILL),
        ],
    );
}

#[test]
fn a_rule_on_a_call_behind_socketcall_or_ipc_holds_for_both_ways_in() {
    let family = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]);
    let rules = json!([
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": family},
        {"names": ["bind", "send", "shmat", "getpid"], "action": "SCMP_ACT_ALLOW"},
    ]);
    answers(
        &compiled(deny(&rules)).unwrap(),
        &[
            (X86, 359, &[1], ALLOW),
            (X86, 359, &[40], EPERM),
            // Its family is out of sight behind socketcall: what cannot be checked is not allowed.
            (X86, 102, &[1], EPERM),
            (X86, 102, &[2], ALLOW),
            (X86, 102, &[9], ALLOW),
            (X86, 102, &[3], EPERM),
            (X86, 117, &[21], ALLOW),
            (X86, 117, &[1 << 16 | 21], ALLOW),
            (X86, 117, &[22], EPERM),
            (X86_64, 41, &[40], EPERM),
        ],
    );
    let vsock = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]);
    let rules = json!([
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": vsock},
        {"names": ["shmat"], "action": "SCMP_ACT_ERRNO"},
    ]);
    let value =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": rules});
    answers(
        &compiled(value).unwrap(),
        &[
            (X86, 359, &[1], ALLOW),
            (X86, 359, &[40], EPERM),
            (X86, 102, &[1], EPERM),
            (X86, 102, &[2], ALLOW),
            (X86, 117, &[7 << 16 | 21], EPERM),
            (X86, 117, &[22], ALLOW),
        ],
    );
}

#[test]
fn what_has_no_effect_is_told_with_its_place() {
    let value = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "defaultErrnoRet": 5,
        "architectures": ["SCMP_ARCH_NATIVE", "SCMP_ARCH_S390X"],
        "syscalls": [{"names": ["getpid", "getpidd"], "action": "SCMP_ACT_LOG", "errnoRet": 3}],
    });
    assert_eq!(
        compiled(value).unwrap().warnings,
        [
            "/linux/seccomp/architectures/1: this machine runs no programs of that kind: SCMP_ARCH_S390X",
            "/linux/seccomp/defaultErrnoRet: has no meaning with SCMP_ACT_ALLOW",
            "/linux/seccomp/syscalls/0/errnoRet: has no meaning with SCMP_ACT_LOG",
            "/linux/seccomp/syscalls/0/names/1: no such system call, skipped: getpidd",
        ]
    );
}

#[test]
fn a_filter_tells_itself_in_one_line() {
    let rules = json!([{"names": ["getpid"], "action": "SCMP_ACT_NOTIFY"}]);
    let value = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": rules,
        "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/run/agent.sock",
    });
    let filter = compiled(value).unwrap();
    assert_eq!(
        filter.summary(),
        format!("{} instructions, flags LOG|NEW_LISTENER, default ERRNO(38)", filter.program.len())
    );
    let notify = filter.notify.unwrap();
    assert_eq!(
        (notify.listener_path.to_str(), notify.listener_metadata.as_str()),
        (Some("/run/agent.sock"), "")
    );
}

#[test]
fn flags_are_those_of_the_profile_and_spec_allow_where_there_is_no_list() {
    let table = [
        (json!(null), 0x3f, 4),
        (json!(null), 0x3b, 0),
        (json!([]), 0x3f, 0),
        (json!(["SECCOMP_FILTER_FLAG_LOG"]), 0x3f, 2),
        (json!(["SECCOMP_FILTER_FLAG_TSYNC"]), 0x3f, 0),
        (json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]), 0x3f, 6),
    ];
    for (flags, kernel, expected) in table {
        let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags.clone()});
        let filter = compile(&profile(value), Arch::ScmpArchX86_64, kernel).unwrap();
        assert_eq!(filter.flags, expected, "{flags}");
        assert_eq!(filter.notify, None);
    }
}

#[test]
fn a_wrong_profile_is_refused_with_the_place() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
    let arg = |index: u64| json!([{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": index, "value": 0, "op": "SCMP_CMP_EQ"}]);
    let table = [
        (
            json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "/linux/seccomp/defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}),
            "/linux/seccomp/defaultErrnoRet: must be at most 4095: 4096",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536})),
            "/linux/seccomp/syscalls/0/errnoRet: must be at most 65535: 65536",
        ),
        (
            rule(json!({"names": ["read", ""], "action": "SCMP_ACT_ALLOW"})),
            "/linux/seccomp/syscalls/0/names/1: the name of a system call cannot be empty",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": arg(6)})),
            "/linux/seccomp/syscalls/0/args/1/index: a system call has 6 arguments, counted from 0: 6",
        ),
        (
            rule(json!({"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"})),
            "/linux/seccomp/syscalls/0/names/1: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"})),
            "/linux/seccomp/listenerPath: missing, but a rule has SCMP_ACT_NOTIFY and needs a listener",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
            "/linux/seccomp/flags/1: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY",
        ),
    ];
    for (value, expected) in table {
        let error = compiled(value).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (expected, Kind::Spec));
    }
}

#[test]
fn what_the_kernel_or_the_machine_lacks_is_unsupported() {
    let flags = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]});
    let notify = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}],
    });
    let table = [
        (&flags, Arch::ScmpArchX86_64, "/linux/seccomp/flags/0: this kernel has no SECCOMP_FILTER_FLAG_LOG"),
        (
            &notify,
            Arch::ScmpArchX86_64,
            "/linux/seccomp/syscalls: seccomp notify unsupported: this kernel has no \
             SECCOMP_FILTER_FLAG_NEW_LISTENER",
        ),
        (&flags, Arch::ScmpArchS390x, "/linux/seccomp: no table of system calls for SCMP_ARCH_S390X"),
    ];
    for (value, machine, expected) in table {
        let error = compile(&profile(value.clone()), machine, 0).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (expected, Kind::Unsupported));
    }
}

#[test]
fn a_profile_that_needs_too_many_instructions_is_refused() {
    let names = ["read", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap", "mprotect", "munmap"];
    let mut rules = Vec::new();
    for (position, name) in names.iter().enumerate() {
        for value in 0..100 {
            let args = json!([{"index": 0, "value": position * 1000 + value, "op": "SCMP_CMP_EQ"}]);
            rules.push(json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args}));
        }
    }
    let error = compiled(deny(&json!(rules))).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "/linux/seccomp: the rules take more instructions than the 4096 that the kernel accepts: "
        ),
        "{error}"
    );
}

#[test]
fn the_table_is_sorted_and_names_this_machines_calls_as_libc_does() {
    let names: Vec<_> = super::table::TABLE.iter().map(|row| row.0).collect();
    assert!(names.is_sorted_by(|one, other| one < other));
    let table = [
        ("read", libc::SYS_read),
        ("clone3", libc::SYS_clone3),
        ("execve", libc::SYS_execve),
        ("writev", libc::SYS_writev),
    ];
    let abis = super::arch::for_machine(super::arch::native().unwrap()).unwrap();
    for (name, number) in table {
        let row = names.binary_search(&name).unwrap();
        assert_eq!(abis[0].number(&super::table::TABLE[row]).map(i64::from), Some(number), "{name}");
    }
}
