//! The failures of docs/errors.md, each provoked: `integration/errors/errors` says what is done and what tare must say of it.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::process::Command;

#[test]
fn each_failure_of_the_page_is_told_as_it_says() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("needs root");
    }
    let Some(python) = support::program("python3") else { return };
    let done = Command::new(python)
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/integration/errors/errors"), "--check"])
        .env("TARE", env!("CARGO_BIN_EXE_tare"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
