//! A pod without an image: the bundle of a process that does nothing, and holds the pod's namespaces.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Context, Result};
use crate::shim::wire::sandbox::{IdMapping, NamespaceOption, PodSandboxConfig};

/// Whose namespaces a pod's are, in NamespaceOption.
const POD: i32 = 0;
const NODE: i32 = 2;

/// The process's root in the bundle. Not `rootfs`, which containerd expects to be empty in the end.
const ROOT: &str = "pod";

/// Writes the bundle: its configuration and its root, in which this program is the only file.
pub(crate) fn write(
    bundle: &Path,
    id: &str,
    config: &PodSandboxConfig,
    netns: &str,
    systemd: bool,
) -> Result<()> {
    let root = bundle.join(ROOT);
    make_dir(&root, 0o755)?;
    for name in ["dev", "proc"] {
        make_dir(&root.join(name), 0o755)?;
    }
    File::create(root.join("pause")).with_context(|| format!("writing into {}", root.display()))?;
    let own = std::env::current_exe().context("looking for the shim's own file")?;
    let spec = spec(id, config, netns, systemd, &own.to_string_lossy());
    let file = bundle.join("config.json");
    fs::write(&file, spec.to_string()).with_context(|| format!("writing {}", file.display()))
}

fn make_dir(dir: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn spec(id: &str, config: &PodSandboxConfig, netns: &str, systemd: bool, own: &str) -> Value {
    let linux = config.linux.clone().unwrap_or_default();
    let options = linux.security_context.and_then(|context| context.namespace_options).unwrap_or_default();
    let own_names = options.network != NODE;
    let mut spec = json!({
        "ociVersion": "1.1.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/pause", "pause"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {},
        },
        "root": {"path": ROOT, "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/pause", "type": "bind", "source": own, "options": ["bind", "ro", "nosuid", "nodev"]},
        ],
        "linux": {
            "cgroupsPath": cgroup(&linux.cgroup_parent, id, systemd),
            "namespaces": namespaces(&options, netns),
            "sysctl": linux.sysctls,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
        },
    });
    if own_names && !config.hostname.is_empty() {
        spec["hostname"] = config.hostname.as_str().into();
    }
    if let Some(users) = options.userns_options.filter(|users| users.mode == POD && !users.uids.is_empty()) {
        spec["linux"]["uidMappings"] = mappings(&users.uids);
        spec["linux"]["gidMappings"] = mappings(&users.gids);
    }
    spec
}

fn namespaces(options: &NamespaceOption, netns: &str) -> Vec<Value> {
    let mut found = vec![json!({"type": "mount"})];
    if options.network != NODE {
        found.push(json!({"type": "uts"}));
        found.push(if netns.is_empty() {
            json!({"type": "network"})
        } else {
            json!({"type": "network", "path": netns})
        });
    }
    for (kind, whose) in [("ipc", options.ipc), ("pid", options.pid)] {
        if whose != NODE {
            found.push(json!({"type": kind}));
        }
    }
    let users = options.userns_options.as_ref();
    if users.is_some_and(|users| users.mode == POD && !users.uids.is_empty()) {
        found.push(json!({"type": "user"}));
    }
    found
}

fn mappings(ids: &[IdMapping]) -> Value {
    let one =
        |id: &IdMapping| json!({"containerID": id.container_id, "hostID": id.host_id, "size": id.length});
    ids.iter().map(one).collect()
}

/// Where containerd's own pods are.
fn cgroup(parent: &str, id: &str, systemd: bool) -> String {
    match (parent.is_empty(), systemd) {
        (true, false) => format!("/k8s.io/{id}"),
        (false, false) => format!("{}/{id}", parent.trim_end_matches('/')),
        (_, true) => {
            let slice = parent.rsplit('/').next().unwrap_or_default();
            format!("{slice}:cri-containerd:{id}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(network: i32, pid: i32, ipc: i32) -> NamespaceOption {
        NamespaceOption { network, pid, ipc, userns_options: None }
    }

    #[test]
    fn a_pod_has_the_namespaces_that_are_asked_for() {
        let kinds = |options: &NamespaceOption| {
            let all = namespaces(options, "/run/netns/a");
            all.iter().map(|one| one["type"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&options(POD, 1, POD)), ["mount", "uts", "network", "ipc", "pid"]);
        assert_eq!(kinds(&options(NODE, NODE, NODE)), ["mount"]);
        assert_eq!(namespaces(&options(POD, NODE, NODE), "/n")[2]["path"], "/n");
    }

    #[test]
    fn a_pod_is_where_containerd_puts_its_own() {
        assert_eq!(cgroup("", "a", false), "/k8s.io/a");
        assert_eq!(cgroup("/kubepods/pod1/", "a", false), "/kubepods/pod1/a");
        assert_eq!(
            cgroup("/kubepods.slice/kubepods-pod1.slice", "a", true),
            "kubepods-pod1.slice:cri-containerd:a"
        );
    }
}
