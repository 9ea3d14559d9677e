//! Skips: how a test says that it cannot run on this host. libtest knows no such answer: it swallows what a test prints
//! and counts it as passed, so the reason goes straight to standard error, and to the file that `TARE_SKIPS` names, from
//! which `integration/test` counts.
// Each test program is a crate of its own and uses a part of this.
#![allow(dead_code)]

use std::io::Write;
use std::panic::Location;

/// Records that the calling test cannot run here, and why; the caller returns.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    record("test", reason);
}

/// Records that a part of the calling test cannot run here; the rest of it goes on, and counts.
#[track_caller]
pub(crate) fn skip_part(reason: &str) {
    record("part", reason);
}

/// Writes one line: the test program, the test, `test` or `part`, and the reason, separated by tabs.
#[track_caller]
fn record(what: &str, reason: &str) {
    let guest = if std::env::var_os("TARE_TEST_GUEST").is_some() { "guest:" } else { "" };
    let test = test_name(Location::caller());
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("{guest}{}\t{test}\t{what}\t{reason}\n", env!("CARGO_CRATE_NAME"));
    if let Some(path) = std::env::var_os("TARE_SKIPS") {
        // One write of one line: test programs append side by side.
        let file = std::fs::File::options().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
    // Not `eprint!`, which libtest captures.
    let part = if what == "part" { " in part" } else { "" };
    let _ = std::io::stderr().write_all(format!("skipped{part}: {test}: {reason}\n").as_bytes());
}

/// libtest names a test's thread like the test. Other threads are told by where they stand in the sources.
fn test_name(caller: &Location<'_>) -> String {
    let thread = std::thread::current();
    match thread.name().filter(|name| *name != "main") {
        Some(name) => name.to_owned(),
        None => format!("{}:{}", caller.file(), caller.line()),
    }
}
