//! The configuration that `tare spec` writes: a shell in a read-only root.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

const CAPABILITIES: &[&str] = &["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// The parts of /proc and /sys that reveal the host or change it.
pub(crate) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

pub(crate) const READONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Template {
    oci_version: &'static str,
    process: Process,
    root: Root,
    hostname: &'static str,
    mounts: Vec<Mount>,
    linux: Linux,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    terminal: bool,
    user: User,
    args: &'static [&'static str],
    env: &'static [&'static str],
    cwd: &'static str,
    capabilities: Capabilities,
    rlimits: [Rlimit; 1],
    no_new_privileges: bool,
}

#[derive(Serialize)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Serialize)]
struct Capabilities {
    bounding: &'static [&'static str],
    effective: &'static [&'static str],
    permitted: &'static [&'static str],
}

#[derive(Serialize)]
struct Rlimit {
    #[serde(rename = "type")]
    typ: &'static str,
    hard: u64,
    soft: u64,
}

#[derive(Serialize)]
struct Root {
    path: &'static str,
    readonly: bool,
}

#[derive(Serialize)]
struct Mount {
    destination: &'static str,
    #[serde(rename = "type")]
    typ: &'static str,
    source: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid_mappings: Option<[Mapping; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid_mappings: Option<[Mapping; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
    namespaces: Vec<Namespace>,
    masked_paths: &'static [&'static str],
    readonly_paths: &'static [&'static str],
}

#[derive(Serialize)]
struct Mapping {
    #[serde(rename = "containerID")]
    container_id: u32,
    #[serde(rename = "hostID")]
    host_id: u32,
    size: u32,
}

#[derive(Serialize)]
struct Resources {
    devices: [DeviceRule; 1],
}

#[derive(Serialize)]
struct DeviceRule {
    allow: bool,
    access: &'static str,
}

#[derive(Serialize)]
struct Namespace {
    #[serde(rename = "type")]
    typ: &'static str,
}

/// Returns the text of the template, indented with tabs. `rootless` is the user and group that become root
/// inside: then there is no network of its own, `/sys` is bound from the host, and there are no limits. On a
/// host with only cgroup v2, a cgroup namespace is added.
pub fn template(rootless: Option<(u32, u32)>, cgroup_v2: bool) -> String {
    let template = Template {
        oci_version: super::VERSION,
        process: process(),
        root: Root { path: "rootfs", readonly: true },
        hostname: "tare",
        mounts: mounts(rootless.is_some()),
        linux: linux(rootless, cgroup_v2),
    };
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    // Strings and numbers are written into memory, which cannot fail.
    let _ = template.serialize(&mut serializer);
    text.push(b'\n');
    String::from_utf8(text).unwrap_or_default()
}

fn process() -> Process {
    Process {
        terminal: true,
        user: User { uid: 0, gid: 0 },
        args: &["sh"],
        env: &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        cwd: "/",
        capabilities: Capabilities {
            bounding: CAPABILITIES,
            effective: CAPABILITIES,
            permitted: CAPABILITIES,
        },
        rlimits: [Rlimit { typ: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
        no_new_privileges: true,
    }
}

fn mounts(rootless: bool) -> Vec<Mount> {
    let mount = |destination, typ, source, options: &[&'static str]| {
        // Ids that are not in the one mapping could not be used.
        let usable =
            |option: &&str| !(rootless && (option.starts_with("uid=") || option.starts_with("gid=")));
        Mount { destination, typ, source, options: options.iter().copied().filter(usable).collect() }
    };
    // sysfs needs a network namespace of its own.
    let sys = match rootless {
        true => mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
        false => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    };
    let pts = &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", pts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}

fn linux(rootless: Option<(u32, u32)>, cgroup_v2: bool) -> Linux {
    let map = |host_id| [Mapping { container_id: 0, host_id, size: 1 }];
    Linux {
        uid_mappings: rootless.map(|(uid, _)| map(uid)),
        gid_mappings: rootless.map(|(_, gid)| map(gid)),
        resources: rootless
            .is_none()
            .then_some(Resources { devices: [DeviceRule { allow: false, access: "rwm" }] }),
        namespaces: namespaces(rootless.is_some(), cgroup_v2),
        masked_paths: MASKED,
        readonly_paths: READONLY,
    }
}

fn namespaces(rootless: bool, cgroup_v2: bool) -> Vec<Namespace> {
    let entries = [
        ("pid", true),
        ("network", !rootless),
        ("ipc", true),
        ("uts", true),
        ("mount", true),
        ("cgroup", cgroup_v2),
        ("user", rootless),
    ];
    entries.into_iter().filter(|(_, wanted)| *wanted).map(|(typ, _)| Namespace { typ }).collect()
}
