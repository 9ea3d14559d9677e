//! On a cgroup2 tree mounted in a mount namespace of the test's own: it works beside v1, with the controllers that
//! v1 has left over.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use tare::testing::cgroup::Group;
use tare::testing::host::cgroup::{Layout, Unified};
use tare::testing::host::probe::cgroup::with_controllers;

use crate::bundles::skip;
use crate::support::{Inmate, Scratch, assert_told, born_in, open_errno, path, planned};

/// Gives this test's thread a mount namespace with cgroup2 over the hierarchies of the host.
fn layout() -> Option<Layout> {
    if !nix::unistd::geteuid().is_root() {
        skip("needs root");
        return None;
    }
    let folder = Path::new("/sys/fs/cgroup");
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&Path>, "/", None::<&Path>, private, None::<&Path>).unwrap();
    match mount(Some("none"), folder, Some("cgroup2"), MsFlags::empty(), None::<&Path>) {
        // This host has nothing but cgroup2, and there it is.
        Ok(()) | Err(Errno::EBUSY) => {}
        Err(errno) => {
            skip(&format!("needs cgroup2: {errno}"));
            return None;
        }
    }
    let layout = Layout {
        v1: Vec::new(),
        unified: Some(Unified {
            mountpoint: folder.to_owned(),
            mount_root: "/".into(),
            own_path: "/".into(),
            controllers: Vec::new(),
        }),
    };
    Some(with_controllers(layout).unwrap())
}

#[test]
fn a_process_is_born_in_the_group_and_its_device_filter() {
    let Some(layout) = layout() else { return };
    let deny = json!({"allow": false, "access": "rwm"});
    let random = json!({"allow": true, "type": "c", "major": 1, "minor": 1, "access": "r"});
    let scratch = Scratch::new(&json!({"devices": [deny, random]}), &layout);
    assert_eq!(born_in(&scratch.group, || open_errno(c"/dev/null", libc::O_RDWR)), 0);
    assert_eq!(born_in(&scratch.group, || open_errno(c"/dev/kmsg", libc::O_RDONLY)), libc::EPERM);
    // Always allowed: /dev/ptmx.
    assert_eq!(born_in(&scratch.group, || open_errno(c"/dev/ptmx", libc::O_RDWR)), 0);

    // Set again: exchanged, not added to.
    let open = planned("/x", &json!({"devices": [{"allow": true, "access": "rwm"}]}), &layout);
    let found = Group::from_record(scratch.group.record());
    found.apply(&open).unwrap();
    assert_eq!(born_in(&found, || open_errno(c"/dev/kmsg", libc::O_RDONLY)), 0);
    found.apply(&scratch.plan).unwrap();
    assert_eq!(born_in(&found, || open_errno(c"/dev/kmsg", libc::O_RDONLY)), libc::EPERM);
}

#[test]
fn asking_for_two_ways_of_which_one_is_denied_is_denied() {
    let Some(layout) = layout() else { return };
    let all = json!({"allow": true, "access": "rwm"});
    let kmsg = json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"});
    let scratch = Scratch::new(&json!({"devices": [all, kmsg]}), &layout);
    for (flags, want) in [(libc::O_RDONLY, 0), (libc::O_WRONLY, libc::EPERM), (libc::O_RDWR, libc::EPERM)] {
        let got = match flags {
            libc::O_RDONLY => born_in(&scratch.group, || open_errno(c"/dev/kmsg", libc::O_RDONLY)),
            libc::O_WRONLY => born_in(&scratch.group, || open_errno(c"/dev/kmsg", libc::O_WRONLY)),
            _ => born_in(&scratch.group, || open_errno(c"/dev/kmsg", libc::O_RDWR)),
        };
        assert_eq!(got, want, "{flags}");
    }
}

#[test]
fn the_group_freezes_thaws_and_says_so() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let inmate = scratch.sleeper();
    assert_eq!(scratch.group.procs().unwrap(), [inmate.pid()]);
    scratch.group.freeze().unwrap();
    assert!(scratch.group.is_frozen().unwrap());
    assert!(scratch.read("cgroup.events").contains("frozen 1"));
    scratch.group.thaw().unwrap();
    assert!(!scratch.group.is_frozen().unwrap());
}

#[test]
fn a_freeze_that_takes_too_long_is_undone() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let _inmate = scratch.sleeper();
    let error = scratch.group.freeze_within(Duration::ZERO).map_err(|error| error.to_string());
    if let Err(error) = error {
        assert!(error.contains("did not stop in time"), "{error}");
        assert!(!scratch.group.is_frozen().unwrap());
    }
}

#[test]
fn kill_reaches_frozen_subgroups_and_remove_takes_them_along() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let mut inmate = scratch.sleeper();
    let mut nested = Inmate::outside();
    let inner = scratch.directory("cgroup").join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("cgroup.procs"), nested.pid().to_string()).unwrap();
    std::fs::write(inner.join("cgroup.freeze"), "1").unwrap();
    assert_eq!(scratch.group.procs().unwrap().len(), 2);
    scratch.group.kill_all(libc::SIGKILL).unwrap();
    scratch.group.remove().unwrap();
    assert!(!inmate.is_alive() && !nested.is_alive());
    assert!(!scratch.group.exists().unwrap());
}

#[test]
fn limits_of_the_controllers_that_are_there_read_back() {
    let Some(layout) = layout() else { return };
    if !layout.unified.as_ref().unwrap().controllers.iter().any(|name| name == "hugetlb") {
        skip("needs the hugetlb controller in cgroup2");
        return;
    }
    let scratch = Scratch::new(
        &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}], "unified": {"cgroup.max.depth": "3"}}),
        &layout,
    );
    assert_eq!(scratch.read("hugetlb.2MB.max"), "4194304");
    assert_eq!(scratch.read("hugetlb.2MB.rsvd.max"), "4194304");
    assert_eq!(scratch.read("cgroup.max.depth"), "3");
}

#[test]
fn a_used_group_is_refused() {
    let Some(layout) = layout() else { return };
    let path = path();
    let scratch = Scratch::try_new(&path, &json!({}), &layout).unwrap();
    let inmate = scratch.sleeper();
    let error = planned(&path, &json!({}), &layout).create().unwrap_err();
    assert_told(&error, "container's cgroup is not empty: 1 process(es) found");
    drop(inmate);
    scratch.group.freeze().unwrap();
    let error = planned(&path, &json!({}), &layout).create().unwrap_err();
    assert_told(&error, "container's cgroup unexpectedly frozen");
}

#[test]
fn a_tree_that_is_full_says_where_to_look() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({"unified": {"cgroup.max.descendants": "0"}}), &layout);
    let below = scratch.group.record().locations[0].path.join("x");
    let error = planned(&format!("/{}", below.display()), &json!({}), &layout).create().unwrap_err();
    assert!(error.to_string().contains("make control group"), "{error}");
    assert!(error.hint().unwrap().contains("cgroup.max.descendants"), "{error}");
}

#[test]
fn a_group_that_cannot_hand_a_controller_down_says_why_and_stays_as_it_was() {
    let Some(layout) = layout() else { return };
    let controllers = &layout.unified.as_ref().unwrap().controllers;
    let wish = [
        ("hugetlb", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]})),
        ("memory", json!({"memory": {"limit": 67108864}})),
    ];
    let Some((_, wanted)) = wish.iter().find(|(name, _)| controllers.iter().any(|one| one == name)) else {
        skip("needs a controller in cgroup2 that works on whole processes");
        return;
    };
    let scratch = Scratch::new(&json!({}), &layout);
    let file = |name: &str| scratch.directory("cgroup").join(name);
    let below = format!("/{}", scratch.group.record().locations[0].path.join("x").display());
    let inmate = scratch.sleeper();
    let error = planned(&below, wanted, &layout).create().unwrap_err();
    assert!(error.hint().unwrap().contains("holds processes itself"), "{error}");
    drop(inmate);
    assert_eq!(std::fs::read_to_string(file("cgroup.subtree_control")).unwrap().trim(), "");
    assert_eq!(std::fs::read_to_string(file("cgroup.type")).unwrap(), "domain\n");
}

#[test]
fn a_busy_group_is_told_with_its_processes_and_removed_once_they_left() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let inmate = scratch.sleeper();
    let error = scratch.group.remove_within(Duration::from_millis(20)).unwrap_err().to_string();
    assert!(error.contains(&format!("still in it: {} (sleep, ", inmate.pid())), "{error}");
    let pid = inmate.pid();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(inmate);
    });
    scratch.group.remove().unwrap();
    killer.join().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_guest_goes_where_init_is_once_the_group_hands_controllers_down() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let inmate = scratch.sleeper();
    let path = |group: &Group| group.record().locations[0].path.clone();
    let own = path(&scratch.group);
    assert_eq!(path(&scratch.group.for_exec(inmate.pid()).unwrap()), own);
    let directory = scratch.directory("cgroup");
    std::fs::create_dir_all(directory.join("a/init.scope")).unwrap();
    std::fs::write(directory.join("a/init.scope/cgroup.procs"), inmate.pid().to_string()).unwrap();
    if std::fs::write(directory.join("cgroup.subtree_control"), "+hugetlb").is_err() {
        skip("needs the hugetlb controller in cgroup2");
        return;
    }
    let guest = scratch.group.for_exec(inmate.pid()).unwrap();
    assert_eq!(path(&guest), own.join("a/init.scope"));
    assert_eq!(born_in(&guest, || 7), 7);
    assert_eq!(path(&scratch.group.subgroup(&["a".to_owned()]).unwrap()), own.join("a"));
    let error = scratch.group.subgroup(&["b".to_owned()]).unwrap_err().to_string();
    assert!(
        error.starts_with("bad sub cgroup path: adding pid to /")
            && error.ends_with("/b: no such file or directory"),
        "{error}"
    );
}

#[test]
fn statistics_are_read_from_what_is_there() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let _inmate = scratch.sleeper();
    let stats = scratch.group.stats().unwrap();
    assert_eq!(stats.cpu.psi.is_some(), scratch.directory("cgroup").join("cpu.pressure").exists());
    assert!(stats.cpu.usage.user + stats.cpu.usage.kernel <= stats.cpu.usage.total + 1000);
    assert_eq!(stats.pids.limit, 0);
    let error = scratch.group.watch_oom();
    assert!(error.is_err() || scratch.directory("cgroup").join("memory.events").exists());
}
