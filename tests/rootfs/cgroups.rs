//! The container's control groups as it sees them.

use crate::support::{Bundle, machine};
use crate::{at, mounts};

#[test]
fn are_its_own_group_in_each_hierarchy() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        return crate::support::skip("needs cgroup v1");
    }
    let seen = mounts(&mut bundle);
    assert_eq!(at(&seen, "/sys/fs/cgroup").kind, "tmpfs");
    assert!(at(&seen, "/sys/fs/cgroup").has("ro"), "{seen:#?}");
    for hierarchy in ["memory", "pids", "devices", "systemd"] {
        let mount = at(&seen, &format!("/sys/fs/cgroup/{hierarchy}"));
        assert!(mount.kind == "cgroup" && mount.has("ro") && mount.root.ends_with(&*bundle.id), "{mount:?}");
    }
    let output = bundle
        .output_of("cat /sys/fs/cgroup/pids/cgroup.procs | wc -l; mkdir /sys/fs/cgroup/pids/x || echo no");
    assert_eq!(output.lines().last(), Some("no"));
}

#[test]
fn in_a_cgroup_namespace_the_group_is_the_root() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.namespace("cgroup", None);
    let output = bundle.output_of("cat /proc/self/cgroup");
    assert!(output.lines().all(|line| line.ends_with(":/")), "{output}");
    for mount in mounts(&mut bundle).iter().filter(|mount| mount.kind.starts_with("cgroup")) {
        assert_eq!(mount.root, "/", "{mount:?}");
    }
}

#[test]
fn have_the_path_that_the_configuration_says() {
    let Some(mut bundle) = Bundle::new() else { return };
    let path = format!("/{}/of/it", bundle.id);
    bundle.patch(|config| config["linux"]["cgroupsPath"] = path.clone().into()).args(&["sleep", "1000"]);
    bundle.create().ok();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(own.lines().all(|line| line.ends_with(&path)), "{own}");
    bundle.delete().ok();
    let left = machine::groups(&bundle.id);
    assert!(!left.iter().any(|group| group.ends_with("it")), "{left:?}");
}
