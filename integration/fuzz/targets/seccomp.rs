//! The compiler of seccomp profiles: what the program answers to a call, against what `tare seccomp explain` says that it
//! answers. (`tests/seccomp_differential.rs` compares with libseccomp.)

use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde_json::{Value, json};

use crate::plan::seccomp::{Asked, Decision, compile, explain};

#[path = "../../../tests/seccomp/bpf.rs"]
#[allow(clippy::duplicate_mod)]
mod bpf;

const ALL_FLAGS: libc::c_ulong = 0x3f;
const NATIVE: u32 = 0xc000_003e;
const ACTIONS: [&str; 8] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
/// Few calls, so that rules meet on one of them.
const CALLS: [&str; 8] = ["read", "clone", "socket", "personality", "openat2", "no_such_call", "mmap", "ipc"];
const VALUES: [u64; 8] = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32, u64::MAX];

/// The input is a profile as JSON, or it is one in few bytes: both are tried.
pub(super) fn seccomp(input: &[u8]) {
    if let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(input) {
        let _ = compile(&profile, Arch::ScmpArchX86_64, ALL_FLAGS);
    }
    let mut bytes = input.iter().copied();
    let Some(profile) = profile(&mut bytes) else { return };
    let Ok(filter) = compile(&profile, Arch::ScmpArchX86_64, ALL_FLAGS) else { return };
    for call in CALLS {
        for first in VALUES {
            let arguments = [first, VALUES[usize::from(bytes.next().unwrap_or(3) % 8)], 0, 1, 2, 3];
            judge(&profile, &filter.program, call, arguments);
        }
    }
}

fn judge(profile: &LinuxSeccomp, program: &[libc::sock_filter], call: &str, arguments: [u64; 6]) {
    let arch = Some("SCMP_ARCH_X86_64");
    let explained = explain(profile, &Asked { call, arguments: &arguments, arch }).unwrap();
    let (Some(number), Decision::Action(said)) = (explained.call.number, &explained.decision) else { return };
    let asked = bpf::Call { number, arch: NATIVE, arguments };
    let answer = bpf::trace(program, &asked, |_| ());
    assert_eq!(answer, said.0, "{call} {arguments:x?}: {explained:?} of {profile:?}");
}

fn profile(bytes: &mut impl Iterator<Item = u8>) -> Option<LinuxSeccomp> {
    let default = ACTIONS[usize::from(bytes.next()? % 8)];
    let count = bytes.next()? % 6;
    let rules: Option<Vec<Value>> = (0..count).map(|_| rule(bytes)).collect();
    serde_json::from_value(json!({"defaultAction": default, "syscalls": rules?})).ok()
}

fn rule(bytes: &mut impl Iterator<Item = u8>) -> Option<Value> {
    let chosen = bytes.next()?;
    let names: Vec<_> = CALLS.iter().enumerate().filter(|(bit, _)| chosen & (1 << bit) != 0).collect();
    let names: Vec<_> = names.into_iter().map(|(_, name)| *name).collect();
    let head = bytes.next()?;
    let conditions: Option<Vec<Value>> = (0..head >> 6).map(|_| condition(bytes)).collect();
    let action = ACTIONS[usize::from(head % 8)];
    let errno = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE").then_some(head >> 3 & 7);
    Some(json!({"names": names, "action": action, "errnoRet": errno, "args": conditions?}))
}

fn condition(bytes: &mut impl Iterator<Item = u8>) -> Option<Value> {
    let (head, values) = (bytes.next()?, bytes.next()?);
    Some(json!({
        "index": head & 1,
        "op": OPERATORS[usize::from(head >> 1) % 7],
        "value": VALUES[usize::from(values & 7)],
        "valueTwo": VALUES[usize::from(values >> 3 & 7)],
    }))
}
