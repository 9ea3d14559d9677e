//! A few points of the long sweeps (`make soak`), which first see that each verb does what it
//! should when nothing happens to it.

use std::path::Path;
use std::process::Command;

use crate::support;

/// Runs a sweep of integration/security; each of its points must pass.
#[track_caller]
fn holds(sweep: &str, program: &str, words: &[&str]) {
    if let Some(missing) =
        ["python3", "gcc", "busybox"].into_iter().find(|name| support::find_program(name).is_none())
    {
        return support::skip(&format!("needs {missing}"));
    }
    let binary = Path::new(&support::runtime()).with_file_name(program);
    let output = Command::new(format!("{}/integration/security/{sweep}", env!("CARGO_MANIFEST_DIR")))
        .arg(format!("--{program}"))
        .arg(binary)
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(" passed, 0 failed"), "{said}{errors}");
}

#[test]
fn a_killed_verb_leaves_what_one_delete_removes() {
    holds("kills", "tare", &["--verb", "create", "--verb", "exec", "--verb", "delete", "--points", "12"]);
}

#[test]
fn a_killed_verb_of_an_image_leaves_what_the_next_one_removes() {
    holds("kills", "tare-image", &["--verb", "unpack-overlay", "--verb", "pull-layout", "--points", "6"]);
}

/// Both sides would wait for each other.
#[test]
fn an_answer_that_cannot_be_sent_is_an_error() {
    holds(
        "injection",
        "tare",
        &["--verb", "exec", "--call", "sendto", "--errno", "EPERM", "--errno", "ENOMEM"],
    );
}

/// By runc and crun, where it is not the same or has no row in docs/compatibility.md.
#[test]
fn what_a_process_sees_of_itself_is_what_it_sees_elsewhere() {
    if ["runc", "crun"].into_iter().all(|name| support::program(name).is_some()) {
        holds("audit", "tare", &[]);
    }
}
