//! Rooms that only decide cannot reach a system call, even by mistake: they name neither the libraries that make calls,
//! nor the parts of std that do, nor rooms of ours that do. What they need of the kernel's numbers is in `kernel`.

use crate::source::{Source, sources, statements};
use crate::{heads, is_word_at, report, word};

/// The modules that decide, with all below them.
const PURE: &[&str] = &["plan", "spec", "cgroup::plan", "host::facts", "host::cgroup", "host::resctrl"];

/// Crates of which nothing may be named.
const CRATES: &[&str] = &["libc", "nix", "procfs"];

/// What may be named of a crate or room; of those that are not listed, all.
const PARTS: &[(&str, &[&str])] = &[
    ("std", &["borrow", "cell", "collections", "ffi", "fmt", "mem", "ops", "os", "path", "result", "str"]),
    ("caps", &["Capability", "all"]),
    ("seccompiler", SECCOMPILER),
    // The values of properties, not the bus.
    ("zbus", &["Array", "ObjectPath", "Variant", "wire"]),
    ("crate", &["cgroup", "container_id", "error", "fail", "host", "kernel", "plan", "spec", "weak"]),
    ("crate::cgroup", &["Manager", "Plan", "Record", "plan"]),
    ("crate::host", &["Facts", "cgroup", "resctrl"]),
];

const SECCOMPILER: &[&str] = &[
    "BackendError",
    "BpfProgram",
    "SeccompCmpArgLen",
    "SeccompCmpOp",
    "SeccompCondition",
    "SeccompRule",
    "sock_filter",
];

fn is_pure(source: &Source) -> bool {
    let module = source.module.join("::");
    PURE.iter().any(|pure| module == *pure || module.starts_with(&format!("{pure}::")))
}

#[test]
fn rooms_that_decide_cannot_reach_system_calls() {
    let sources = sources();
    let pure: Vec<_> = sources.iter().filter(|source| is_pure(source)).collect();
    for room in PURE {
        assert!(pure.iter().any(|source| source.module.join("::").starts_with(room)), "no {room}");
    }
    let mut faults = Vec::new();
    for source in pure {
        for (number, statement) in statements(source.without_tests()) {
            let found = forbidden(&statement);
            faults.extend(found.iter().map(|name| format!("{}: names {name}", source.at(number))));
        }
    }
    report(&faults);
}

/// The names in a statement that may not be there.
fn forbidden(statement: &str) -> Vec<String> {
    let is_there =
        |name: &&&str| statement.match_indices(**name).any(|(at, _)| is_word_at(statement, at, name));
    let mut found: Vec<String> = CRATES.iter().filter(is_there).map(|name| (*name).to_owned()).collect();
    for (prefix, allowed) in PARTS {
        for named in parts(statement, prefix) {
            if !allowed.contains(&named) {
                found.push(format!("{prefix}::{named}"));
            }
        }
    }
    found
}

/// What a statement names right behind `prefix::`, alone or in braces. A room of ours that was imported by its name
/// (`cgroup::Plan`) counts as well.
fn parts<'a>(statement: &'a str, prefix: &str) -> Vec<&'a str> {
    let short = prefix.strip_prefix("crate::").unwrap_or(prefix);
    let path = format!("{short}::");
    let mut parts = Vec::new();
    for (at, _) in statement.match_indices(&path).filter(|(at, _)| is_word_at(statement, *at, short)) {
        let before = &statement[..at];
        if before.ends_with("::") && !(prefix.starts_with("crate::") && before.ends_with("crate::")) {
            continue;
        }
        let rest = &statement[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(list) => parts.extend(heads(list)),
            None => parts.push(word(rest)),
        }
    }
    parts
}

#[test]
fn a_name_that_is_forbidden_is_seen_however_it_is_written() {
    for statement in [
        "use libc::c_int;",
        "let x = nix::unistd::getpid();",
        "use std::{fs::File, path::Path};",
        "use std::fs;",
        "std::process::exit(1)",
        "use std::env;",
        "use crate::sys::mount;",
        "use crate::{error::Result, sys};",
        "use crate::cgroup::Group;",
        "cgroup::live::freeze()",
        "host::probe::read_facts()",
        "caps::read(None)",
    ] {
        assert_eq!(forbidden(statement).len(), 1, "{statement}: {:?}", forbidden(statement));
    }
    for statement in [
        "use std::{path::Path, ffi::{CString, OsStr}};",
        "use crate::cgroup::plan::Permission;",
        "use crate::host::cgroup::Layout;",
        "use super::process::{self, fs};",
        "use crate::{cgroup, fail};",
        "let unix = a_nix(kernel::CLONE_NEWNS);",
    ] {
        assert_eq!(forbidden(statement), Vec::<String>::new(), "{statement}");
    }
}
