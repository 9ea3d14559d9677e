//! The order of the layers, kept by reading the sources: imports go only downwards, and files of a room do not use each other in
//! a circle; `unsafe` lives in `sys`, only `cli` writes standard output and only `log` standard error; functions and files are
//! short. A failure names file and line.
#![allow(clippy::unwrap_used)]

mod circles;
mod image_rooms;
mod pure;
mod sizes;
mod source;

use std::path::Path;

use source::{Source, code, sources, statements};

/// From the top down: what is above may name what is below.
const ORDER: &[&str] = &[
    "cli",
    "shim",
    "lifecycle",
    "launch",
    "init",
    "handshake",
    "container",
    "plan",
    "cgroup",
    "host",
    "bundle",
    "image",
    "spec",
    "inroot",
    "timeline",
    "sys",
    "kernel",
    "log",
    "container_id",
    "error",
    "errno_words",
    "weak",
];

/// Layers that may name only some of what is below them.
const ONLY: &[(&str, &[&str])] = &[
    // Decisions: no calls (see `pure`), and no log.
    ("plan", &["cgroup", "host", "spec", "container_id", "kernel", "error"]),
    ("spec", &["kernel", "error"]),
    // The child decides nothing: it walks a plan, and reports numbers instead of sentences.
    (
        "init",
        &["handshake", "plan", "inroot", "timeline", "sys", "weak", "kernel", "container_id", "errno_words"],
    ),
    // A program of its own, which starts the runtime as a process.
    ("shim", &["cgroup", "host", "inroot", "sys", "kernel", "log", "error", "errno_words"]),
    // The other program: nothing of containers.
    ("image", &["spec", "inroot", "sys", "weak", "kernel", "log", "container_id", "error"]),
    // Bare errno: context is added one layer up.
    ("inroot", &["sys", "weak", "kernel"]),
    ("sys", &["weak", "kernel"]),
    // Numbers, and no calls.
    ("kernel", &[]),
];

/// Layers that only one other may name.
const NAMED_BY: &[(&str, &str)] = &[("image", "cli")];

/// Words that only one layer may use.
const RESERVED: &[(&str, &str)] = &[
    ("unsafe", "sys"),
    ("println!", "cli"),
    ("print!", "cli"),
    ("stdout()", "cli"),
    ("eprintln!", "log"),
    ("eprint!", "log"),
    ("stderr()", "log"),
    ("dbg!", "nobody"),
];

/// The layers that a line names: behind `crate::`, alone or in braces.
fn named(line: &str) -> Vec<&'static str> {
    let mut named = Vec::new();
    for (at, path) in line.match_indices("crate::").map(|(at, path)| (at + path.len(), path)) {
        debug_assert_eq!(path, "crate::");
        let rest = &line[at..];
        let names = match rest.strip_prefix('{') {
            Some(list) => heads(list),
            None => vec![word(rest)],
        };
        named.extend(ORDER.iter().filter(|layer| names.contains(layer)));
    }
    named
}

/// The first words of `a::{b, c}, d}`: a and d.
fn heads(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut heads = vec![word(list.trim_start())];
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn rank(layer: &str) -> Option<usize> {
    ORDER.iter().position(|other| *other == layer)
}

/// What is wrong with a file of `layer` naming `other`.
fn fault(layer: &str, other: &str) -> Option<String> {
    if layer == other {
        return None;
    }
    if let Some((_, only)) = NAMED_BY.iter().find(|(named, _)| *named == other)
        && *only != layer
    {
        return Some(format!("{layer} names {other}, which only {only} may"));
    }
    if let Some((_, allowed)) = ONLY.iter().find(|(restricted, _)| *restricted == layer) {
        return (!allowed.contains(&other))
            .then(|| format!("{layer} names {other}, and may name only {allowed:?}"));
    }
    (rank(other) < rank(layer)).then(|| format!("{layer} names {other}, which is above it"))
}

fn is_word_at(line: &str, at: usize, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let goes_on = word.ends_with(part) && line[at + word.len()..].starts_with(part);
    !goes_on && !line[..at].ends_with(part)
}

/// Fails with all faults, a line each.
#[track_caller]
pub(crate) fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn imports_go_only_downwards() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| rank(source.layer()).is_some()) {
        for (number, statement) in statements(&source.code) {
            for fault in named(&statement).iter().filter_map(|other| fault(source.layer(), other)) {
                faults.push(format!("{}:{number}: {fault}", source.path.display()));
            }
        }
    }
    report(&faults);
}

#[test]
fn unsafe_code_and_the_standard_streams_have_one_layer_each() {
    let mut faults = Vec::new();
    for source in sources() {
        for (number, line) in source.code.iter().enumerate() {
            for (word, owner) in RESERVED.iter().filter(|(_, owner)| *owner != source.layer()) {
                if line.match_indices(word).any(|(at, _)| is_word_at(line, at, word)) {
                    let path = source.path.display();
                    faults.push(format!("{path}:{}: {word} is for {owner}", number + 1));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent = |source: &Source| {
        let text = std::fs::read_to_string(&source.path).unwrap();
        (!text.starts_with("//! ")).then(|| format!("{}:1: does not open with //!", source.path.display()))
    };
    report(&sources().iter().filter_map(silent).collect::<Vec<_>>());
}

/// The layer that a line of lib.rs declares.
fn layer_declared(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub(crate) mod ").or_else(|| line.strip_prefix("pub mod "));
    rest?.strip_suffix(';').filter(|name| *name != "testing")
}

#[test]
fn every_layer_exists_and_is_in_the_order_of_lib_rs() {
    let library = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules: Vec<&str> = library.lines().filter_map(layer_declared).collect();
    assert_eq!(modules, ORDER);
}

#[test]
fn this_test_sees_what_it_should() {
    let text = r##"
use crate::log; // use crate::cli
/* crate::cli */ let a = "crate::cli \" unsafe"; let b = r#"crate::cli "x" "#; let c = '"'; let d = '\'';
use crate::{
    plan::{Plan, cli},
    sys,
};
fn f<'a>(x: &'a str) { unsafe { crate::error::g(x) } }
"##;
    let code = code(text);
    let found: Vec<(usize, &str)> =
        statements(&code).iter().flat_map(|(n, s)| named(s).into_iter().map(|l| (*n, l))).collect();
    assert_eq!(found, [(2, "log"), (4, "plan"), (4, "sys"), (8, "error")]);
    let lines: Vec<usize> = (0..code.len()).filter(|n| code[*n].contains("unsafe")).collect();
    assert_eq!(lines, [7]);

    assert!(fault("sys", "error").is_some() && fault("plan", "launch").is_some());
    assert!(fault("lifecycle", "image").is_some() && fault("init", "spec").is_some());
    assert!(
        fault("cli", "image").is_none() && fault("plan", "error").is_none() && fault("init", "sys").is_none()
    );
    assert!(is_word_at("x.stdout()", 2, "stdout()") && !is_word_at("eprint!", 1, "print!"));
    assert!(!is_word_at("unsafe_code", 0, "unsafe") && is_word_at("unsafe {", 0, "unsafe"));
}

/// The texts that engines look for stand in one table: each is said somewhere, and none is written a second time.
#[test]
fn texts_that_are_matched_are_said_and_stand_in_one_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/error/matched.rs");
    let table = std::fs::read_to_string(&path).unwrap();
    let table = table.split("#[cfg(test)]").next().unwrap();
    let others: String = sources()
        .iter()
        .filter(|source| source.path != path)
        .map(|source| std::fs::read_to_string(&source.path).unwrap())
        .map(|text| text.split("#[cfg(test)]").next().unwrap().to_owned())
        .collect();
    let mut said = 0;
    for line in table.lines() {
        let rest = line
            .strip_prefix("pub(crate) ")
            .and_then(|rest| rest.strip_prefix("const ").or_else(|| rest.strip_prefix("fn ")));
        let Some(name) = rest.and_then(|rest| rest.split([':', '(']).next()) else { continue };
        assert!(others.contains(name), "nobody says matched::{name}");
        said += 1;
    }
    for text in table.split("&str =").skip(1).filter_map(|rest| rest.split('"').nth(1)) {
        assert!(!others.contains(&format!("\"{text}\"")), "written a second time: {text:?}");
    }
    assert!(said > 30, "{said}");
}
