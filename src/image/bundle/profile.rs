//! What surrounds the image's own wishes in config.json: the defaults that keep a container a container.
//! Each list says whose it is; they are the ones images are written against.

use serde_json::{Value, json};

/// The most recent runtime specification whose members are written here.
pub const OCI_VERSION: &str = "1.0.2";

/// Podman's default: enough for package managers, `su` and services that drop to their user; no raw sockets, no
/// device nodes, no audit records.
pub const CAPABILITIES: [&str; 11] = [
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

/// containerd's: one more than `tare spec` masks.
pub fn masked_paths() -> Vec<&'static str> {
    [crate::spec::MASKED, &["/sys/devices/virtual/powercap"]].concat()
}

/// Where the image names none.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the image says neither Entrypoint nor Cmd.
pub const ARGS: [&str; 1] = ["sh"];

pub const NAMESPACES: [&str; 6] = ["pid", "network", "ipc", "uts", "mount", "cgroup"];

/// containerd's mounts, without its tmpfs on /run: images ship files there.
pub fn mounts() -> Value {
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

/// A volume of the image: writable, empty but for what the image has there (`tmpcopyup`).
pub fn volume(destination: &str) -> Value {
    mount(destination, "tmpfs", "tmpfs", &["nosuid", "nodev", "tmpcopyup"])
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}
