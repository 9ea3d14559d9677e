//! `list`: the shapes that engines read.

use std::fs::{self, File};
use std::io::Read;

use nix::pty::{Winsize, openpty};

use crate::support::Bundle;

#[test]
fn none_is_null_an_empty_table_and_nothing() {
    let Some(bundle) = Bundle::new() else { return };
    assert_eq!(bundle.tare(&["list", "--format", "json"]).ok().stdout, "null\n");
    assert_eq!(bundle.tare(&["list", "-q"]).ok().stdout, "");
    let table = bundle.tare(&["list"]).ok();
    assert_eq!(table.stdout, "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
}

#[test]
fn each_container_is_listed_with_its_state() {
    let Some(mut bundle) = Bundle::new() else { return };
    let other = format!("{}-b", bundle.id);
    bundle.up();
    bundle.tare(&["create", &other]).ok();
    assert_eq!(bundle.tare(&["list", "-q"]).ok().stdout, format!("{}\n{other}\n", bundle.id));
    let json = bundle.tare(&["list", "-f", "json"]).ok();
    assert_eq!(json.lines().len(), 1);
    let json = json.json();
    assert_eq!(json[0]["id"], *bundle.id);
    assert_eq!((&json[0]["status"], &json[1]["status"]), (&"running".into(), &"created".into()));
    assert_eq!(json[0]["owner"], "root");
    let mut state = bundle.state();
    state["owner"] = "root".into();
    assert_eq!(json[0], state);
    let table = bundle.tare(&["list"]).ok();
    let words: Vec<Vec<&str>> = table.lines().iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let pid = bundle.pid();
    assert_eq!(words[1][..4], [&*bundle.id, &*pid, "running", bundle.dir.to_str().unwrap()]);
    assert_eq!(words[2][2], "created");
}

#[test]
fn one_that_cannot_be_read_is_told_and_the_others_are_listed() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    let broken = bundle.state_root().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("state.json"), "{").unwrap();
    let answer = bundle.tare(&["list", "-q"]).ok();
    assert_eq!(answer.stdout, format!("{}\n", bundle.id));
    assert!(answer.stderr.contains("broken"), "{answer:?}");
    fs::remove_dir_all(broken).unwrap();
}

#[test]
fn a_root_that_was_named_must_exist() {
    let Some(bundle) = Bundle::new() else { return };
    fs::remove_dir(bundle.state_root()).unwrap();
    bundle.tare(&["list"]).fails(1, bundle.state_root().to_str().unwrap());
}

#[test]
fn an_unknown_format_is_refused() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.tare(&["list", "-f", "foo"]).fails(1, "invalid format option");
    bundle.create().ok();
    bundle.tare(&["ps", "-f", "foo", &bundle.id]).fails(1, "invalid format option");
}

#[test]
fn nothing_that_a_record_says_commands_the_terminal() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    let path = bundle.state_root().join(&bundle.id).join("state.json");
    let kept = fs::read_to_string(&path).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&kept).unwrap();
    record["bundle"] = "/b\u{1b}[2J\u{9b}\u{202e}\nfake  1  running".into();
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    let table = bundle.tare(&["list"]).ok();
    assert!(table.stdout.contains("/b\\u001b[2J\\u009b\\u202e\\u000afake"), "{table:?}");
    assert_eq!(table.lines().len(), 2, "{table:?}");
    for verb in [&["list", "-f", "json"][..], &["state", &bundle.id]] {
        let answer = bundle.tare(verb).ok();
        assert!(!answer.stdout.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{answer:?}");
        assert!(answer.json().to_string().contains('\u{9b}'), "{answer:?}");
    }
    fs::write(&path, kept).unwrap();
}

/// What `tare` prints on a terminal of so many columns.
fn on_a_terminal(bundle: &Bundle, args: &[&str], columns: u16) -> String {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    // Until the process has ended, and `command` with its descriptor.
    let status = bundle.command(args).stdout(terminal.slave).status().unwrap();
    assert!(status.success(), "{args:?}");
    let mut text = Vec::new();
    // It ends with EIO: nobody has the other end.
    let _ = File::from(terminal.master).read_to_end(&mut text);
    String::from_utf8(text).unwrap().replace("\r\n", "\n")
}

#[test]
fn a_terminal_gets_a_table_that_fits_and_a_last_newline() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let long = format!("{}-{}", bundle.id, "x".repeat(80));
    bundle.tare(&["create", &long]).ok();
    let table = on_a_terminal(&bundle, &["list"], 90);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 90), "{table}");
    let rows: Vec<&str> = table.lines().skip(1).collect();
    assert!(rows.iter().all(|row| row.contains(" second") || row.contains(" minute")), "{table}");
    assert!(rows[1].contains('…') && rows[1].contains("xxx  "), "{table}");
    // Elsewhere, nothing is shortened.
    assert!(bundle.tare(&["list"]).ok().stdout.contains(&long));
    assert!(on_a_terminal(&bundle, &["list", "-q"], 20).contains(&long));
    let state = bundle.tare(&["state", &long]).ok().stdout;
    assert!(state.ends_with('}'), "{state}");
    assert_eq!(on_a_terminal(&bundle, &["state", &long], 80), state + "\n");
    bundle.tare(&["delete", "--force", &long]).ok();
}
