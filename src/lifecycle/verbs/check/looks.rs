//! Checks whether the kernel of this host has what a configuration asks for.

use std::collections::HashMap;
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use oci_spec::runtime::{Linux, LinuxNamespaceType as Type, LinuxSeccompAction, LinuxSyscall, Spec};

use super::{Findings, Severity, filesystem, paths};
use crate::cgroup::plan as cgroup;
use crate::error::describe;
use crate::host::Facts;
use crate::host::cgroup::Mode;
use crate::lifecycle::options::Globals;
use crate::plan::Request;
use crate::plan::capabilities;
use crate::spec::cpu_list::CpuList;

pub(super) fn look(spec: &Spec, request: &Request<'_>, facts: &Facts, found: &mut Findings) {
    if let Some(missing) = super::missing_rootfs(spec, &request.bundle) {
        found.fault(
            &missing.pointer,
            missing.message,
            None,
            Some("an overlay is mounted by `tare-image mount`"),
        );
    } else {
        paths::program(spec, &request.bundle, found);
    }
    paths::hooks(spec, found);
    filesystem::mounts(spec, &request.bundle, found);
    limits(spec, found);
    privileges(spec, facts, found);
    environment(spec, found);
    if let Some(profile) = spec.process().as_ref().and_then(|process| process.apparmor_profile().as_deref()) {
        apparmor(profile, found);
    }
    let Some(linux) = spec.linux() else { return };
    namespaces(linux, facts, found);
    ids(spec, linux, found);
    cpuset(linux, facts, found);
    memory(linux, found);
    hugepages(linux, found);
    sysctls(linux, spec.hooks().is_some(), found);
    network_devices(linux, found);
    devices(linux, found);
    listener(linux, found);
}

/// Checks that this user may keep the state of a container in `root`. A login sets XDG_RUNTIME_DIR, which moves
/// it to a directory of the user; `su` does not, and a directory that it names may be gone with the login.
pub(super) fn state_root(globals: &Globals, found: &mut Findings) {
    let root = &globals.root;
    let Some(there) = root.ancestors().find(|above| above.symlink_metadata().is_ok()) else { return };
    let Err(errno) = access(there, AccessFlags::W_OK | AccessFlags::X_OK) else { return };
    let message = format!(
        "the state of a container cannot be kept in {}: {}: {}",
        root.display(),
        there.display(),
        describe(errno)
    );
    let hint = match globals.root_in_xdg {
        true => {
            "XDG_RUNTIME_DIR names a directory that is not this user's, or is gone: a login makes /run/user/UID; \
                 --root names another"
        }
        false if globals.root_explicit => "--root names a directory of the user who runs the container",
        false => {
            "without root, set XDG_RUNTIME_DIR (a login does, `su` does not), or name a directory by --root"
        }
    };
    found.fault("", message, None, Some(hint));
}

/// Checks that a user who asks for limits may make the groups that have them.
pub(super) fn limits_of_user(plan: &cgroup::Plan, found: &mut Findings) {
    if plan.permission == cgroup::Permission::Needed || plan.unit.is_some() {
        return;
    }
    for write in plan.writes.iter().filter(|write| write.needs_controller()) {
        let has = |location: &&cgroup::Location| {
            location.is_unified() && plan.mode == Mode::V2 || location.controllers.contains(&write.controller)
        };
        let Some(group) = plan.locations.iter().find(has).map(cgroup::Location::directory) else { continue };
        let Some(there) = group.ancestors().find(|above| above.symlink_metadata().is_ok()) else { continue };
        if let Err(errno) = access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
            let (controller, there) = (&write.controller, there.display());
            let message = format!(
                "cannot set {controller} limit: no group can be made in {there}: {}",
                describe(errno)
            );
            found.fault(&write.pointer, message, None, Some(cgroup::DELEGATE));
        }
    }
}

/// Returns what this host offers, for a finding of the plan about a property of the host.
pub(super) fn host_has(pointer: &str, message: &str, facts: &Facts) -> Option<String> {
    if pointer.starts_with("/process/capabilities") && message.contains("this host") {
        return Some(format!("capabilities {}", capabilities::names(facts.capabilities).join(", ")));
    }
    if pointer == "/process/apparmorProfile" || pointer.ends_with("selinuxLabel") {
        return Some(format!(
            "security modules {}",
            read("/sys/kernel/security/lsm").unwrap_or_else(|| "none that can be seen".into())
        ));
    }
    let is_about_groups = message.contains("cgroup v") || message.contains("controller");
    (pointer.starts_with("/linux/") && is_about_groups).then(|| match facts.cgroup.mode() {
        Mode::V2 => {
            let controllers = facts.cgroup.unified.as_ref().map(|unified| unified.controllers.join(", "));
            format!("cgroup v2 with {}", controllers.unwrap_or_default())
        }
        Mode::V1 | Mode::Hybrid => {
            let names: Vec<&str> =
                facts.cgroup.v1.iter().flat_map(|tree| &tree.controllers).map(String::as_str).collect();
            format!("cgroup v1 with {}", names.join(", "))
        }
    })
}

/// Reads a file of the kernel, without the newline. Returns `None` if it cannot be read or is empty.
fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

fn namespaces(linux: &Linux, facts: &Facts, found: &mut Findings) {
    let list = linux.namespaces().as_deref().unwrap_or_default();
    for (index, namespace) in list.iter().enumerate() {
        let name = match namespace.typ() {
            Type::Mount => "mnt",
            Type::Network => "net",
            Type::Cgroup => "cgroup",
            Type::Uts => "uts",
            Type::Ipc => "ipc",
            Type::User => "user",
            Type::Pid => "pid",
            Type::Time => "time",
        };
        if !Path::new("/proc/self/ns").join(name).exists() && Path::new("/proc/self/ns").exists() {
            found.fault(
                &format!("/linux/namespaces/{index}/type"),
                "this kernel has no such namespaces",
                None,
                None,
            );
        } else if let Some(path) = namespace.path() {
            paths::namespace(path, name, &format!("/linux/namespaces/{index}/path"), found);
        }
    }
    let has_user = list.iter().any(|namespace| namespace.typ() == Type::User);
    if facts.euid != 0 && !has_user && !list.is_empty() {
        let message = "a user without privileges needs a user namespace to make the others";
        let host = format!("uid {}", facts.euid);
        found.fault("/linux/namespaces", message, Some(host), Some("`tare spec --rootless` writes one"));
    }
    if has_user && read("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        let host = Some("/proc/sys/user/max_user_namespaces is 0".to_owned());
        found.fault("/linux/namespaces", "user namespaces are switched off", host, None);
    }
}

/// Checks that the ids of the process are mapped in its user namespace.
fn ids(spec: &Spec, linux: &Linux, found: &mut Findings) {
    let makes_user = linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == Type::User && namespace.path().is_none());
    let Some(user) = spec.process().as_ref().map(|process| process.user()).filter(|_| makes_user) else {
        return;
    };
    let groups = user.additional_gids().iter().flatten().enumerate();
    let groups = groups.map(|(index, gid)| (format!("additionalGids/{index}"), *gid, linux.gid_mappings()));
    let own = [
        ("uid".to_owned(), user.uid(), linux.uid_mappings()),
        ("gid".to_owned(), user.gid(), linux.gid_mappings()),
    ];
    for (field, id, maps) in own.into_iter().chain(groups) {
        let holds = |map: &oci_spec::runtime::LinuxIdMapping| {
            id >= map.container_id() && id - map.container_id() < map.size()
        };
        if maps.as_ref().is_some_and(|maps| !maps.is_empty() && !maps.iter().any(holds)) {
            let message = format!("id {id} is not mapped in the container's user namespace");
            found.fault(&format!("/process/user/{field}"), message, None, None);
        }
    }
}

/// Checks the CPUs and memory nodes. KERNEL(6.12), update_cpumask: numbers that are not possible on this host
/// get EINVAL. On v1 they must also be online.
fn cpuset(linux: &Linux, facts: &Facts, found: &mut Findings) {
    let cpu = linux.resources().as_ref().and_then(|resources| resources.cpu().as_ref());
    let Some(cpu) = cpu else { return };
    let lists = [("cpus", cpu.cpus(), "cpu"), ("mems", cpu.mems(), "node")];
    for (field, wanted, what) in lists {
        let Some(Ok(wanted)) = wanted.as_deref().map(CpuList::parse) else { continue };
        let list = |file: &str| read(format!("/sys/devices/system/{what}/{file}"));
        let lacks = |has: &str| {
            let has: Vec<u32> = CpuList::parse(has).map(|has| has.numbers().collect()).unwrap_or_default();
            wanted.numbers().any(|number| !has.contains(&number))
        };
        let pointer = format!("/linux/resources/cpu/{field}");
        let (Some(possible), Some(online)) = (list("possible"), list("online")) else { continue };
        let host = |has: &str| Some(format!("{field} {has}"));
        let message = format!("asks for {field} that this host does not have");
        if lacks(&possible) || facts.cgroup.mode() != Mode::V2 && lacks(&online) {
            found.fault(&pointer, message, host(&online), None);
        } else if lacks(&online) {
            found.loss(&pointer, format!("{message} online"), host(&online));
        }
    }
}

/// Below this limit the process that becomes the program is killed already.
const TOO_LITTLE_TO_BEGIN: i64 = 64 << 10;
/// Below this limit even a small static program (a shell of 1 MiB) is killed when it begins.
const TOO_LITTLE_TO_RUN: i64 = 512 << 10;
/// The least that Docker accepts.
const FEW_RUN: i64 = 6 << 20;

/// Reports limits of memory with which a container ends as soon as it has begun. The number is one of bytes, which
/// who writes 512 for 512 MiB has forgotten.
fn memory(linux: &Linux, found: &mut Findings) {
    let memory = linux.resources().as_ref().and_then(|resources| resources.memory().as_ref());
    let Some(limit) = memory.and_then(|memory| memory.limit()).filter(|&limit| limit > 0) else { return };
    let at = "/linux/resources/memory/limit";
    let hint = "the limit is a number of bytes";
    if limit <= TOO_LITTLE_TO_BEGIN {
        let message = format!("{limit} bytes are too little for any program: the kernel kills it before it begins");
        found.fault(at, message, None, Some(hint));
    } else if limit <= TOO_LITTLE_TO_RUN {
        let message = format!(
            "{limit} bytes are too little for nearly every program: the kernel kills it (exit status 137)"
        );
        found.loss(at, message, None);
    } else if limit < FEW_RUN && let Some(finding) = found.add_unless_known(
        Severity::Note,
        at,
        format!(
            "{limit} bytes are less than Docker accepts (6 MiB): what needs more is killed by the kernel (exit status 137)"
        ),
    ) {
        finding.hint = Some(hint.into());
    }
}

fn hugepages(linux: &Linux, found: &mut Findings) {
    let resources = linux.resources().as_ref();
    let sizes = || -> Option<Vec<String>> {
        let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").ok()?.flatten();
        let size = |name: String| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok();
        let text = |kib: u64| match kib {
            kib if kib % (1 << 20) == 0 => format!("{}GB", kib >> 20),
            kib if kib % (1 << 10) == 0 => format!("{}MB", kib >> 10),
            kib => format!("{kib}KB"),
        };
        Some(entries.filter_map(|entry| size(entry.file_name().into_string().ok()?)).map(text).collect())
    };
    let limits = resources.and_then(|resources| resources.hugepage_limits().as_deref()).unwrap_or_default();
    let Some(sizes) = (!limits.is_empty()).then(sizes).flatten() else { return };
    for (index, limit) in limits.iter().enumerate().filter(|(_, limit)| !sizes.contains(limit.page_size())) {
        let message = format!("this host has no huge pages of {}", limit.page_size());
        let pointer = format!("/linux/resources/hugepageLimits/{index}/pageSize");
        found.fault(&pointer, message, Some(format!("sizes {}", sizes.join(", "))), None);
    }
}

/// Checks that each sysctl exists. One without a file here has none in a new namespace either, except those
/// of network interfaces, and those of modules that a hook may load.
fn sysctls(linux: &Linux, has_hooks: bool, found: &mut Findings) {
    for name in linux.sysctl().iter().flatten().map(|(name, _)| name) {
        let dotted = crate::spec::sysctl::dotted(name);
        let of_interface = [".conf.", ".neigh."].iter().any(|part| dotted.contains(part));
        let swap = |c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        let file: String = dotted.chars().map(swap).collect();
        let path = Path::new("/proc/sys").join(file.trim_start_matches('/'));
        let is_missing =
            std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if is_missing && !of_interface && !has_hooks && Path::new("/proc/sys/kernel").exists() {
            let pointer = format!("/linux/sysctl/{}", name.replace('~', "~0").replace('/', "~1"));
            found.fault(&pointer, format!("this kernel has no parameter {name}"), None, None);
        }
    }
}

fn network_devices(linux: &Linux, found: &mut Findings) {
    let interfaces = Path::new("/sys/class/net");
    for name in linux.net_devices().iter().flatten().map(|(name, _)| name) {
        if interfaces.exists() && !interfaces.join(name).exists() {
            let entries = std::fs::read_dir(interfaces).into_iter().flatten().flatten();
            let names: Vec<_> = entries.map(|entry| entry.file_name().display().to_string()).collect();
            let message = format!("this host has no network device {name}");
            found.fault(
                &format!("/linux/netDevices/{name}"),
                message,
                Some(format!("devices {}", names.join(", "))),
                None,
            );
        }
    }
}

/// Checks that the socket of the seccomp agent exists: `create` connects to it if a rule notifies.
fn listener(linux: &Linux, found: &mut Findings) {
    let Some(profile) = linux.seccomp() else { return };
    let notifies = |rule: &LinuxSyscall| rule.action() == LinuxSeccompAction::ScmpActNotify;
    let path = profile.listener_path().as_ref().filter(|_| profile.syscalls().iter().flatten().any(notifies));
    if let Some(path) = path.filter(|path| path.is_absolute() && !path.exists()) {
        let message = format!("nobody listens at {}: no such file or directory", path.display());
        found.fault("/linux/seccomp/listenerPath", message, None, None);
    }
}

/// Reports devices that have the path of an earlier one: only the first is made.
fn devices(linux: &Linux, found: &mut Findings) {
    let list = linux.devices().as_deref().unwrap_or_default();
    let mut places: HashMap<&Path, usize> = HashMap::new();
    for (index, device) in list.iter().enumerate() {
        let first = *places.entry(device.path()).or_insert(index);
        if first != index {
            let message = format!("left out: {} is device {first} already", device.path().display());
            found.loss(&format!("/linux/devices/{index}/path"), message, None);
        }
    }
}

fn limits(spec: &Spec, found: &mut Findings) {
    let limits = spec.process().as_ref().and_then(|process| process.rlimits().as_deref()).unwrap_or_default();
    let most = read("/proc/sys/fs/nr_open").and_then(|text| text.parse::<u64>().ok());
    let Some(most) = most else { return };
    for (index, limit) in limits.iter().enumerate() {
        if limit.typ().to_string() == "RLIMIT_NOFILE" && limit.hard() > most {
            let message = format!("{} is more descriptors than the kernel allows", limit.hard());
            let host = Some(format!("/proc/sys/fs/nr_open is {most}"));
            found.fault(&format!("/process/rlimits/{index}/hard"), message, host, None);
        }
    }
}

/// Checks what needs CAP_SYS_RESOURCE: a hard limit above our own, and a lower oom_score_adj than our own.
fn privileges(spec: &Spec, facts: &Facts, found: &mut Findings) {
    let Some(process) = spec.process().as_ref().filter(|_| !has_resource_capability(facts)) else { return };
    let own = read("/proc/self/limits").unwrap_or_default();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let hard = hard_limit(&own, &limit.typ().to_string());
        if let Some(hard) = hard.filter(|hard| limit.hard() > *hard) {
            let message = format!("{} above our own hard limit takes CAP_SYS_RESOURCE", limit.typ());
            let host = Some(format!("a hard limit of {hard}"));
            found.fault(&format!("/process/rlimits/{index}/hard"), message, host, None);
        }
    }
    let current = read("/proc/self/oom_score_adj").and_then(|text| text.parse::<i32>().ok());
    let (Some(wanted), Some(current)) = (process.oom_score_adj(), current) else { return };
    if facts.euid == 0 && wanted < current.min(0) {
        let host = Some(format!("oom_score_adj {current}"));
        found.fault("/process/oomScoreAdj", "a lower value than our own takes CAP_SYS_RESOURCE", host, None);
    }
}

fn has_resource_capability(facts: &Facts) -> bool {
    capabilities::bit("CAP_SYS_RESOURCE").is_some_and(|bit| facts.capabilities & bit != 0)
}

/// Returns the hard limit in the text of /proc/self/limits. `None` means unlimited or not listed.
fn hard_limit(text: &str, resource: &str) -> Option<u64> {
    let name = match resource {
        "RLIMIT_CPU" => "Max cpu time",
        "RLIMIT_FSIZE" => "Max file size",
        "RLIMIT_DATA" => "Max data size",
        "RLIMIT_STACK" => "Max stack size",
        "RLIMIT_CORE" => "Max core file size",
        "RLIMIT_NPROC" => "Max processes",
        "RLIMIT_NOFILE" => "Max open files",
        "RLIMIT_MEMLOCK" => "Max locked memory",
        "RLIMIT_AS" => "Max address space",
        "RLIMIT_SIGPENDING" => "Max pending signals",
        "RLIMIT_MSGQUEUE" => "Max msgqueue size",
        "RLIMIT_NICE" => "Max nice priority",
        "RLIMIT_RTPRIO" => "Max realtime priority",
        _ => return None,
    };
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Reports variables that a later one of the same name overrides.
fn environment(spec: &Spec, found: &mut Findings) {
    let list = spec.process().as_ref().and_then(|process| process.env().as_deref()).unwrap_or_default();
    let places: HashMap<&str, usize> =
        list.iter().enumerate().map(|(index, entry)| (name(entry), index)).collect();
    for (index, entry) in list.iter().enumerate() {
        let last = places.get(name(entry)).copied().unwrap_or(index);
        if list[last] != *entry {
            let message = format!("{} is set again at /process/env/{last}, which holds", name(entry));
            found.loss(&format!("/process/env/{index}"), message, None);
        }
    }
}

fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

fn apparmor(profile: &str, found: &mut Findings) {
    let Some(loaded) = read("/sys/kernel/security/apparmor/profiles") else { return };
    let is_loaded =
        loaded.lines().any(|line| line.rsplit_once(" (").is_some_and(|(name, _)| name == profile));
    if !is_loaded && profile != "unconfined" {
        let message = format!("no profile {profile} is loaded");
        found.fault("/process/apparmorProfile", message, None, Some("apparmor_parser loads it"));
    }
}
