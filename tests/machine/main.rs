//! What takes a machine of one's own: a system manager, every controller of cgroup v2, all privileges, AppArmor, engines as
//! their packages set them up. `integration/guest/test` runs it in an emulated machine; anywhere else it is skipped, since
//! it starts services and changes their configuration.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod docker;
mod memory;
mod podman;
mod privileges;
mod systemd;

use std::process::{Command, Stdio};

/// Whether this is the emulated machine.
fn ours() -> bool {
    let ours = std::env::var_os("TARE_TEST_GUEST").is_some();
    if !ours {
        support::skip("needs a machine of its own (make test-guest)");
    }
    ours
}

/// Runs a line of shell, where `$TARE` is the runtime, and gives what it printed; it must succeed.
#[track_caller]
fn sh(line: &str) -> String {
    let (ok, said) = attempt(line);
    assert!(ok, "{line}: {said}");
    said
}

/// Whether a line of shell succeeded, and what it printed on both streams.
fn attempt(line: &str) -> (bool, String) {
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", line]).env("TARE", support::runtime()).stdin(Stdio::null());
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    // For who reads the stream of `make test-guest`: what was done there, and what came of it.
    eprintln!("$ {line}\n{}", said.trim());
    (done.status.success(), said.trim().to_owned())
}

/// Each of these lines is in the text.
#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|one| one.trim() == *line), "no line {line:?} in: {text}");
    }
}
