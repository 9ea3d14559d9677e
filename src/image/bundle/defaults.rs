//! The parts of config.json that an image does not choose: capabilities, namespaces, mounts, masked paths.
//! Each list names the engine whose default it is, because images are written to run with those.

use serde_json::{Value, json};

/// The version of the runtime specification that has every member we write.
pub(super) const OCI_VERSION: &str = "1.0.2";

/// Podman's default: enough for package managers, `su` and services that drop to their user; no raw sockets,
/// no device nodes, no audit records.
pub(crate) const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// containerd's masked paths: those of `tare spec` and one more.
pub(crate) fn masked_paths() -> Vec<&'static str> {
    [crate::spec::MASKED, &["/sys/devices/virtual/powercap"]].concat()
}

/// PATH if the image sets none.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The arguments if the image has neither Entrypoint nor Cmd.
pub(super) const ARGS: [&str; 1] = ["sh"];

pub(super) const NAMESPACES: [&str; 6] = ["pid", "network", "ipc", "uts", "mount", "cgroup"];

/// containerd's mounts, without its tmpfs on /run: images ship files there.
pub(crate) fn mounts() -> Value {
    json!([
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}

/// The mount for a volume of the image: a tmpfs that begins with a copy of what the image has there
/// (`tmpcopyup`).
pub(crate) fn volume(destination: &str) -> Value {
    mount(destination, "tmpfs", "tmpfs", &["nosuid", "nodev", "tmpcopyup"])
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}
