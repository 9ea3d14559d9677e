//! A report in words. The child sends numbers; here is the plan that they are numbers of.

use std::ffi::{CStr, CString};

use nix::errno::Errno;

use crate::error::{Error, Kind, describe, matched};
use crate::fail;
use crate::handshake::{Report, Step};
use crate::plan::Plan;
use crate::plan::mounts::{Mount, Source};
use crate::plan::process::ProcessPlan;
use crate::plan::topology::Topology;

/// What the reporting process was walking.
pub struct Walked<'a> {
    pub topology: &'a Topology,
    pub process: &'a ProcessPlan,
    /// None for a process that `exec` added.
    pub container: Option<&'a Plan>,
}

impl<'a> Walked<'a> {
    pub fn container(plan: &'a Plan) -> Self {
        Self { topology: &plan.topology, process: &plan.process, container: Some(plan) }
    }
}

/// The sentence for a report.
pub fn explain(report: &Report, walked: &Walked<'_>) -> Error {
    let item = usize::from(report.item);
    match report.step {
        Step::FindProgram => missing_program(report, walked.process),
        Step::Execute => cause(report, &format!("exec {}", program(walked.process))),
        Step::Join => {
            let join = walked.topology.joins.iter().find(|join| join.item == item);
            let (kind, path) =
                join.map_or(("", String::new()), |join| (join.namespace.name(), show(&join.path)));
            cause(report, &format!("/linux/namespaces/{item}: join {kind} namespace {path}"))
        }
        Step::Limit => {
            let limit = walked.process.limits.iter().find(|limit| limit.item == item);
            let name = limit.map_or("", |limit| limit.name);
            let error = cause(report, &format!("/process/rlimits/{item}: set {name}"));
            match report.errno {
                libc::EPERM => error.with_hint("raising a hard limit takes CAP_SYS_RESOURCE"),
                _ => error,
            }
        }
        Step::Scheduler => {
            let error = cause(report, words(Step::Scheduler));
            match report.errno {
                libc::EPERM => error.with_hint(
                    "process scheduler can't be used together with AllowedCPUs, where it is SCHED_DEADLINE and these a \
                     cpuset; a real-time policy takes CAP_SYS_NICE",
                ),
                _ => error,
            }
        }
        Step::Label => label(report, walked.process, item),
        Step::WorkingDirectory => cause(
            report,
            &format!(
                "/process/cwd: chdir to cwd ({:?}) set in config.json failed",
                show(&walked.process.cwd)
            ),
        ),
        Step::User if item == 0 && report.errno == libc::EINVAL => {
            let why = format!(
                "/process/user/uid: cannot setuid to unmapped uid {} in user namespace",
                walked.process.uid
            );
            Error::new(Kind::Child, why)
        }
        Step::User if item == 1 && report.errno == libc::EINVAL => {
            let why = format!(
                "/process/user/gid: cannot setgid to unmapped gid {} in user namespace",
                walked.process.gid
            );
            Error::new(Kind::Child, why)
        }
        step => match walked.container {
            Some(plan) => of_container(report, plan, step, item),
            None => cause(report, words(step)),
        },
    }
}

fn label(report: &Report, process: &ProcessPlan, item: usize) -> Error {
    let named = |label: &Option<CString>| label.as_deref().map_or(String::new(), show);
    if item == 1 {
        return cause(report, &format!("/process/selinuxLabel: set the label {}", named(&process.selinux)));
    }
    let error = cause(report, &format!("/process/apparmorProfile: apply {}", named(&process.apparmor)));
    match report.errno {
        libc::ENOENT => error.with_hint("no such profile is loaded; aa-status lists those that are"),
        _ => error,
    }
}

fn of_container(report: &Report, plan: &Plan, step: Step, item: usize) -> Error {
    match step {
        Step::Mount => mount(report, &plan.mounts),
        Step::Rootfs => cause(report, &format!("/root/path: prepare rootfs {}", show(&plan.rootfs.path))),
        Step::Device => {
            let device = plan.devices.nodes.get(item);
            let at = device
                .and_then(|device| device.item)
                .map_or(String::new(), |i| format!("/linux/devices/{i}: "));
            let path = device.map_or(String::new(), |device| show(&device.path));
            cause(report, &format!("{at}make device {path}"))
        }
        Step::Link => {
            let path =
                plan.devices.links.get(item).map_or_else(|| "/dev/core".into(), |link| show(&link.path));
            cause(report, &format!("make link {path}"))
        }
        Step::Sysctl => {
            let key = plan.sysctls.get(item).map_or("", |sysctl| &sysctl.key);
            cause(report, &format!("/linux/sysctl/{key}: set sysctl {key}"))
        }
        Step::ReadOnlyPath => {
            path(report, "/linux/readonlyPaths", "make read-only", plan.read_only_paths.get(item))
        }
        Step::MaskedPath => path(report, "/linux/maskedPaths", "mask", plan.masked_paths.get(item)),
        _ => cause(report, words(step)),
    }
}

fn path(report: &Report, pointer: &str, verb: &str, path: Option<&std::ffi::CString>) -> Error {
    let path = path.map_or(String::new(), |path| show(path));
    cause(report, &format!("{pointer}/{}: {verb} {path}", report.item))
}

/// Why one of `mounts` was not made; or for what else the process did not come to it.
pub fn mounting(report: &Report, mounts: &[Mount]) -> Error {
    if report.step == Step::Mount { mount(report, mounts) } else { cause(report, words(report.step)) }
}

/// Why what is mounted at one of `targets` was not unmounted.
pub fn unmounting(report: &Report, targets: &[CString]) -> Error {
    let Some(target) = targets.get(usize::from(report.item)).filter(|_| report.step == Step::Mount) else {
        return cause(report, words(report.step));
    };
    let error = cause(report, &format!("/mounts/{}: unmount {}", report.item, show(target)));
    match report.errno {
        libc::EINVAL => error.with_hint("nothing is mounted there, or not by whom may unmount it"),
        _ => error,
    }
}

fn mount(report: &Report, mounts: &[Mount]) -> Error {
    let Some(mount) = mounts.get(usize::from(report.item)) else { return cause(report, "mount") };
    let what = source(mount);
    let doing =
        format!("/mounts/{}: error mounting {what:?} to rootfs at {:?}", mount.item, show(&mount.target));
    let error = cause(report, &doing);
    match (&mount.source, report.errno) {
        (Source::Bind { .. }, libc::ENOENT) if report.text() == "open_tree" => {
            error.with_hint("the source of a bind must exist on the host")
        }
        (Source::Filesystem { kind, .. }, libc::ENODEV) => {
            cause(report, &format!("{doing}: filesystem type {:?}", show(kind)))
                .with_hint("this kernel does not know the filesystem type")
        }
        _ => error,
    }
}

fn source(mount: &Mount) -> String {
    match &mount.source {
        Source::Filesystem { kind, source, .. } if kind == source => show(kind),
        Source::Filesystem { source, .. } => show(source),
        Source::Bind { path, .. } => show(path),
        Source::Remount => "remount".into(),
        Source::Symlink { to } => show(to),
    }
}

fn program(process: &ProcessPlan) -> String {
    process.args.first().map_or(String::new(), |program| show(program))
}

/// As Go's os/exec words it: dockerd, containerd and Podman match these texts.
fn missing_program(report: &Report, process: &ProcessPlan) -> Error {
    let name = program(process);
    match Errno::from_raw(report.errno) {
        Errno::ENOENT if process.searched => Error::new(Kind::Child, matched::not_in_path(&name)),
        Errno::ENOENT => Error::new(Kind::Child, matched::no_such_executable(&name)),
        Errno::EISDIR => Error::new(Kind::Child, matched::is_a_directory(&name)),
        Errno::EACCES | Errno::EPERM => Error::new(Kind::Child, matched::not_executable(&name)),
        errno => fail!(Kind::Child, "exec: {name:?}: stat {name}: {}", describe(errno)),
    }
}

/// `doing: call: the kernel's answer`, of kind `Child`.
fn cause(report: &Report, doing: &str) -> Error {
    let text = report.text();
    let error = match report.errno {
        0 => Error::new(Kind::Child, text),
        code => {
            let error = Error::new(Kind::Child, describe(Errno::from_raw(code)));
            if text.is_empty() { error } else { error.context(text) }
        }
    };
    if doing.is_empty() { error } else { error.context(doing.to_owned()) }
}

fn words(step: Step) -> &'static str {
    match step {
        Step::Arrive => "set up the process",
        Step::ControlGroup => "join the control group",
        Step::UserNamespace => "make the user namespace",
        Step::TimeOffsets => "/linux/timeOffsets: set time offsets",
        Step::Clone => "clone the container's process",
        Step::Keyring => "join session keyring",
        Step::Loopback => "bring loopback up",
        Step::CgroupNamespace => "make the cgroup namespace",
        Step::Rootfs => "prepare rootfs",
        // A hook's own sentence says it all.
        Step::CreateContainerHook | Step::StartContainerHook => "",
        Step::Pivot => "enter the rootfs",
        Step::Console => "/process/terminal: set up the terminal",
        Step::ReadOnly => "/root/readonly: make the rootfs read-only",
        Step::Hostname => "/hostname: set hostname",
        Step::Domainname => "/domainname: set domainname",
        Step::Affinity => "/process/execCPUAffinity/final: set CPU affinity",
        Step::Scheduler => "/process/scheduler: set the scheduler",
        Step::IoPriority => "/process/ioPriority: set the I/O priority",
        Step::MemoryPolicy => "/linux/memoryPolicy: set the memory policy",
        Step::Personality => "/linux/personality: set personality",
        Step::NoNewPrivileges => "/process/noNewPrivileges: set no new privileges",
        Step::Label => "set the security label",
        Step::Seccomp => "/linux/seccomp: load the seccomp filter",
        Step::Groups => "/process/user/additionalGids: set groups",
        Step::User => "/process/user: change user",
        Step::Capabilities => "/process/capabilities: set capabilities",
        Step::Handshake => "talk to the runtime",
        Step::ExecFifo => "wait on the exec fifo",
        Step::Panic => "internal error in the new process",
        _ => "start the process",
    }
}

fn show(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}
