//! Container ids that would be something else as a path: refused by every verb before it touches the disk.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::support::{Bundle, run::wait_for};

const VERBS: [&[&str]; 16] = [
    &["create"],
    &["run"],
    &["run", "-d"],
    &["start"],
    &["state"],
    &["kill"],
    &["kill", "--all"],
    &["delete"],
    &["delete", "--force"],
    &["pause"],
    &["resume"],
    &["ps"],
    &["events", "--stats"],
    &["update", "--pids-limit", "1"],
    &["exec"],
    &["mounts", "add"],
];

fn ids() -> Vec<OsString> {
    let texts = [
        "",
        ".",
        "..",
        "../victim",
        "../../victim",
        "a/b",
        "/",
        "/etc",
        "a/",
        "./a",
        " ",
        "a b",
        "a\n",
        "a\t",
        "é",
        "%2e",
        "%2e%2e%2f",
        "a*",
        "a?",
        "$HOME",
        "a;b",
        "a\\b",
        "~",
        "a:b",
        "ａ",
        "．．",
        "\u{202e}a",
    ];
    let long = [300, 5000].map(|length| "x".repeat(length));
    let odd = [vec![0xff, 0xfe], b"a\xffb".to_vec(), vec![0xc0, 0xae, 0xc0, 0xae]];
    let texts = texts.iter().map(OsString::from).chain(long.into_iter().map(OsString::from));
    texts.chain(odd.into_iter().map(OsString::from_vec)).collect()
}

/// Every path below, with its content.
fn content(directory: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        all.insert(format!("{} {}", entry.path().display(), bytes.len()));
        if entry.file_type().unwrap().is_dir() {
            all.append(&mut content(&entry.path()));
        }
    }
    all
}

#[test]
fn are_refused_by_every_verb() {
    let Some(bundle) = Bundle::new() else { return };
    // Deep, so that a step up meets something that can be missed, and nothing of the host.
    let deep = bundle.dir.join("deep/a/b/c/d");
    let root = deep.join("state");
    for place in [deep.join("victim"), deep.parent().unwrap().join("victim")] {
        fs::create_dir_all(&place).unwrap();
        fs::copy(bundle.dir.join("config.json"), place.join("state.json")).unwrap();
    }
    fs::create_dir(&root).unwrap();
    let before = content(&bundle.dir.join("deep"));
    for verb in VERBS {
        for id in ids() {
            let mut call = std::process::Command::new(&bundle.program);
            call.arg("--root").arg(&root).args(verb).arg("--").arg(&id);
            if verb[0] == "exec" || verb[0] == "mounts" {
                call.arg("true");
            }
            let answer = wait_for(call.current_dir(&bundle.dir).stdin(std::process::Stdio::null()));
            let code = if verb[0] == "exec" { 255 } else { 1 };
            let told = answer.told();
            let words = ["container id cannot be empty", "invalid container ID format", "not valid UTF-8"];
            assert!(
                answer.code == code && words.iter().any(|words| told.contains(words)),
                "{verb:?} {id:?}: {answer:?}"
            );
            assert!(told.lines().count() == 1 && told.len() < 400, "{verb:?} {id:?}: {told}");
        }
        assert_eq!(content(&bundle.dir.join("deep")), before, "{verb:?}");
    }
    bundle.leaves_nothing();
}

#[test]
fn that_look_like_flags_are_ids_behind_two_dashes() {
    let Some(bundle) = Bundle::new() else { return };
    let id = format!("-{}", bundle.id);
    bundle.tare(&["create", "--", &id]).ok();
    assert_eq!(bundle.tare(&["state", "--", &id]).ok().json()["status"], "created");
    bundle.tare(&["delete", "--force", "--", &id]).ok();
    bundle.leaves_nothing();
}

#[test]
fn of_every_allowed_character_work() {
    let Some(bundle) = Bundle::new() else { return };
    let id = format!("{}_A+z.0-9...", bundle.id);
    bundle.tare(&["run", &id]).ok();
    let longest = format!("{}{}", bundle.id, "x".repeat(255 - bundle.id.len()));
    bundle.tare(&["run", &longest]).ok();
    bundle.leaves_nothing();
}
