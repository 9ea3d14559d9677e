//! Groups that cannot be had: each refusal names the config field and the control file or directory, and leaves nothing.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::run::wait_for;
use crate::support::{Bundle, machine, skip, skip_part, wait_until};

const V2: &str = "/sys/fs/cgroup";

fn asking(path: &str, resources: &Value) -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    let path = path.replace("ID", &bundle.id);
    bundle.patch(|config| {
        config["linux"]["cgroupsPath"] = json!(path);
        for (name, value) in resources.as_object().unwrap() {
            config["linux"]["resources"][name] = value.clone();
        }
    });
    Some(bundle)
}

/// `create` fails with these words, and nothing is left.
#[track_caller]
fn refused(bundle: &Bundle, start: &str, end: &str) {
    let message = bundle.create().message();
    let sentence = message.strip_prefix("tare create failed: ").unwrap_or(&message);
    let (start, end) = (start.replace("ID", &bundle.id), end.replace("ID", &bundle.id));
    assert!(sentence.starts_with(&start) && sentence.ends_with(&end), "{sentence}");
    let states = fs::read_dir(bundle.state_root()).unwrap().count();
    assert_eq!((states, machine::processes(&bundle.id)), (0, Vec::new()));
}

#[test]
fn a_path_that_leaves_the_hierarchy_is_refused() {
    for (path, as_told) in
        [("/../ID", "/../ID"), ("/a/../../ID", "/a/../../ID"), ("../ID", "../ID"), ("/..", "/..")]
    {
        let Some(bundle) = asking(path, &json!({})) else { return };
        let what = format!(
            "/linux/cgroupsPath: {as_told:?}: leaves the place where control groups of containers are"
        );
        refused(&bundle, &what, "");
        bundle.leaves_nothing();
    }
    let Some(bundle) = asking("/", &json!({})) else { return };
    refused(&bundle, "/linux/cgroupsPath: \"/\": names no group of its own", "");
}

#[test]
fn a_path_that_is_no_unit_is_refused_by_the_systemd_driver() {
    for (path, what) in [
        (
            "/system/ID",
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/system/ID\" instead",
        ),
        ("system.slice:ID", "expected cgroupsPath to be of format \"slice:prefix:name\""),
        ("a:b:c:ID", "expected cgroupsPath to be of format \"slice:prefix:name\""),
        ("system:tare:ID", "invalid slice name: system"),
        ("a--b.slice:tare:ID", "invalid slice name: a--b.slice"),
        ("../x.slice:tare:ID", "invalid slice name: ../x.slice"),
        ("system.slice:tare:../ID", "\"tare-../ID.scope\" is no name for a systemd unit"),
        ("system.slice:tare:a b", "\"tare-a b.scope\" is no name for a systemd unit"),
    ] {
        let Some(mut bundle) = asking(path, &json!({})) else { return };
        bundle.globals = vec!["--systemd-cgroup".into()];
        refused(&bundle, &format!("/linux/cgroupsPath: {what}"), "");
        bundle.leaves_nothing();
    }
}

#[test]
fn a_controller_that_is_missing_is_named() {
    if !machine::cgroup2_alone() {
        return;
    }
    for (controller, resources, what) in [
        (
            "memory",
            json!({"memory": {"limit": 67108864}}),
            "/linux/resources/memory/limit: cannot set memory limit: ",
        ),
        ("cpu", json!({"cpu": {"shares": 9}}), "/linux/resources/cpu/shares: cannot set cpu limit: "),
        ("pids", json!({"pids": {"limit": 9}}), "/linux/resources/pids/limit: cannot set pids limit: "),
        ("io", json!({"blockIO": {"weight": 99}}), "/linux/resources/blockIO/weight: cannot set io limit: "),
        (
            "memory",
            json!({"unified": {"memory.high": "1"}}),
            "/linux/resources/unified/memory.high: unified resource \"memory.high\" can't be set: controller \"memory\" not available",
        ),
        (
            "nosuch",
            json!({"unified": {"nosuch.max": "1"}}),
            "/linux/resources/unified/nosuch.max: unified resource \"nosuch.max\" can't be set: controller \"nosuch\" not available",
        ),
    ] {
        if machine::has_controller(controller) {
            skip_part(&format!("needs a host without the {controller} controller"));
            continue;
        }
        let Some(bundle) = asking("/ID-parent/ID", &resources) else { return };
        refused(&bundle, what, "");
        bundle.leaves_nothing();
    }
}

/// A parent that holds processes hands nothing down: the kernel's rule.
#[test]
fn a_parent_with_processes_is_named_where_its_controller_is_needed() {
    if !machine::cgroup2_alone() || !machine::has_controller("hugetlb") {
        return skip("needs the hugetlb controller in cgroup2");
    }
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]});
    let Some(bundle) = asking("/ID-parent/ID", &huge) else { return };
    let parent = format!("{V2}/{}-parent", bundle.id);
    fs::create_dir(&parent).unwrap();
    let mut sleeper = Command::new("sleep").arg("100").spawn().unwrap();
    fs::write(format!("{parent}/cgroup.procs"), sleeper.id().to_string()).unwrap();
    let message = bundle.create().message();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    let want = format!(
        "/linux/resources/hugepageLimits/0/limit: enable the hugetlb controller in {parent}/cgroup.subtree_control: \
         device or resource busy"
    );
    assert!(message.contains(&want), "{message}");
    wait_until("the parent", || fs::remove_dir(&parent).is_ok());
    bundle.leaves_nothing();
}

fn used_groups() {
    let Some(mut bundle) = asking("/ID-parent/ID", &json!({})) else { return };
    bundle.up();
    let other = format!("{}-other", bundle.id);
    for (prepare, what) in [
        (None, "container's cgroup is not empty: 1 process(es) found"),
        (Some("frozen"), "container's cgroup unexpectedly frozen"),
    ] {
        if prepare.is_some() {
            bundle.delete_force().ok();
            for group in freezers(&bundle.id) {
                fs::create_dir_all(&group).unwrap();
                let file = if machine::is_v2() { "cgroup.freeze" } else { "freezer.state" };
                fs::write(group.join(file), if machine::is_v2() { "1" } else { "FROZEN" }).unwrap();
            }
        }
        let answer = bundle.tare(&["create", &other]);
        let message = answer.message();
        assert!(
            message.contains("/linux/cgroupsPath: /sys/fs/cgroup/") && message.ends_with(what),
            "{message}"
        );
        assert!(answer.told().contains("is another container using this cgroupsPath?"), "{answer:?}");
    }
    assert_eq!(bundle.tare(&["list", "-q"]).stdout, "");
}

/// Where the bundle's group is frozen.
fn freezers(id: &str) -> Vec<PathBuf> {
    let root = if machine::is_v2() { V2.into() } else { format!("{V2}/freezer") };
    vec![Path::new(&root).join(format!("{id}-parent/{id}"))]
}

#[test]
fn a_group_in_use_or_frozen_is_refused() {
    used_groups();
}

#[test]
fn a_group_in_use_or_frozen_is_refused_on_cgroup_v2() {
    if machine::cgroup2_alone() {
        used_groups();
    }
}

#[test]
fn a_threaded_group_is_refused_by_what_needs_another() {
    if !machine::cgroup2_alone() || !machine::has_controller("hugetlb") {
        return skip("needs the hugetlb controller in cgroup2");
    }
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]});
    let Some(mut bundle) = asking("/ID-parent/ID", &huge) else { return };
    let parent = PathBuf::from(format!("{V2}/{}-parent", bundle.id));
    let group = parent.join(&bundle.id);
    fs::create_dir_all(&group).unwrap();
    fs::write(group.join("cgroup.type"), "threaded").unwrap();
    let message = bundle.create().message();
    let what = "/linux/resources/hugepageLimits/0/limit: ";
    assert!(message.contains(what), "{message}");
    assert!(
        message.contains(&format!("{}/cgroup.subtree_control", parent.display()))
            || message.contains("it is in threaded mode"),
        "{message}"
    );
    // Without such a wish it is as good as any.
    bundle.patch(|config| {
        config["linux"]["resources"].as_object_mut().unwrap().remove("hugepageLimits");
    });
    bundle.up();
    assert_eq!(fs::read_to_string(group.join("cgroup.type")).unwrap(), "threaded\n");
    assert_eq!(bundle.tare(&["ps", "-f", "json", &bundle.id]).ok().stdout, format!("[{}]\n", bundle.pid()));
    bundle.exec(&["true"]).ok();
    bundle.tare(&["pause", &bundle.id]).ok();
    bundle.tare(&["resume", &bundle.id]).ok();
    bundle.delete_force().ok();
    let _ = fs::remove_dir(&group);
    fs::remove_dir(&parent).unwrap();
    bundle.leaves_nothing();
}

/// As a user without privileges, in a copy of the runtime that the user can reach.
#[test]
fn a_group_that_may_not_be_made_is_named() {
    let Some(mut bundle) = asking("/ID", &json!({})) else { return };
    // Everybody's: the bundle, its state, and the runtime.
    let home = bundle.dir.join("tare");
    fs::copy(crate::support::runtime(), &home).unwrap();
    bundle.program = home.display().to_string();
    bundle.without_namespace("network").namespace("user", None).patch(|config| {
        let map = json!([{"containerID": 0, "hostID": 54321, "size": 1}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    for path in [&bundle.dir, &bundle.state_root(), &bundle.rootfs()] {
        std::os::unix::fs::chown(path, Some(54321), Some(54321)).unwrap();
    }
    let create = || {
        let mut command = bundle.command(&["create", &bundle.id]);
        std::os::unix::process::CommandExt::uid(&mut command, 54321);
        std::os::unix::process::CommandExt::gid(&mut command, 54321);
        wait_for(&mut command)
    };
    let message = create().message();
    assert!(message.contains("/linux/cgroupsPath: make control group /sys/fs/cgroup/"), "{message}");
    assert!(message.ends_with(&format!("/{}: permission denied", bundle.id)), "{message}");
    // Without a path of its own, a limit is what cannot be had.
    if machine::is_v2() {
        return;
    }
    bundle.patch(|config| {
        config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        config["linux"]["resources"]["pids"] = json!({"limit": 9});
    });
    let mut command = bundle.command(&["create", &bundle.id]);
    std::os::unix::process::CommandExt::uid(&mut command, 54321);
    std::os::unix::process::CommandExt::gid(&mut command, 54321);
    let message = wait_for(&mut command).message();
    assert!(
        message.contains(
            "/linux/resources/pids/limit: cannot set pids limit: container could not join or create cgroup: "
        ),
        "{message}"
    );
    bundle.leaves_nothing();
}

#[test]
fn hierarchies_that_are_mounted_read_only_are_named() {
    let Some(bundle) = asking("/ID", &json!({})) else { return };
    let script = "mount -o remount,bind,ro /sys/fs/cgroup 2>/dev/null || true
        for path in /sys/fs/cgroup/*; do mount -o remount,bind,ro $path 2>/dev/null; done; exec \"$@\"";
    let call = bundle.command(&["create", &bundle.id]);
    let mut shell = Command::new("unshare");
    shell.args(["-m", "bash", "-c", script, "bash"]).arg(call.get_program()).args(call.get_args());
    let message = wait_for(shell.current_dir(&bundle.dir)).message();
    assert!(message.contains("/linux/cgroupsPath: make control group /sys/fs/cgroup/"), "{message}");
    assert!(message.ends_with("read-only file system"), "{message}");
    bundle.leaves_nothing();
}

/// A host that says it runs systemd, and what stands where its buses are.
fn with_buses(bundle: &mut Bundle, prepare: &str) -> String {
    bundle.globals = vec!["--systemd-cgroup".into()];
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/dbus; {prepare}; exec \"$@\""
    );
    let call = bundle.command(&["create", &bundle.id]);
    let mut shell = Command::new("unshare");
    shell.args(["-m", "bash", "-c", &script, "bash"]).arg(call.get_program()).args(call.get_args());
    let answer = wait_for(shell.current_dir(&bundle.dir));
    answer.message()
}

#[test]
fn an_absent_or_dead_bus_is_named() {
    let Some(mut bundle) = asking("system.slice:tare:ID", &json!({})) else { return };
    if Path::new("/run/systemd/system").exists() {
        return skip("needs a host without systemd");
    }
    bundle.globals = vec!["--systemd-cgroup".into()];
    refused(
        &bundle,
        "/linux/cgroupsPath: systemd cgroup flag passed, but systemd support",
        "is not available",
    );
    let message = with_buses(&mut bundle, "true");
    let absent = "/linux/cgroupsPath: reach systemd over D-Bus: connect to /run/systemd/private: no such file or directory";
    assert!(message.ends_with(absent), "{message}");
    // A socket without anybody behind it.
    let dead = bundle.dir.join("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let message = with_buses(
        &mut bundle,
        &format!("touch /run/systemd/private; mount --bind {} /run/systemd/private", dead.display()),
    );
    assert!(
        message.ends_with("reach systemd over D-Bus: connect to /run/systemd/private: connection refused"),
        "{message}"
    );
    // One that hangs up.
    let path = bundle.dir.join("rude");
    let rude = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        drop(rude.accept().unwrap());
        std::thread::sleep(Duration::from_millis(10));
    });
    let message = with_buses(
        &mut bundle,
        &format!("touch /run/systemd/private; mount --bind {} /run/systemd/private", path.display()),
    );
    thread.join().unwrap();
    assert!(
        message.contains("/linux/cgroupsPath: reach systemd over D-Bus: connect to /run/systemd/private: "),
        "{message}"
    );
    bundle.leaves_nothing();
}
