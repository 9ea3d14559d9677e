//! What runs beside systemd, in its namespaces.

use std::collections::HashMap;
use std::process::Command;

use serde_json::{Value, json};
use tare::testing::cgroup::plan::{Request, new_group};
use tare::testing::cgroup::{Group, Manager, Plan};
use tare::testing::host::cgroup::Layout;
use tare::testing::host::probe::cgroup::read_layout;

use crate::bundles::skip;
use crate::support::{Inmate, Scratch, assert_told, born_in, id, open_errno};

fn planned(path: &str, resources: &Value, user: bool) -> Plan {
    planned_with(path, resources, &read_layout().unwrap(), user, None, &[])
}

fn planned_with(
    path: &str,
    resources: &Value,
    layout: &Layout,
    user: bool,
    subgroup: Option<&str>,
    annotations: &[(&str, &str)],
) -> Plan {
    let linux = serde_json::from_value(json!({"cgroupsPath": path, "resources": resources})).unwrap();
    let annotations: HashMap<_, _> =
        annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    new_group(&Request {
        linux: Some(&linux),
        annotations: Some(&annotations),
        id: &id(),
        manager: Manager::Systemd,
        layout,
        rootless: user,
        systemd_subgroup: subgroup.map(str::as_ref),
        without_default_devices: false,
    })
    .unwrap()
}

fn created(plan: Plan) -> Scratch {
    let group = plan.create().unwrap();
    let scratch = Scratch { plan, group };
    scratch.group.apply(&scratch.plan).unwrap();
    scratch
}

/// `systemctl show -p NAME UNIT`, the value.
fn shown(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "-p", name, unit]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn reload() {
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
}

fn all_of(name: &str) -> bool {
    shown(name, "LoadState") == "loaded"
}

/// A node that no list here allows to be opened for writing, made where only this test looks.
fn node() -> &'static std::ffi::CStr {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let path = c"/run/kmsg";
    match mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(1, 11)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => path,
        Err(errno) => panic!("mknod: {errno}"),
    }
}

mod v2 {
    use super::*;

    #[test]
    #[ignore = "runs inside"]
    fn a_process_is_born_in_its_scope() {
        let scratch = created(planned(
            "test-a.slice:tare:born",
            &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}),
            false,
        ));
        let path = scratch.group.record().locations[0].path.clone();
        assert_eq!(path.to_str(), Some("test.slice/test-a.slice/tare-born.scope"));
        // The placeholder stands in for it until then.
        assert_eq!(scratch.group.procs().unwrap().len(), 1);
        assert_eq!(shown("tare-born.scope", "ActiveState"), "active");
        assert_eq!(shown("tare-born.scope", "Delegate"), "yes");
        assert_eq!(shown("tare-born.scope", "Slice"), "test-a.slice");
        assert_eq!(shown("tare-born.scope", "ControlGroup"), format!("/{}", path.display()));
        assert_eq!(scratch.read("hugetlb.2MB.max"), "4194304");
        let inmate = scratch.sleeper();
        scratch.group.release_placeholder();
        assert_eq!(scratch.group.procs().unwrap(), [inmate.pid()]);
        scratch.group.freeze().unwrap();
        scratch.group.thaw().unwrap();
        let found = Group::from_record(scratch.group.record());
        found.kill_all(libc::SIGKILL).unwrap();
        found.remove().unwrap();
        assert!(!found.exists().unwrap());
        assert!(!all_of("tare-born.scope"));
        found.remove().unwrap();
    }

    #[test]
    #[ignore = "runs inside"]
    fn a_subgroup_holds_the_process_and_the_limits() {
        let resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
        let layout = read_layout().unwrap();
        let scratch = created(planned_with(":tare:sub", &resources, &layout, false, Some("container"), &[]));
        let path = scratch.group.record().locations[0].path.clone();
        assert_eq!(path.to_str(), Some("system.slice/tare-sub.scope/container"));
        assert_eq!(scratch.read("hugetlb.2MB.max"), "4194304");
        let inmate = scratch.sleeper();
        assert!(inmate.groups().contains("0::/system.slice/tare-sub.scope/container"), "{}", inmate.groups());
        assert_eq!(scratch.group.procs().unwrap(), [inmate.pid()]);
        assert_eq!(shown("tare-sub.scope", "ActiveState"), "active");
        scratch.group.kill_all(libc::SIGKILL).unwrap();
        scratch.group.remove().unwrap();
        assert!(!all_of("tare-sub.scope"));
        assert!(!scratch.plan.locations[0].directory().parent().unwrap().exists());
    }

    #[test]
    #[ignore = "runs inside"]
    fn device_rules_outlive_a_reload() {
        let deny = json!({"allow": false, "access": "rwm"});
        let closed = created(planned(":tare:closed", &json!({"devices": [deny]}), false));
        let all = json!({"allow": true, "access": "rwm"});
        let written = json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"});
        // systemd has no words for this one.
        let open = created(planned(":tare:open", &json!({"devices": [all, written]}), false));
        node();
        for _ in 0..2 {
            assert_eq!(shown("tare-closed.scope", "DevicePolicy"), "strict");
            assert_eq!(shown("tare-open.scope", "DevicePolicy"), "auto");
            for scope in [&closed.group, &open.group] {
                assert_eq!(born_in(scope, || open_errno(c"/dev/null", libc::O_RDWR)), 0);
                assert_eq!(born_in(scope, || open_errno(c"/run/kmsg", libc::O_RDWR)), libc::EPERM);
            }
            assert_eq!(born_in(&closed.group, || open_errno(c"/run/kmsg", libc::O_RDONLY)), libc::EPERM);
            assert_eq!(born_in(&open.group, || open_errno(c"/run/kmsg", libc::O_RDONLY)), 0);
            reload();
        }
    }

    #[test]
    #[ignore = "runs inside"]
    fn limits_are_told_to_systemd() {
        let resources = json!({
            "memory": {"limit": 67108864, "swap": 134217728}, "pids": {"limit": 50},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        });
        // This tree has not these controllers; systemd takes the values all the same.
        let mut layout = read_layout().unwrap();
        layout.unified.as_mut().unwrap().controllers.extend(["memory", "pids", "cpu"].map(str::to_owned));
        let annotations = [
            ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            ("org.systemd.property.TimeoutStopSec", "13"),
            ("org.systemd.property.Description", "'as the annotation says'"),
        ];
        let plan = planned_with(":tare:limits", &resources, &layout, false, None, &annotations);
        let group = plan.create().unwrap();
        for (name, want) in [
            ("MemoryMax", "67108864"),
            ("MemorySwapMax", "67108864"),
            ("TasksMax", "50"),
            ("CPUWeight", "59"),
            ("CPUQuotaPerSecUSec", "500ms"),
            ("CPUQuotaPeriodUSec", "100ms"),
            ("CollectMode", "inactive-or-failed"),
            ("TimeoutStopUSec", "13s"),
            ("Description", "as the annotation says"),
        ] {
            assert_eq!(shown("tare-limits.scope", name), want, "{name}");
        }
        let wanted = serde_json::from_value(json!({"pids": {"limit": 60}})).unwrap();
        let changed = tare::testing::cgroup::plan::update(group.record(), &wanted, false).unwrap();
        if std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap().contains("pids") {
            group.update(&changed).unwrap();
            assert_eq!(shown("tare-limits.scope", "TasksMax"), "60");
            let file = group.record().locations[0].directory().join("pids.max");
            assert_eq!(std::fs::read_to_string(file).unwrap(), "60\n");
            return group.remove().unwrap();
        }
        // The property is set before the file, which this tree does not have, is refused: then it is taken back.
        group.update(&changed).unwrap_err();
        assert_eq!(shown("tare-limits.scope", "TasksMax"), "50");
        let more =
            json!({"memory": {"reservation": 4096}, "cpu": {"cpus": "0", "idle": 1}, "pids": {"limit": 70}});
        let more = serde_json::from_value(more).unwrap();
        group
            .update(&tare::testing::cgroup::plan::update(group.record(), &more, false).unwrap())
            .unwrap_err();
        for (name, want) in [
            ("TasksMax", "50"),
            ("MemoryLow", "0"),
            ("AllowedCPUs", ""),
            ("CPUWeight", "59"),
            ("MemoryMax", "67108864"),
        ] {
            assert_eq!(shown("tare-limits.scope", name), want, "{name}");
        }
        group.remove().unwrap();
    }

    #[test]
    #[ignore = "runs inside"]
    fn a_property_that_systemd_refuses_is_told_with_its_annotation_and_nothing_is_left() {
        let layout = read_layout().unwrap();
        for (name, value) in [("Nonsense", "true"), ("MemoryMax", "'much'")] {
            let annotation = format!("org.systemd.property.{name}");
            let plan =
                planned_with(":tare:refused", &json!({}), &layout, false, None, &[(&*annotation, value)]);
            let error = plan.create().unwrap_err().to_string();
            let (pointer, rest) = error.split_once(": ").unwrap();
            assert!(
                ["/linux/cgroupsPath", &format!("/annotations/org.systemd.property.{name}")]
                    .contains(&pointer),
                "{error}"
            );
            assert!(rest.starts_with("unable to start unit \"tare-refused.scope\": "), "{error}");
            // Of a wrong type systemd does not say whose it is.
            assert!(error.contains(name) || error.contains("Unexpected message contents"), "{error}");
            assert!(!all_of("tare-refused.scope"));
            assert!(!plan.locations[0].directory().exists());
        }
    }

    #[test]
    #[ignore = "runs inside"]
    fn a_unit_in_use_is_refused_and_stays() {
        let scratch = created(planned(":tare:used", &json!({}), false));
        let inmate = scratch.sleeper();
        let error = planned(":tare:used", &json!({}), false).create().unwrap_err();
        assert_told(&error, "container's cgroup is not empty: 1 process(es) found");
        assert_eq!(scratch.group.procs().unwrap(), [inmate.pid()]);
        // The same name in another slice: systemd itself refuses.
        let error = planned("other.slice:tare:used", &json!({}), false).create().unwrap_err().to_string();
        assert!(error.contains("UnitExists"), "{error}");
        assert_eq!(shown("tare-used.scope", "ActiveState"), "active");
    }

    /// As after a crash: systemd keeps a unit that has failed, for somebody to look at.
    #[test]
    #[ignore = "runs inside"]
    fn a_failed_unit_that_was_left_is_taken_over() {
        use tare::testing::cgroup::plan::systemd::{Property, Unit, properties::unit_properties};
        use tare::testing::cgroup::systemd::client::Client;
        let unit = Unit::from_path(Some(":tare:left".as_ref()), &id(), false).unwrap();
        let mut properties = unit_properties(&unit, tare::testing::host::cgroup::Mode::V2);
        properties.push(Property::new("RuntimeMaxUSec", 50_000_u64, ""));
        let inmate = Inmate::outside();
        Client::connect(false).unwrap().start(&unit, &properties, Some(inmate.pid())).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while shown("tare-left.scope", "ActiveState") != "failed" {
            assert!(std::time::Instant::now() < end, "{}", shown("tare-left.scope", "ActiveState"));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let scratch = created(planned(":tare:left", &json!({}), false));
        assert_eq!(shown("tare-left.scope", "ActiveState"), "active");
        scratch.group.remove().unwrap();
        assert!(!all_of("tare-left.scope"));
    }

    #[test]
    #[ignore = "runs inside"]
    fn the_message_bus_serves_as_well() {
        let unit =
            tare::testing::cgroup::plan::systemd::Unit::from_path(Some(":tare:bus".as_ref()), &id(), false)
                .unwrap();
        let sockets = vec![("/run/dbus/system_bus_socket".into(), true)];
        let mut manager = tare::testing::cgroup::systemd::client::Client::connect_to(sockets).unwrap();
        assert!(manager.version().unwrap() > 200);
        assert_eq!(manager.root().unwrap(), std::path::Path::new(""));
        let inmate = Inmate::outside();
        let properties = tare::testing::cgroup::plan::systemd::properties::unit_properties(
            &unit,
            tare::testing::host::cgroup::Mode::V2,
        );
        manager.start(&unit, &properties, Some(inmate.pid())).unwrap();
        assert!(inmate.groups().contains("0::/system.slice/tare-bus.scope"), "{}", inmate.groups());
        assert_eq!(manager.control_group(&unit).unwrap().to_str(), Some("system.slice/tare-bus.scope"));
        manager.stop(&unit).unwrap();
        manager.stop(&unit).unwrap();
    }

    /// As the user whose manager it is.
    #[test]
    #[ignore = "runs inside"]
    fn a_user_starts_scopes_by_the_manager_of_their_own() {
        let user = nix::unistd::Uid::from_raw(1234);
        if nix::unistd::getuid().is_root() {
            use std::os::unix::process::CommandExt;
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["systemd::inside::v2::a_user_starts", "--ignored", "--nocapture"])
                .env("XDG_RUNTIME_DIR", "/run/user/1234")
                .env_remove("DBUS_SESSION_BUS_ADDRESS")
                .uid(1234)
                .gid(1234)
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        assert_eq!(nix::unistd::getuid(), user);
        let scratch = created(planned(":tare:mine", &json!({}), true));
        let path = scratch.group.record().locations[0].path.display().to_string();
        assert!(path.ends_with("/user@1234.service/user.slice/tare-mine.scope"), "{path}");
        assert!(scratch.group.placement().unwrap().parent_joins);
        let inmate = scratch.sleeper();
        assert_eq!(scratch.group.procs().unwrap(), [inmate.pid()]);
        // An additional process, as for `exec`.
        let guest = Inmate::outside();
        Group::from_record(scratch.group.record()).join(guest.pid()).unwrap();
        assert_eq!(scratch.group.procs().unwrap().len(), 2);
        scratch.group.freeze().unwrap();
        scratch.group.thaw().unwrap();
        scratch.group.kill_all(libc::SIGKILL).unwrap();
        scratch.group.remove().unwrap();
        assert!(!scratch.group.exists().unwrap());
    }
}

mod v1 {
    use super::*;

    #[test]
    #[ignore = "runs inside"]
    fn limits_hold_in_every_hierarchy_and_outlive_a_reload() {
        let scratch = created(planned(
            "test.slice:tare:limits",
            &json!({
                "memory": {"limit": 67108864, "swap": 134217728, "swappiness": 10},
                "cpu": {"shares": 512, "quota": 50500, "period": 100000},
                "pids": {"limit": 50},
            }),
            false,
        ));
        let inmate = scratch.sleeper();
        assert_eq!(scratch.group.procs().unwrap(), [inmate.pid()]);
        let locations = scratch.group.record().locations.len();
        assert_eq!(
            inmate.groups().matches("/test.slice/tare-limits.scope").count(),
            locations,
            "{}",
            inmate.groups()
        );
        for _ in 0..2 {
            for (file, want) in [
                ("memory.limit_in_bytes", "67108864"),
                ("memory.memsw.limit_in_bytes", "134217728"),
                ("memory.swappiness", "10"),
                ("cpu.shares", "512"),
                ("cpu.cfs_period_us", "100000"),
                ("pids.max", "50"),
            ] {
                assert_eq!(scratch.read(file), want, "{file}");
            }
            reload();
        }
        assert_eq!(shown("tare-limits.scope", "CPUQuotaPerSecUSec"), "510ms");
        let wanted =
            serde_json::from_value(json!({"memory": {"limit": 33554432}, "pids": {"limit": 60}})).unwrap();
        let changed = tare::testing::cgroup::plan::update(scratch.group.record(), &wanted, false).unwrap();
        scratch.group.update(&changed).unwrap();
        reload();
        assert_eq!(scratch.read("memory.limit_in_bytes"), "33554432");
        assert_eq!(shown("tare-limits.scope", "MemoryLimit"), "33554432");
        assert_eq!(scratch.read("pids.max"), "60");
        assert_eq!(scratch.read("cpu.shares"), "512");
        scratch.group.kill_all(libc::SIGKILL).unwrap();
        scratch.group.remove().unwrap();
        assert!(!scratch.group.exists().unwrap());
        assert!(!all_of("tare-limits.scope"));
    }
}

/// The whole program, in a bundle with busybox.
#[test]
#[ignore = "runs inside"]
fn v2_a_container_lives_in_its_scope() {
    if !std::path::Path::new("/bin/busybox").exists() {
        skip("needs busybox");
        return;
    }
    let bundle = std::path::Path::new("/run/bundle");
    std::fs::create_dir_all(bundle.join("rootfs/bin")).unwrap();
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/busybox")).unwrap();
    let tare = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare"));
        command.args(["--root", "/run/tare", "--systemd-cgroup"]).args(words).current_dir(bundle);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        assert!(command.status().unwrap().success(), "{words:?}");
    };
    tare(&["spec"]);
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/bin/busybox", "sleep", "1000"]);
    config["process"]["capabilities"] = json!({});
    config["process"]["rlimits"] = json!([]);
    config["linux"]["cgroupsPath"] = "system.slice:tare:whole".into();
    config["annotations"] = json!({"org.systemd.property.Description": "'whole'"});
    std::fs::write(&path, config.to_string()).unwrap();
    for _ in 0..2 {
        tare(&["run", "--detach", "whole"]);
        assert_eq!(shown("tare-whole.scope", "Description"), "whole");
        let procs = "/sys/fs/cgroup/system.slice/tare-whole.scope/cgroup.procs";
        assert_eq!(std::fs::read_to_string(procs).unwrap().lines().count(), 1, "the placeholder is gone");
        tare(&["exec", "whole", "/bin/busybox", "true"]);
        tare(&["pause", "whole"]);
        tare(&["resume", "whole"]);
        tare(&["delete", "--force", "whole"]);
        assert!(!all_of("tare-whole.scope"));
    }
}
