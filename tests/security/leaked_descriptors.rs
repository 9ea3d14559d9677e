//! CVE-2024-21626: a directory of the host that is open in the runtime is a way out, if the working directory or the
//! program leads through it.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::{Answer, Bundle};

/// The caller leaves directories of the host open where the runtime's own descriptors will be.
const LEAK: &str = "for fd in {3..40}; do eval \"exec $fd</\"; done; exec \"$@\"";

/// What the host's root has and the container's has not.
const HOST: &str = "tare-test";

#[track_caller]
fn stayed_inside(what: &str, answer: &Answer) {
    assert_ne!(answer.code, 0, "{what}: {answer:?}");
    assert!(!answer.stdout.contains(HOST), "{what}: {answer:?}");
}

#[test]
fn a_working_directory_does_not_lead_through_one() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("ls -d tmp/tare-test* ../tmp/tare-test* ../../tmp/tare-test*; ls -d tmp/tare-test*");
    for number in 3..40 {
        let cwd = format!("/proc/self/fd/{number}");
        bundle.patch(|config| config["process"]["cwd"] = json!(cwd));
        stayed_inside(&cwd, &bundle.tare_by(LEAK, &["run", &bundle.id]));
    }
    for number in [3, 7, 9] {
        let cwd = format!("/proc/self/fd/{number}/tmp");
        bundle.patch(|config| config["process"]["cwd"] = json!(cwd));
        stayed_inside(&cwd, &bundle.tare_by(LEAK, &["run", &bundle.id]));
        // The same behind a link of the image.
        let _ = fs::remove_file(bundle.rootfs().join("link"));
        symlink(&cwd, bundle.rootfs().join("link")).unwrap();
        bundle.patch(|config| config["process"]["cwd"] = json!("/link"));
        stayed_inside("/link", &bundle.tare_by(LEAK, &["run", &bundle.id]));
    }
    bundle.leaves_nothing();
}

#[test]
fn not_even_where_it_is_passed_on_purpose() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["ls"]).patch(|config| config["process"]["cwd"] = json!("/proc/self/fd/3"));
    let answer = bundle.tare_by(LEAK, &["run", "--preserve-fds", "1", &bundle.id]);
    stayed_inside("run", &answer);
    assert!(answer.stderr.contains("outside of container mount namespace root"), "{answer:?}");
    bundle.leaves_nothing();
}

#[test]
fn a_working_directory_of_exec_does_not_lead_through_one() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let words = ["exec", "--cwd", &cwd, &*bundle.id, "ls", "tmp", "../tmp"];
        stayed_inside(&cwd, &bundle.tare_by(LEAK, &words));
    }
    let words = ["exec", "--preserve-fds", "1", "--cwd", "/proc/self/fd/3", &*bundle.id, "ls"];
    stayed_inside("exec", &bundle.tare_by(LEAK, &words));
}

#[test]
fn a_program_is_not_found_through_one() {
    let Some(mut bundle) = Bundle::new() else { return };
    for number in 3..20 {
        // One that needs no library.
        let program = format!("/proc/self/fd/{number}/bin/busybox");
        bundle.args(&[&program, "ls", "/tmp"]);
        stayed_inside(&program, &bundle.tare_by(LEAK, &["run", &bundle.id]));
        bundle.args(&["ls", "/tmp"]);
        let path = format!("PATH=/proc/self/fd/{number}/usr/local/bin:/proc/self/fd/{number}/usr/bin");
        bundle.patch(|config| config["process"]["env"] = json!([path]));
        stayed_inside(&path, &bundle.tare_by(LEAK, &["run", &bundle.id]));
    }
    bundle.leaves_nothing();
}

#[test]
fn a_mount_does_not_lead_through_one() {
    let Some(mut bundle) = Bundle::new() else { return };
    symlink("/proc/self/fd/5", bundle.rootfs().join("link")).unwrap();
    bundle.writable().args(&["true"]);
    let place = format!("/link/tmp/{}-mounted", bundle.id);
    bundle.mount(json!({"destination": place, "type": "tmpfs", "source": "tmpfs"}));
    bundle.tare_by(LEAK, &["run", &bundle.id]);
    let outside = format!("/tmp/{}-mounted", bundle.id);
    // Not left behind where it is there after all.
    assert!(fs::remove_dir(&outside).is_err(), "made outside: {outside}");
    bundle.leaves_nothing();
}

/// The caller leaves 3, 4 and 7 open.
const GAPS: &str = "exec 3</etc 4</etc 7</etc; exec \"$@\"";

/// What the program has open beyond its streams, but for the directory that is listed.
const LIST: &str = "cd /proc/self/fd && for fd in *; do [ $fd -gt 2 ] && readlink $fd; done; true";

#[test]
fn the_program_gets_none_of_ours_by_a_count_beyond_its_callers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let canary = bundle.dir.join("canary");
    fs::write(&canary, "of the host").unwrap();
    for count in ["3", "5", "60", "4294967295"] {
        let words = ["exec", "--preserve-fds", count, &*bundle.id, "sh", "-c", LIST];
        for script in ["exec \"$@\"", GAPS] {
            let answer = bundle.tare_by(script, &words);
            answer.fails(255, "unable to stat preserved-fd");
        }
    }
    let words = ["exec", "--preserve-fds", "2", &*bundle.id, "sh", "-c", LIST];
    assert_eq!(bundle.tare_by(GAPS, &words).ok().lines()[..2], ["/etc", "/etc"]);
    bundle.delete_force().ok();
    bundle.args(&["sh", "-c", LIST]);
    for count in ["3", "60", "4294967295"] {
        let run = ["run", "--preserve-fds", count, &*bundle.id];
        bundle.tare_by(GAPS, &run).fails(1, "unable to stat preserved-fd");
        let sockets = format!("export LISTEN_PID=$$ LISTEN_FDS={count}; {GAPS}");
        bundle.tare_by(&sockets, &["run", &bundle.id]).fails(1, "descriptor 5 is not open");
        bundle.tare_by(&sockets, &["create", &bundle.id]).fails(1, "descriptor 5 is not open");
        let both = format!("export LISTEN_PID=$$ LISTEN_FDS=2; {GAPS}");
        bundle.tare_by(&both, &run).fails(1, "unable to stat preserved-fd 0");
    }
    bundle.leaves_nothing();
}
