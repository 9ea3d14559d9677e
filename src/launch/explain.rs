//! Puts a report into words: the child sends the step and a number; the plan that the number refers to is
//! here.

pub(crate) mod mounts;
mod sentence;

use std::ffi::CString;

use nix::errno::Errno;

use crate::error::{Error, Kind, describe, matched};
use crate::fail;
use crate::handshake::{IdKind, Lsm, Report, Step};
use crate::launch::explain::sentence::{during, show};
use crate::plan::Plan;
use crate::plan::devices::{Device, Link};
use crate::plan::mounts::Mount;
use crate::plan::namespaces::Join;
use crate::plan::process::ProcessPlan;
use crate::plan::sysctl::Sysctl;

/// The lists that the numbers in a report's step refer to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ExplainContext<'a> {
    joins: &'a [Join],
    mounts: &'a [Mount],
    /// The targets to unmount.
    unmounts: &'a [CString],
    process: Option<&'a ProcessPlan>,
    container: Option<&'a Plan>,
}

impl<'a> ExplainContext<'a> {
    /// For a container's first process.
    pub(crate) fn from_plan(plan: &'a Plan) -> Self {
        Self {
            joins: &plan.namespaces.joins,
            mounts: &plan.mounts,
            process: Some(&plan.process),
            container: Some(plan),
            ..Self::default()
        }
    }

    /// For a process that `exec` adds.
    pub(crate) fn from_process(process: &'a ProcessPlan) -> Self {
        Self { process: Some(process), ..Self::default() }
    }

    /// For a process that adds mounts to a running container.
    pub(crate) fn from_mounts(mounts: &'a [Mount]) -> Self {
        Self { mounts, ..Self::default() }
    }

    /// For a process that takes mounts out of a running container.
    pub(crate) fn from_unmounts(unmounts: &'a [CString]) -> Self {
        Self { unmounts, ..Self::default() }
    }
}

/// Makes the sentence for a report: `pointer: what was done: the failing call: the kernel's answer`, perhaps
/// with a hint.
pub(crate) fn explain(report: &Report, context: &ExplainContext<'_>) -> Error {
    let during = |doing: &str| during(report, doing);
    let plan = context.container;
    match report.step {
        Step::NewProcess => during("set up the process"),
        Step::JoinCgroup => during("join the control group"),
        Step::Helper => during("set up the helper process"),
        Step::JoinNamespace(index) => during(&join_namespace(index, context.joins)),
        Step::JoinContainer => during("join the container's namespaces"),
        Step::Toolbox => during("make the root with the tools"),
        Step::UserNamespace => during("make the user namespace"),
        Step::BecomeRoot(kind) => become_root(report, kind, context.process),
        Step::TimeOffsets => during("/linux/timeOffsets: set time offsets"),
        Step::CloseDescriptors => during("close the runtime's descriptors"),
        Step::CloneInit => match during("clone the container's process") {
            error if report.errno == libc::EAGAIN => error.with_hint(TOO_MANY_PROCESSES),
            error => error,
        },
        Step::Keyring => during("join session keyring"),
        Step::CgroupNamespace => during("make the cgroup namespace"),
        Step::Loopback => during("bring loopback up"),
        Step::Rootfs => during(&rootfs(plan)),
        Step::NullDevice => during("/linux/maskedPaths: take the host's null device"),
        Step::Mount(index) => mounts::mount(report, context.mounts.get(index)),
        Step::Unmount(index) => mounts::unmount(report, index, context.unmounts.get(index)),
        Step::Device(index) => {
            let error = during(&device(plan.and_then(|plan| plan.devices.nodes.get(index))));
            match (report.errno, report.text().as_str()) {
                (libc::ENOENT, "bind the host's node") => error.with_hint(
                    "in a user namespace no device can be made: the host's node of the same path is shown, and \
                     there is none",
                ),
                (libc::EEXIST, "mknod") => error.with_hint("something else has that path in the root file system"),
                _ => error,
            }
        }
        Step::Link(index) => during(&link(plan.and_then(|plan| plan.devices.links.get(index)))),
        Step::CoreLink => during("make link /dev/core"),
        // The hook's own sentence is complete.
        Step::CreateContainerHook => during(""),
        Step::StartContainerHook => match during("") {
            error if report.text().contains("no such file or directory") => error
                .with_hint("a hook of startContainer is a program of the container: its path begins there"),
            error => error,
        },
        Step::Pivot => during("enter the rootfs"),
        Step::StandardStream(number) => during(&format!("set up standard stream {number}")),
        Step::Console => during("/process/terminal: set up the terminal"),
        Step::Hostname => during("/hostname: set hostname"),
        Step::Domainname => during("/domainname: set domainname"),
        Step::SysctlProcfs => during("/linux/sysctl: set sysctls"),
        Step::Sysctl(index) => sysctl(report, plan.and_then(|plan| plan.sysctls.get(index))),
        Step::ReadOnlyPath(index) => {
            let path = plan.and_then(|plan| plan.read_only_paths.get(index));
            during(&format!("/linux/readonlyPaths/{index}: make read-only {}", show(path)))
        }
        Step::MaskedPath(index) => {
            let path = plan.and_then(|plan| plan.masked_paths.get(index));
            during(&format!("/linux/maskedPaths/{index}: mask {}", show(path)))
        }
        Step::ReadOnlyRoot => during("/root/readonly: make the rootfs read-only"),
        Step::Rlimit(index) => limit(report, index, context.process),
        Step::NoNewPrivileges => during("/process/noNewPrivileges: set no new privileges"),
        Step::Affinity => during("/process/execCPUAffinity/final: set CPU affinity"),
        Step::Scheduler => scheduler(report),
        Step::IoPriority => during("/process/ioPriority: set the I/O priority"),
        Step::MemoryPolicy => during("/linux/memoryPolicy: set the memory policy"),
        Step::Personality => during("/linux/personality: set personality"),
        Step::Label(lsm) => label(report, lsm, context.process),
        Step::WorkingDirectory => during(&working_directory(context.process)),
        Step::UserId(kind) => user_id(report, kind, context.process),
        Step::Capabilities => during("/process/capabilities: set capabilities"),
        Step::FindProgram => missing_program(report, context.process),
        Step::Seccomp => during("/linux/seccomp: load the seccomp filter"),
        Step::Handshake => during("talk to the runtime"),
        Step::ExecFifo => during("wait on the exec fifo"),
        Step::Signals => during("reset signals"),
        Step::Execute => execution(report, context.process),
    }
}

/// Adds a hint: if a program exists and may be executed, a profile is the likely reason for the refusal.
fn execution(report: &Report, process: Option<&ProcessPlan>) -> Error {
    let error = refused(report, process);
    // The process found the reason, and it is already in the message.
    if !report.text().is_empty() {
        return error;
    }
    let denied = matches!(Errno::from_raw(report.errno), Errno::EPERM | Errno::EACCES | Errno::ENOSYS);
    let Some(process) = process.filter(|_| denied) else { return error };
    let profiles = [
        (process.seccomp.is_some(), "/linux/seccomp"),
        (process.apparmor.is_some(), "/process/apparmorProfile"),
        (process.selinux.is_some(), "/process/selinuxLabel"),
    ];
    let named: Vec<_> = profiles.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    if named.is_empty() {
        return error;
    }
    error.with_hint(format!("does the profile allow the program to be executed? See {}", named.join(", ")))
}

/// Makes `exec /x: the kernel's answer: the reason`. Engines match the beginning; the process found the
/// reason.
fn refused(report: &Report, process: Option<&ProcessPlan>) -> Error {
    let error = fail!(Kind::Child, "exec {}: {}", program(process), describe(Errno::from_raw(report.errno)));
    with_reason(error, &report.text())
}

/// Adds the reason at the end of the message, if there is one.
fn with_reason(error: Error, why: &str) -> Error {
    match why {
        "" => error,
        why => Error::new(error.kind(), format!("{error}: {why}")),
    }
}

fn join_namespace(index: usize, joins: &[Join]) -> String {
    let join = joins.iter().find(|join| join.index == index);
    let (kind, path) =
        join.map_or(("", ""), |join| (join.namespace.name(), join.path.to_str().unwrap_or("")));
    format!("/linux/namespaces/{index}: join {kind} namespace {path}")
}

/// The process becomes root of its user namespace. EINVAL means that the namespace maps no id 0.
fn become_root(report: &Report, kind: IdKind, process: Option<&ProcessPlan>) -> Error {
    let unmapped = report.errno == libc::EINVAL;
    match (kind, process) {
        // If the configuration asks for uid or gid 0, the message names that field.
        (IdKind::User, Some(process)) if unmapped && process.uid == 0 => unmapped_uid(0),
        (IdKind::Group, Some(process)) if unmapped && process.gid == 0 => unmapped_gid(0),
        (IdKind::User, _) if unmapped => unmapped_root("/linux/uidMappings", "uid"),
        (IdKind::Group, _) if unmapped => unmapped_root("/linux/gidMappings", "gid"),
        (IdKind::User | IdKind::Group | IdKind::SupplementaryGroups, _) => {
            during(report, "become root of the user namespace")
        }
    }
}

fn unmapped_root(pointer: &str, kind: &str) -> Error {
    fail!(Kind::Child, "{pointer}: cannot become root of the user namespace: {kind} 0 is not mapped")
}

fn user_id(report: &Report, kind: IdKind, process: Option<&ProcessPlan>) -> Error {
    match (kind, process) {
        (IdKind::User, Some(process)) if report.errno == libc::EINVAL => unmapped_uid(process.uid),
        (IdKind::Group, Some(process)) if report.errno == libc::EINVAL => unmapped_gid(process.gid),
        (IdKind::User | IdKind::Group, _) => during(report, "/process/user: change user"),
        (IdKind::SupplementaryGroups, _) => during(report, "/process/user/additionalGids: set groups"),
    }
}

fn unmapped_uid(uid: u32) -> Error {
    fail!(Kind::Child, "/process/user/uid: cannot setuid to unmapped uid {uid} in user namespace")
}

fn unmapped_gid(gid: u32) -> Error {
    fail!(Kind::Child, "/process/user/gid: cannot setgid to unmapped gid {gid} in user namespace")
}

fn rootfs(plan: Option<&Plan>) -> String {
    match plan {
        None => "prepare rootfs".into(),
        Some(plan) => format!("/root/path: prepare rootfs {}", show(Some(&plan.rootfs.path))),
    }
}

const TOO_MANY_PROCESSES: &str = "the container has as many processes as it may (/linux/resources/pids/limit), or its \
                                  user has (RLIMIT_NPROC); `tare ps` lists them";

fn device(device: Option<&Device>) -> String {
    let Some(Device { index, path, .. }) = device else { return "make device".into() };
    let pointer = index.map_or(String::new(), |index| format!("/linux/devices/{index}: "));
    format!("{pointer}make device {}", show(Some(path)))
}

fn link(link: Option<&Link>) -> String {
    format!("make link {}", show(link.map(|link| &link.path)))
}

fn sysctl(report: &Report, sysctl: Option<&Sysctl>) -> Error {
    let Some(Sysctl { key, value, file, .. }) = sysctl else {
        return during(report, "/linux/sysctl: set sysctl");
    };
    let error = during(report, &format!("/linux/sysctl/{key}: set sysctl {key}"));
    match (report.text().as_str(), report.errno) {
        ("open", libc::ENOENT) => error.with_hint(format!(
            "this kernel has no file /proc/sys/{} in the container's namespaces",
            show(Some(file))
        )),
        ("write", libc::EINVAL) => error
            .with_hint(format!("the kernel does not take the value {:?}", String::from_utf8_lossy(value))),
        _ => error,
    }
}

fn limit(report: &Report, index: usize, process: Option<&ProcessPlan>) -> Error {
    let limit = process.and_then(|process| process.limits.iter().find(|limit| limit.index == index));
    let name = limit.map_or("", |limit| limit.name);
    let error = during(report, &format!("/process/rlimits/{index}: set {name}"));
    match report.errno {
        libc::EPERM => error.with_hint("raising a hard limit takes CAP_SYS_RESOURCE"),
        _ => error,
    }
}

fn scheduler(report: &Report) -> Error {
    let error = during(report, "/process/scheduler: set the scheduler");
    match report.errno {
        libc::EPERM => error.with_hint(
            "process scheduler can't be used together with AllowedCPUs, where it is SCHED_DEADLINE and these a \
             cpuset; a real-time policy takes CAP_SYS_NICE",
        ),
        _ => error,
    }
}

fn label(report: &Report, lsm: Lsm, process: Option<&ProcessPlan>) -> Error {
    match lsm {
        Lsm::Selinux => {
            let label = show(process.and_then(|process| process.selinux.as_ref()));
            during(report, &format!("/process/selinuxLabel: set the label {label}"))
        }
        Lsm::AppArmor => {
            let profile = show(process.and_then(|process| process.apparmor.as_ref()));
            let error = during(report, &format!("/process/apparmorProfile: apply {profile}"));
            match report.errno {
                libc::ENOENT => error.with_hint("no such profile is loaded; aa-status lists those that are"),
                _ => error,
            }
        }
    }
}

fn working_directory(process: Option<&ProcessPlan>) -> String {
    let cwd = show(process.map(|process| &process.cwd));
    format!("/process/cwd: chdir to cwd ({cwd:?}) set in config.json failed")
}

fn program(process: Option<&ProcessPlan>) -> String {
    show(process.and_then(|process| process.args.first()))
}

/// Words the error as Go's os/exec does: dockerd, containerd and Podman match these texts.
fn missing_program(report: &Report, process: Option<&ProcessPlan>) -> Error {
    let name = program(process);
    let searched = process.is_some_and(|process| process.searched);
    let error = match Errno::from_raw(report.errno) {
        Errno::ENOENT if searched => return not_in_path(&name, report, process),
        Errno::ENOENT => Error::new(Kind::Child, matched::no_such_executable(&name)),
        Errno::EISDIR => Error::new(Kind::Child, matched::is_a_directory(&name)),
        Errno::EACCES | Errno::EPERM => Error::new(Kind::Child, matched::not_executable(&name)),
        errno => fail!(Kind::Child, "exec: {name:?}: stat {name}: {}", describe(errno)),
    };
    with_reason(error, &report.text())
}

/// Returns where the program was looked for, and what is unusual about the name.
fn not_in_path(name: &str, report: &Report, process: Option<&ProcessPlan>) -> Error {
    let path = process.and_then(|process| process.env.iter().find_map(path_of));
    let found = report.text();
    let why = match (path, found.is_empty()) {
        _ if name.is_empty() => "the name is empty".into(),
        (None, _) => "the environment has no PATH".into(),
        (Some(_), false) => found,
        (Some(path), true) => format!("looked for in {path}"),
    };
    let error = with_reason(Error::new(Kind::Child, matched::not_in_path(name)), &why);
    match name.contains(char::is_whitespace) {
        true => error.with_hint("each argument is one member of /process/args; a command line is for sh -c"),
        false => error,
    }
}

fn path_of(variable: &CString) -> Option<String> {
    variable.to_str().ok()?.strip_prefix("PATH=").map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(step: Step, errno: Errno, process: &ProcessPlan) -> String {
        let report = Report::new(step, errno, "setresgid");
        explain(&report, &ExplainContext::from_process(process)).to_string()
    }

    #[test]
    fn an_id_that_is_not_mapped_is_told_by_its_own_field() {
        let process = ProcessPlan { uid: 10, gid: 20, ..ProcessPlan::default() };
        let cases = [
            (
                Step::UserId(IdKind::User),
                "/process/user/uid: cannot setuid to unmapped uid 10 in user namespace",
            ),
            (
                Step::UserId(IdKind::Group),
                "/process/user/gid: cannot setgid to unmapped gid 20 in user namespace",
            ),
            (
                Step::BecomeRoot(IdKind::Group),
                "/linux/gidMappings: cannot become root of the user namespace: gid 0 is not mapped",
            ),
        ];
        for (step, expected) in cases {
            assert_eq!(explained(step, Errno::EINVAL, &process), expected);
        }
        let root = ProcessPlan::default();
        let expected = "/process/user/gid: cannot setgid to unmapped gid 0 in user namespace";
        assert_eq!(explained(Step::BecomeRoot(IdKind::Group), Errno::EINVAL, &root), expected);
        let expected = "become root of the user namespace: setresgid: operation not permitted";
        assert_eq!(explained(Step::BecomeRoot(IdKind::Group), Errno::EPERM, &root), expected);
    }
}
