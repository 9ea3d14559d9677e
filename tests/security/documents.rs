//! Files that a caller names and somebody else has made: none is read without end or waited for, and what cannot be
//! written leaves nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use crate::support::{Bundle, busybox, skip};

/// Enough for a document of the largest size, and for nothing without end.
const LITTLE_MEMORY: &str = "ulimit -v 2000000; exec \"$@\"";

#[test]
fn without_an_end_are_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]).create().ok();
    bundle.start().ok();
    for words in [
        &["update", "--resources", "/dev/zero", &bundle.id][..],
        &["mounts", "add", &bundle.id, "/dev/zero"],
        &["exec", "--process", "/dev/zero", &bundle.id],
    ] {
        let answer = bundle.tare_by(LITTLE_MEMORY, words);
        assert!(answer.code != 0 && answer.told().contains("larger than 16 MiB"), "{words:?}: {answer:?}");
    }
    let piped = bundle.tare_by("exec \"$@\" </dev/zero", &["update", "--resources", "-", &bundle.id]);
    piped.fails(1, "standard input: larger than 16 MiB");
}

#[test]
fn a_pid_file_that_cannot_take_its_name_leaves_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    fs::create_dir(bundle.path("pid")).unwrap();
    bundle.tare(&["run", "--detach", "--pid-file", "pid", &bundle.id]).fails(1, "write pid file pid");
    assert!(fs::symlink_metadata(bundle.path(".pid")).is_err(), "a file is left");
    bundle.leaves_nothing();
}

#[test]
fn a_fifo_for_the_output_of_hooks_that_nobody_reads_holds_no_delete() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    let fifo = bundle.path("fifo");
    mkfifo(fifo.as_str(), Mode::S_IRWXU).unwrap();
    bundle.patch(|config| {
        config["annotations"] = json!({"run.oci.hooks.stdout": fifo});
        config["hooks"] = json!({"poststop": [{"path": "/bin/true"}]});
    });
    bundle.create().ok();
    let answer = bundle.delete_force();
    assert!(answer.told().contains("for the output of hooks: no such device"), "{answer:?}");
    bundle.leaves_nothing();
}

fn restore(bundle: &Bundle) -> crate::support::Answer {
    bundle.tare_by(LITTLE_MEMORY, &["restore", "--image-path", "images", &bundle.id])
}

#[test]
fn of_a_checkpoint_are_no_links_and_pipes() {
    let Some(bundle) = Bundle::new() else { return };
    fs::write(bundle.path("canary"), "untouched").unwrap();
    fs::create_dir(bundle.path("images")).unwrap();
    for name in ["descriptors.json", "restore.log", "stats-restore", "core-1.img"] {
        let path = bundle.path(&format!("images/{name}"));
        symlink(bundle.path("canary"), &path).unwrap();
        restore(&bundle).fails(1, &format!("images/{name}: is a symlink"));
        fs::remove_file(&path).unwrap();
        mkfifo(path.as_str(), Mode::S_IRWXU).unwrap();
        restore(&bundle).fails(1, &format!("images/{name}: is a fifo"));
        fs::remove_file(&path).unwrap();
        bundle.leaves_nothing();
    }
    assert_eq!(bundle.read("canary"), "untouched");
}

/// Podman has CRIU work in the container's own directory, where conmon has its pipes: they are nothing of CRIU's.
#[test]
fn what_crius_directory_has_besides_is_not_its_business() {
    let Some(bundle) = Bundle::new() else { return };
    for name in ["images", "work"] {
        fs::create_dir(bundle.path(name)).unwrap();
    }
    let restore = || {
        let words = ["restore", "--image-path", "images", "--work-path", "work", &bundle.id];
        bundle.tare_by(LITTLE_MEMORY, &words)
    };
    for name in ["winsz", "ctl"] {
        mkfifo(bundle.path(&format!("work/{name}")).as_str(), Mode::S_IRWXU).unwrap();
    }
    symlink(bundle.path("canary"), bundle.path("work/attach")).unwrap();
    let answer = restore();
    assert!(!answer.told().contains("no checkpoint has"), "{answer:?}");
    symlink(bundle.path("canary"), bundle.path("work/stats-restore")).unwrap();
    restore().fails(1, "work/stats-restore: is a symlink");
}

/// A program in CRIU's place that keeps its request, and fails.
#[test]
fn of_a_checkpoint_name_no_descriptors_of_ours() {
    let Some(bundle) = Bundle::new() else { return };
    let Some(busybox) = busybox() else { return skip("needs busybox") };
    let criu = format!("#!{} sh\nexec dd bs=65536 count=1 <&$2 >request 2>/dev/null\n", busybox.display());
    fs::create_dir(bundle.path("bin")).unwrap();
    fs::write(bundle.path("bin/criu"), criu).unwrap();
    fs::set_permissions(bundle.path("bin/criu"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(bundle.path("images")).unwrap();
    // CRIU would write to it whatever other name it has.
    fs::write(bundle.path("canary"), "untouched").unwrap();
    fs::hard_link(bundle.path("canary"), bundle.path("images/restore.log")).unwrap();
    let names: Vec<String> = (0..9).map(|number| format!("pipe:[{number}]")).collect();
    fs::write(bundle.path("images/descriptors.json"), serde_json::to_string(&names).unwrap()).unwrap();
    let by = "PATH=$PWD/bin:$PATH exec \"$@\"";
    let answer = bundle.tare_by(by, &["restore", "--image-path", "images", &bundle.id]);
    answer.fails(1, "criu ended without an answer");
    let request = String::from_utf8_lossy(&fs::read(bundle.path("request")).unwrap()).into_owned();
    let given: Vec<&String> = names.iter().filter(|name| request.contains(name.as_str())).collect();
    assert_eq!(given, ["pipe:[0]", "pipe:[1]", "pipe:[2]"]);
    assert!(fs::symlink_metadata(bundle.path("images/restore.log")).is_err());
    bundle.leaves_nothing();
}

#[test]
fn of_very_many_members_do_not_keep_us_for_hours() {
    let Some(mut bundle) = Bundle::new() else { return };
    let paths: Vec<String> = (0..60_000).map(|number| format!("/{number}")).collect();
    bundle.args(&["true"]).patch(|config| config["linux"]["maskedPaths"] = json!(paths));
    bundle.run().ok();
    let words: Vec<String> = (0..25_000).map(|number| format!("o{number}=1")).collect();
    bundle.mount(json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": words}));
    bundle.tare(&["check"]).fails(1, "");
}
