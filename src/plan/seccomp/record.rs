//! `seccomp record`: the profile under which every call is reported, and the profile of what was called.
//!
//! What the container's own profile refuses stays refused in both, so a recorded profile never permits more
//! than that. Its conditions on arguments stay as they are.

use std::collections::BTreeSet;
use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Act, LinuxSeccompFilterFlag as Flag, LinuxSyscall,
};

use super::arch;
use super::multiplex::{IPC, SOCKETCALL};
use super::table::TABLE;
use crate::kernel::seccomp::{
    ENOSYS, EPERM, SECCOMP_FILTER_FLAG_SPEC_ALLOW, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, c_ulong,
};

/// The call that cannot be reported, because the process reports its listener with it. It is in every
/// recorded profile.
const UNREPORTED: &str = "write";

/// What every process of ours calls under its filter, and some call only in a later start: to execute the
/// program, and to end if it is refused.
const LAST_CALLS: [&str; 3] = ["execve", "exit_group", UNREPORTED];

/// What a process of ours may call beside those under a filter that is loaded before its user changes (without
/// noNewPrivileges). A recording sees most of them; a later `exec` as another user, or `create` and `start`
/// instead of `run`, needs the others.
const CALLS_BEFORE_THE_PROGRAM: [&str; 28] = [
    "brk",
    "capset",
    "chdir",
    "close",
    "faccessat",
    "faccessat2",
    "fchown",
    "fcntl",
    "fstat",
    "getcwd",
    "getpid",
    "madvise",
    "mmap",
    "munmap",
    "newfstatat",
    "open",
    "openat",
    "prctl",
    "read",
    "recvmsg",
    "rt_sigaction",
    "rt_sigprocmask",
    "sendto",
    "setgroups",
    "setresgid",
    "setresuid",
    "stat",
    "statx",
];

/// More than programs call. One that calls numbers at random must not fill the memory of who records it.
const MOST_LOOKED_UP: usize = 4096;

/// The calls that were seen, by the conventions of this machine.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    names: BTreeSet<&'static str>,
    archs: BTreeSet<usize>,
    /// What has been looked up already: most calls come again and again.
    looked_up: BTreeSet<(u32, u32, u32)>,
}

impl Calls {
    /// Adds a call as `seccomp_data` describes it.
    pub(crate) fn add(&mut self, audit: u32, number: u32, first_argument: u64) {
        // Of the others the first argument does not say which call it is.
        let way = if matches!(number, SOCKETCALL | IPC) { first_argument as u32 } else { 0 };
        if self.looked_up.len() >= MOST_LOOKED_UP {
            self.looked_up.clear();
        }
        if !self.looked_up.insert((audit, number, way)) {
            return;
        }
        let Some(abis) = arch::native().and_then(arch::for_machine) else { return };
        let has =
            |abi: &&arch::Abi| abi.audit == audit && abi.blocks.iter().any(|block| block.contains(&number));
        let Some(position) = abis.iter().position(has) else { return };
        self.archs.insert(position);
        let behind = TABLE.iter().find(|row| {
            let through = abis[position].multiplexed(row);
            through.is_some_and(|through| through.number == number && through.call == way & through.mask)
        });
        self.names.extend(behind.or_else(|| abis[position].call(number)).map(|row| row.0));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the seen conventions, this machine's own first and always.
    fn architectures(&self) -> Vec<Arch> {
        let abis = arch::native().and_then(arch::for_machine).unwrap_or_default();
        let seen = |(index, _): &(usize, _)| *index == 0 || self.archs.contains(index);
        abis.iter().enumerate().filter(seen).map(|(_, abi)| abi.arch).collect()
    }
}

/// Returns the profile that reports every call that `own` permits to the listener at `path`; without `own`,
/// every call. A warning is added for what cannot be kept.
pub(crate) fn reporting(
    own: Option<&LinuxSeccomp>,
    path: PathBuf,
    kernel_flags: c_ulong,
    warnings: &mut Vec<String>,
) -> LinuxSeccomp {
    let mut profile = own.cloned().unwrap_or_else(permissive_on_every_architecture);
    let (kept, permitted) = divide(&profile, warnings);
    let mut rules = Vec::new();
    if is_permissive(profile.default_action()) {
        let refused: BTreeSet<&str> = kept.iter().flat_map(|rule| rule.names()).map(String::as_str).collect();
        let names = TABLE.iter().map(|row| row.0).filter(|name| !refused.contains(name));
        rules.extend(report(&rule(names, Act::ScmpActAllow)));
        // No profile can name a call that the table does not have: it has the same answer afterwards.
        profile.set_default_action(Act::ScmpActErrno).set_default_errno_ret(Some(ENOSYS));
    } else {
        rules.extend(permitted.iter().flat_map(report));
    }
    rules.extend(kept);
    let usual =
        (kernel_flags & SECCOMP_FILTER_FLAG_SPEC_ALLOW != 0).then_some(Flag::SeccompFilterFlagSpecAllow);
    let mut flags = profile.flags().clone().unwrap_or_else(|| usual.into_iter().collect());
    if kernel_flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV != 0
        && !flags.contains(&Flag::SeccompFilterFlagWaitKillableRecv)
    {
        // Without it a signal interrupts calls that no signal interrupts otherwise.
        flags.push(Flag::SeccompFilterFlagWaitKillableRecv);
    }
    profile.set_syscalls(Some(rules)).set_flags(Some(flags));
    profile.set_listener_path(Some(path)).set_listener_metadata(None);
    profile
}

/// Returns the profile that permits what was called, as far as `own` does, and what this runtime calls between
/// the filter and the program: less with `no_new_privileges`, where the filter comes last.
pub(crate) fn recorded(own: Option<&LinuxSeccomp>, calls: &Calls, no_new_privileges: bool) -> LinuxSeccomp {
    let mut profile = own.cloned().unwrap_or_else(permissive_on_every_architecture);
    let (kept, permitted) = divide(&profile, &mut Vec::new());
    let mut names = calls.names.clone();
    names.extend(LAST_CALLS);
    if !no_new_privileges {
        names.extend(CALLS_BEFORE_THE_PROGRAM);
    }
    let on_these = |name: &&str| {
        let native = arch::native_abi();
        calls.names.contains(name)
            || TABLE.iter().any(|row| row.0 == *name && native.is_some_and(|abi| abi.number(row).is_some()))
    };
    names.retain(|name| on_these(name));
    let mut rules = Vec::new();
    if is_permissive(profile.default_action()) {
        rules.push(rule(names, Act::ScmpActAllow));
        profile.set_default_action(Act::ScmpActErrno).set_default_errno_ret(Some(EPERM));
    } else {
        rules.extend(permitted.iter().filter_map(|rule| narrowed(rule, &names)));
    }
    rules.extend(kept);
    profile.set_syscalls(Some(rules)).set_architectures(Some(calls.architectures()));
    profile
}

/// Divides the rules into those that refuse, which are kept, and those that permit. A rule that refuses under
/// conditions what the default permits cannot be kept: a listed call has no more than one answer by default.
fn divide(profile: &LinuxSeccomp, warnings: &mut Vec<String>) -> (Vec<LinuxSyscall>, Vec<LinuxSyscall>) {
    let (mut kept, mut permitted) = (Vec::new(), Vec::new());
    let by_default = is_permissive(profile.default_action());
    for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
        let has_conditions = rule.args().as_ref().is_some_and(|args| !args.is_empty());
        match (is_permissive(rule.action()), by_default && has_conditions) {
            (true, _) => permitted.push(rule.clone()),
            (false, false) => kept.push(rule.clone()),
            (false, true) => warnings.push(format!(
                "/linux/seccomp/syscalls/{index}: not kept in a recording: it refuses by arguments what is \
                 otherwise permitted"
            )),
        }
    }
    (kept, permitted)
}

/// Returns the rule with its calls reported instead, but for the one that cannot be.
fn report(permitting: &LinuxSyscall) -> Vec<LinuxSyscall> {
    let (unreported, reported): (Vec<_>, Vec<_>) =
        permitting.names().iter().cloned().partition(|name| name == UNREPORTED);
    let with = |names: Vec<String>, action| {
        let mut rule = permitting.clone();
        rule.set_names(names).set_action(action).set_errno_ret(None);
        rule
    };
    let both = [with(reported, Act::ScmpActNotify), with(unreported, Act::ScmpActAllow)];
    both.into_iter().filter(|rule| !rule.names().is_empty()).collect()
}

/// Returns the rule for these calls alone, if it has any of them.
fn narrowed(rule: &LinuxSyscall, names: &BTreeSet<&'static str>) -> Option<LinuxSyscall> {
    let left: BTreeSet<_> =
        rule.names().iter().filter(|name| names.contains(name.as_str())).cloned().collect();
    let mut rule = rule.clone();
    rule.set_names(left.into_iter().collect());
    Some(rule).filter(|rule| !rule.names().is_empty())
}

fn rule<'a>(names: impl IntoIterator<Item = &'a str>, action: Act) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.into_iter().map(String::from).collect()).set_action(action);
    rule
}

fn permissive_on_every_architecture() -> LinuxSeccomp {
    let abis = arch::native().and_then(arch::for_machine).unwrap_or_default();
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(Act::ScmpActAllow);
    profile.set_architectures(Some(abis.iter().map(|abi| abi.arch).collect()));
    profile
}

fn is_permissive(action: Act) -> bool {
    matches!(action, Act::ScmpActAllow | Act::ScmpActLog | Act::ScmpActTrace | Act::ScmpActNotify)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const X86_64: u32 = 0xc000_003e;
    const X86: u32 = 0x4000_0003;

    fn profile(value: Value) -> LinuxSeccomp {
        serde_json::from_value(value).unwrap()
    }

    fn names(profile: &LinuxSeccomp, action: Act) -> Vec<&str> {
        let rules = profile.syscalls().iter().flatten().filter(|rule| rule.action() == action);
        rules.flat_map(|rule| rule.names()).map(String::as_str).collect()
    }

    fn seen(calls: &[(u32, u32, u64)]) -> Calls {
        let mut seen = Calls::default();
        calls.iter().for_each(|(audit, number, first)| seen.add(*audit, *number, *first));
        seen
    }

    #[test]
    fn calls_at_random_do_not_fill_the_memory() {
        let mut calls = Calls::default();
        let audit = arch::native().and_then(arch::for_machine).map_or(0, |abis| abis[0].audit);
        for argument in 0..3 * MOST_LOOKED_UP as u64 {
            calls.add(audit, SOCKETCALL, argument);
        }
        assert!(calls.looked_up.len() <= MOST_LOOKED_UP, "{}", calls.looked_up.len());
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_of_32_bits_are_named_by_their_own_numbers_and_by_what_is_behind_them() {
        // getpgrp, socketcall(SYS_SOCKET), ipc(SHMGET with a version), getpid of x32, and a number without a name.
        let calls = seen(&[
            (X86, 65, 0),
            (X86, 102, 1),
            (X86, 117, 0x1_0017),
            (X86_64, 0x4000_0027, 0),
            (X86_64, 9999, 0),
        ]);
        let profile = recorded(None, &calls, true);
        let expected = ["execve", "exit_group", "getpgrp", "getpid", "shmget", "socket", "write"];
        assert_eq!(names(&profile, Act::ScmpActAllow), expected);
        let archs = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
        assert_eq!(profile.architectures().as_deref(), Some(&archs[..]));
    }

    #[test]
    fn what_the_own_profile_refuses_stays_refused_and_its_conditions_stay() {
        let own = profile(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
            "syscalls": [
                {"names": ["execve", "exit_group", "write", "read", "getpid"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone", "unshare"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ]
        }));
        let reporting = reporting(Some(&own), "/x".into(), 0, &mut Vec::new());
        assert_eq!(
            names(&reporting, Act::ScmpActNotify),
            ["execve", "exit_group", "read", "getpid", "clone", "unshare"]
        );
        assert_eq!(names(&reporting, Act::ScmpActAllow), ["write"]);
        let calls = Calls { names: ["clone", "read", "mkdir"].into(), ..Calls::default() };
        let recorded = recorded(Some(&own), &calls, false);
        let expected = profile(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "architectures": recorded.architectures(),
            "syscalls": [
                {"names": ["execve", "exit_group", "getpid", "read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ]
        }));
        assert_eq!(recorded, expected);
    }

    #[test]
    fn a_profile_that_permits_by_default_becomes_one_that_refuses() {
        let own = profile(json!({
            "defaultAction": "SCMP_ACT_LOG",
            "syscalls": [
                {"names": ["mount"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["clone"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]},
            ]
        }));
        let mut warnings = Vec::new();
        let reporting = reporting(Some(&own), "/x".into(), 0, &mut warnings);
        let reported = names(&reporting, Act::ScmpActNotify);
        assert!(reported.contains(&"clone") && !reported.contains(&"mount") && !reported.contains(&"write"));
        assert_eq!(names(&reporting, Act::ScmpActErrno), ["mount"]);
        assert!(warnings[0].starts_with("/linux/seccomp/syscalls/1: "), "{warnings:?}");
        let recorded = recorded(Some(&own), &Calls { names: ["read"].into(), ..Calls::default() }, true);
        assert_eq!(recorded.default_action(), Act::ScmpActErrno);
        assert_eq!(names(&recorded, Act::ScmpActAllow), ["execve", "exit_group", "read", "write"]);
    }
}
