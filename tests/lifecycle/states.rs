//! created, running, stopped: who gets where, and what is refused where.

use std::fs;

use serde_json::Value;

use crate::support::run::Running;
use crate::support::{Bundle, program, skip, wait_until};

#[test]
fn a_container_is_created_then_running_then_stopped_then_gone() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().script("echo ran > /ran; exec sleep 1000");
    bundle.create().ok();
    assert_eq!(bundle.status(), "created");
    assert!(!bundle.rootfs().join("ran").exists(), "the program ran before its start");
    bundle.start().ok();
    assert_eq!(bundle.status(), "running");
    wait_until("the program runs", || bundle.rootfs().join("ran").exists());
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.delete().ok();
    bundle.tare(&["state", &bundle.id]).fails(1, "container does not exist");
    bundle.leaves_nothing();
}

#[test]
fn a_state_has_the_members_of_the_specification() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["annotations"] = serde_json::json!({"b": "2", "a": "ü"}));
    bundle.up();
    let answer = bundle.tare(&["state", &bundle.id]).ok();
    assert!(
        !answer.stdout.ends_with('\n') && answer.stdout.starts_with("{\n  \"ociVersion\": \""),
        "{answer:?}"
    );
    let state = answer.json();
    let keys: Vec<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["annotations", "bundle", "created", "id", "ociVersion", "owner", "pid", "rootfs", "status"]
    );
    assert_eq!(state["id"], *bundle.id);
    assert_eq!(state["bundle"], *bundle.dir.to_str().unwrap());
    assert_eq!(state["rootfs"], *bundle.rootfs().to_str().unwrap());
    assert_eq!(state["annotations"]["a"], "ü");
    assert_eq!(state["owner"], "");
    let created = state["created"].as_str().unwrap();
    let made = humantime::parse_rfc3339(created).unwrap();
    assert!(made.elapsed().unwrap().as_secs() < 60, "{created}");
    let command = fs::read_to_string(format!("/proc/{}/cmdline", state["pid"])).unwrap();
    assert_eq!(command, "sleep\x001000\0");
}

#[test]
fn a_stopped_container_has_no_pid() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    bundle.start().ok();
    bundle.wait_until_stopped();
    assert_eq!(bundle.state()["pid"], 0);
}

#[test]
fn only_a_created_container_can_be_started() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.start().fails(1, "container does not exist");
    bundle.up();
    bundle.start().fails(1, "cannot start an already running container");
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.start().fails(1, "cannot start a container that has stopped");
}

#[test]
fn a_created_container_whose_process_was_killed_is_stopped_and_cannot_be_started() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.start().fails(1, "cannot start a container that has stopped");
    bundle.delete().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_creation_that_ends_while_it_is_looked_at_is_not_a_stopped_container() {
    let Some(_) = program("strace") else { return };
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let path = bundle.state_root().join(&bundle.id).join("state.json");
    let finished = fs::read(&path).unwrap();
    // As it was during the creation, by a process that we can end when we want.
    let mut creator = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let stat = format!("/proc/{}/stat", creator.id());
    let start: u64 = fs::read_to_string(&stat).unwrap().split(' ').nth(21).unwrap().parse().unwrap();
    let mut record: Value = serde_json::from_slice(&finished).unwrap();
    record["creator"] = serde_json::json!({"pid": creator.id(), "start": start});
    record["init"] = Value::Null;
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    assert_eq!(bundle.status(), "creating");
    // It has read the record, and waits before it looks at the creator.
    let trace = bundle.path("looking");
    let mut slowed = std::process::Command::new("strace");
    slowed.args(["-qq", "-o", &trace, "-P", &stat, "-e", "inject=openat:delay_enter=700000"]);
    slowed.arg(&bundle.program).arg("--root").arg(bundle.state_root()).args(["state", &bundle.id]);
    let looking = Running::start(&mut slowed);
    wait_until("the creator is looked at", || {
        fs::read_to_string(&trace).is_ok_and(|text| text.contains("openat"))
    });
    fs::write(&path, finished).unwrap();
    creator.kill().unwrap();
    creator.wait().unwrap();
    assert_eq!(looking.wait().ok().json()["status"], "running");
}

#[test]
fn a_zombie_is_a_stopped_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["true"]);
    // The shell does not wait for it: its child stays a zombie while it sleeps. With `exec` the container would be
    // reaped by whoever is the parent; here a subreaper that never reaps is its parent.
    let script = "import ctypes, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
for verb in ['create', 'start']:
    subprocess.run(sys.argv[1:4] + [verb, sys.argv[4]], check=True)
time.sleep(1000)";
    let Some(python) = program("python3") else { return };
    let mut command = std::process::Command::new(python);
    command.args(["-c", script, &bundle.program, "--root"]).arg(bundle.state_root()).arg(&bundle.id);
    command.current_dir(&bundle.dir);
    let running = Running::start(&mut command);
    wait_until("the record", || bundle.tare(&["state", &bundle.id]).code == 0);
    bundle.wait_until_stopped();
    bundle.kill("TERM").fails(1, "container not running");
    bundle.start().fails(1, "cannot start a container that has stopped");
    bundle.delete().ok();
    running.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(running.wait().code, -9);
}

#[test]
fn a_second_container_of_the_same_id_is_refused_and_leaves_the_first_alone() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let before = bundle.state();
    for verb in ["create", "run"] {
        bundle.tare(&[verb, &bundle.id]).fails(1, "container with given ID already exists");
        assert_eq!(bundle.state(), before, "{verb}");
    }
    bundle.exec(&["true"]).ok();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.create().fails(1, "container with given ID already exists");
}

#[test]
fn a_verb_on_an_unknown_container_says_that_it_does_not_exist() {
    let Some(bundle) = Bundle::new() else { return };
    let rows: [(&[&str], i32); 9] = [
        (&["state"], 1),
        (&["start"], 1),
        (&["kill"], 1),
        (&["delete"], 1),
        (&["pause"], 1),
        (&["resume"], 1),
        (&["ps"], 1),
        (&["events", "--stats"], 1),
        (&["exec"], 255),
    ];
    for (words, code) in rows {
        let more: &[&str] = if words[0] == "exec" { &["true"] } else { &[] };
        let answer = bundle.tare(&[words, &[&bundle.id], more].concat());
        answer.fails(code, "container does not exist");
    }
}

#[test]
fn a_state_directory_that_holds_no_record_is_no_container() {
    let Some(bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.state_root().join(&bundle.id)).unwrap();
    bundle.tare(&["state", &bundle.id]).fails(1, "container does not exist");
    bundle.delete().fails(1, "container does not exist");
    assert!(!bundle.state_root().join(&bundle.id).exists(), "the id is not free");
    bundle.create().ok();
}

#[test]
fn a_record_that_cannot_be_read_is_told_by_its_path_and_force_frees_the_id() {
    let Some(bundle) = Bundle::new() else { return };
    for broken in ["", "{", "[]", "{\"version\":1}", "{\"version\":999}", "\u{0}"] {
        let directory = bundle.state_root().join(&bundle.id);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("state.json"), broken).unwrap();
        let path = directory.join("state.json");
        bundle.tare(&["state", &bundle.id]).fails(1, path.to_str().unwrap());
        assert_eq!(bundle.tare(&["list", "-f", "json"]).ok().stdout, "null\n");
        bundle.delete_force().ok();
        bundle.leaves_nothing();
    }
}

#[test]
fn the_state_directory_is_private_and_its_record_too() {
    let Some(bundle) = Bundle::new() else { return };
    fs::remove_dir(bundle.state_root()).unwrap();
    bundle.tare_by("umask 000; exec \"$@\"", &["create", &bundle.id]).ok();
    let mode = |path: &std::path::Path| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o7777
    };
    let root = bundle.state_root();
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join(&bundle.id)), 0o711);
    for entry in fs::read_dir(root.join(&bundle.id)).unwrap().flatten() {
        // A link has no mode of its own: it names the boot.
        if !entry.file_type().unwrap().is_symlink() {
            assert_eq!(mode(&entry.path()) & 0o022, 0, "{}", entry.path().display());
        }
    }
    let record: Value =
        serde_json::from_slice(&fs::read(root.join(&bundle.id).join("state.json")).unwrap()).unwrap();
    assert_eq!(record["id"], *bundle.id);
}

/// /proc shows other start times there.
#[test]
fn a_caller_whose_clock_is_another_finds_the_container_alive() {
    let (Some(_), Some(mut bundle)) = (program("unshare"), Bundle::new()) else { return };
    bundle.up();
    for offset in ["100000", "-3"] {
        let script = format!("exec unshare --time --boottime {offset} --fork \"$@\"");
        let answer = bundle.tare_by(&script, &["state", &bundle.id]);
        if answer.stderr.contains("unshare failed") {
            return skip("needs time namespaces");
        }
        assert_eq!(answer.ok().json()["status"], "running");
        bundle.tare_by(&script, &["exec", &bundle.id, "true"]).ok();
    }
}

/// The offset of that clock is needed then, and what cannot be read is not 0: the container would seem to have ended.
#[test]
fn a_clock_whose_offset_cannot_be_read_ends_no_container() {
    let (Some(_), Some(_), Some(mut bundle)) = (program("unshare"), program("strace"), Bundle::new()) else {
        return;
    };
    bundle.up();
    let script = "exec unshare --time --boottime 100000 --fork strace -qq -o /dev/null \
        -P /proc/self/timens_offsets -e inject=openat:error=EMFILE \"$@\"";
    let answer = bundle.tare_by(script, &["state", &bundle.id]);
    if answer.stderr.contains("unshare failed") {
        return skip("needs time namespaces");
    }
    answer.fails(1, "read /proc/self/timens_offsets: too many open files");
}
