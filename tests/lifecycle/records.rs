//! The files in which a container is remembered, where they are not what was written: no verb waits for ever, none acts
//! on a stranger, and one `delete --force` cleans up.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Bundle, machine, program};

/// Puts something that nobody has made in place of a file of ours. The answer is what was there.
fn put(path: &Path, what: &str) {
    drop(fs::remove_file(path));
    match what {
        "fifo" => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        "socket" => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        "symlink" => symlink("/dev/zero", path).unwrap(),
        "device" => {
            use nix::sys::stat::{Mode, SFlag, makedev, mknod};
            mknod(path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)).unwrap();
        }
        "directory" => fs::create_dir_all(path.join("with/more")).unwrap(),
        other => panic!("{other}"),
    }
}

const NO_FILES: [&str; 5] = ["fifo", "socket", "symlink", "device", "directory"];

#[test]
fn what_stands_in_place_of_the_record_neither_holds_a_verb_up_nor_keeps_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    for what in NO_FILES {
        bundle.up();
        let directory = bundle.state_root().join(&bundle.id);
        put(&directory.join("state.json"), what);
        for verb in
            [&["state"][..], &["kill"], &["delete"], &["ps"], &["start"], &["update", "--pids-limit", "9"]]
        {
            bundle
                .tare(&[verb, &[&bundle.id]].concat())
                .fails(1, "state.json: is not as it was made: it is a");
        }
        let list = bundle.tare(&["list"]).ok();
        assert!(list.stderr.contains(&bundle.id), "{what}: {list:?}");
        assert!(!machine::processes(&bundle.id).is_empty(), "{what}: ended without force");
        bundle.delete_force().ok();
        bundle.leaves_nothing();
    }
}

#[test]
fn what_stands_in_place_of_the_record_before_is_replaced() {
    let Some(mut bundle) = Bundle::new() else { return };
    for what in NO_FILES {
        bundle.up();
        let directory = bundle.state_root().join(&bundle.id);
        let before = directory.join(".state.json.before");
        put(&before, what);
        bundle.tare(&["update", "--pids-limit", "99", &bundle.id]).ok();
        assert!(fs::symlink_metadata(&before).unwrap().is_file(), "{what}");
        put(&before, what);
        // Nothing is left that tells of the container; it is not forgotten.
        let record = fs::read(directory.join("state.json")).unwrap();
        fs::write(directory.join("state.json"), "").unwrap();
        bundle.delete_force().fails(1, "are not known");
        fs::write(directory.join("state.json"), record).unwrap();
        bundle.delete_force().ok();
        bundle.leaves_nothing();
    }
}

#[test]
fn what_stands_in_place_of_the_configuration_or_the_fifo_is_not_used() {
    let Some(bundle) = Bundle::new() else { return };
    for what in NO_FILES {
        bundle.create().ok();
        let directory = bundle.state_root().join(&bundle.id);
        put(&directory.join("config.json"), what);
        bundle.exec(&["true"]).fails(255, "config.json: is not as it was made");
        if what != "fifo" {
            put(&directory.join("exec.fifo"), what);
            bundle.start().fails(1, "exec.fifo: is not as it was made");
        }
        bundle.delete_force().ok();
        bundle.leaves_nothing();
        bundle.create().ok();
        fs::remove_file(directory.join("exec.fifo")).unwrap();
        fs::write(directory.join("exec.fifo"), "").unwrap();
        bundle.start().fails(1, "exec.fifo: is not as it was made: it is a file");
        bundle.delete_force().ok();
        bundle.leaves_nothing();
    }
}

#[test]
fn a_record_under_another_name_acts_on_nobody() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let own = bundle.state_root().join(&bundle.id);
    let name = format!("{}-copy", bundle.id);
    let copy = bundle.state_root().join(&name);
    fs::create_dir(&copy).unwrap();
    for file in ["state.json", ".state.json.before", "config.json"] {
        fs::copy(own.join(file), copy.join(file)).unwrap();
    }
    for verb in [
        &["kill"][..],
        &["delete"],
        &["delete", "--force"],
        &["state"],
        &["ps"],
        &["pause"],
        &["events", "--stats"],
    ] {
        bundle.tare(&[verb, &[&name]].concat()).fails(1, "it is that of the container");
    }
    bundle.tare(&["exec", &name, "true"]).fails(255, "it is that of the container");
    assert!(!bundle.tare(&["list", "-q"]).ok().stdout.contains(&name));
    assert_eq!(bundle.status(), "running");
    fs::remove_dir_all(&copy).unwrap();
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn processes_of_a_record_of_another_boot_are_strangers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid").up();
    let pid = bundle.pid();
    let path = bundle.state_root().join(&bundle.id).join("state.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["boot"] = "ecf4d4a1-0000-4000-8000-000000000000".into();
    let another = serde_json::to_vec(&record).unwrap();
    fs::write(&path, &another).unwrap();
    assert_eq!(bundle.status(), "stopped");
    bundle.kill("KILL").fails(1, "not running");
    bundle.exec(&["true"]).fails(255, "");
    record["boot"] = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim_end().into();
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    assert_eq!(bundle.status(), "running");
    // A record without one is as old as it may be.
    record.as_object_mut().unwrap().remove("boot");
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    assert_eq!(bundle.status(), "running");
    for force in [false, true] {
        let kept = fs::read(&path).unwrap();
        fs::write(&path, &another).unwrap();
        if force {
            bundle.delete_force().ok()
        } else {
            bundle.delete().ok()
        };
        assert!(machine::is_alive(&pid), "a stranger was killed");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, kept).unwrap();
    }
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn the_proc_of_another_pid_namespace_is_not_believed() {
    let Some(mut bundle) = Bundle::new() else { return };
    if program("unshare").is_none() {
        return;
    }
    let foreign = "exec unshare --pid --fork -- \"$@\"";
    let answer =
        bundle.tare_by(foreign, &["create", &bundle.id]).fails(1, "/proc is that of another pid namespace");
    assert!(answer.stderr.contains("--mount-proc"), "{answer:?}");
    bundle.leaves_nothing();
    bundle.up();
    for verb in
        [&["state"][..], &["kill"], &["delete"], &["delete", "--force"], &["ps"], &["exec"], &["start"]]
    {
        let answer = bundle
            .tare_by(foreign, &[verb, &[&bundle.id, "true"][..1 + usize::from(verb == ["exec"])]].concat());
        assert!(answer.stderr.contains("/proc is that of another pid namespace"), "{verb:?}: {answer:?}");
    }
    assert_eq!(bundle.status(), "running");
    // One in which this process is not at all.
    let blind = "exec unshare --mount --propagation private bash -c '
        mkdir -p seen; unshare --pid --fork --kill-child bash -c \"mount -t proc proc seen && exec sleep 1000\" & sleeper=$!
        until [ -d seen/1 ]; do sleep 0.05; done; mount --move seen /proc || exit 9
        \"$@\"; code=$?; kill -9 -- $(jobs -p) 2>/dev/null; exit $code' bash \"$@\"";
    for verb in [&["state"][..], &["delete", "--force"]] {
        let answer = bundle.tare_by(blind, &[verb, &[&bundle.id]].concat());
        assert_eq!(answer.code, 1, "{verb:?}: {answer:?}");
    }
    assert_eq!(bundle.status(), "running");
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_record_that_can_be_read_in_two_ways_is_torn() {
    let Some(mut bundle) = Bundle::new() else { return };
    for more in [r#""pid":1,"version":1"#, r#""Init":null"#, r#""annotations":{"a":"1","a":"2"}"#] {
        bundle.up();
        let path = bundle.state_root().join(&bundle.id).join("state.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen('{', &format!("{{{more},"), 1)).unwrap();
        bundle.kill("KILL").fails(1, "not a readable record");
        bundle.delete_force().ok();
        bundle.leaves_nothing();
    }
}

/// Names get to the disk before contents. What ran then has ended with the boot.
#[test]
fn records_that_a_power_loss_has_emptied_are_removed_after_the_next_boot() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let directory = bundle.state_root().join(&bundle.id);
    let kept: Vec<_> = [".state.json.before", "state.json"]
        .map(|name| (directory.join(name), fs::read(directory.join(name)).unwrap()))
        .into();
    for (path, _) in &kept {
        fs::write(path, "").unwrap();
    }
    // In this boot there may be processes.
    bundle.delete_force().fails(1, "its processes and control groups are not known");
    for (path, bytes) in &kept {
        fs::write(path, bytes).unwrap();
    }
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    for (path, _) in &kept {
        fs::write(path, "").unwrap();
    }
    drop(fs::remove_file(directory.join(".boot")));
    symlink("11111111-2222-4333-8444-555555555555", directory.join(".boot")).unwrap();
    bundle.delete_force().ok();
    assert!(!directory.exists());
    // The next boot would have no groups either.
    machine::clean(&bundle.id);
}
