//! The built program's behaviour that needs no container: streams, exit codes, the log; side by side with runc.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/skip.rs"]
mod skip;

use skip::skip;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TARE: &str = env!("CARGO_BIN_EXE_tare");

/// A directory of one test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tare-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(program: &str, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn tare(arguments: &[&str]) -> Output {
    run(TARE, Path::new("/"), arguments)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The message of the one log line on standard error. A hint for a person stands on a line of its own.
fn message(output: &Output) -> String {
    let text = err(output);
    let text = text.split_once("hint: ").map_or(&*text, |(text, _)| text);
    let line = text.strip_suffix('\n').unwrap_or(text);
    assert!(!line.contains('\n'), "more than one line: {text}");
    let message = line.split_once("level=error msg=").map_or(line, |(_, message)| message);
    message.trim_matches('"').trim_end_matches("\\n").to_owned()
}

#[test]
fn wrong_usage_has_runcs_exit_codes_streams_and_messages() {
    let runc = "/usr/sbin/runc";
    if !Path::new(runc).exists() {
        skip("needs runc");
        return;
    }
    let scratch = Scratch::new("usage");
    let lines = [
        "state",
        "state a b",
        "list x",
        "kill",
        "kill a b c",
        "delete",
        "delete a b",
        "ps",
        "exec",
        "create",
        "create a b",
        "run",
        "start",
        "start a b",
        "pause",
        "pause a b",
        "resume",
        "resume a b",
        "events",
        "events a b",
        "update",
        "update a b",
        "checkpoint",
        "checkpoint a b",
        "restore",
        "restore a b",
        "spec x",
        "features x",
        "--foo list",
        "--root",
        "--debug=x list",
        "list --foo",
        "list -foo=1",
        "kill --al nope",
        "state ---x",
        "state -=x",
        "state --=x",
        "exec -p",
        "exec -it nope a",
        "create -bundle",
        "create --pid-file",
        "exec --preserve-fds x nope a",
        "create --preserve-fds= nope",
        "delete nope --force=maybe",
        "delete --force= nope",
        "events nope --interval=abc",
        "checkpoint --status-fd x nope",
        "run --detach=2 nope",
        "restore --keep nope",
        "foo",
        "help foo",
        "--log-format=xx list",
        "list -f xml",
        "list --root /r",
        "state -v nope",
        "update --pids-limit x nope",
        "update --blkio-weight x nope",
        "exec -tty=9 nope a",
    ];
    let first_line = |output: &Output| out(output).lines().next().unwrap_or_default().to_owned();
    let seen = |program: &str, words: &[&str]| {
        let output = run(program, &scratch.0, words);
        (output.status.code(), message(&output).replace(program, "X"), first_line(&output))
    };
    let differs = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (theirs, ours) = (seen(runc, &words), seen(TARE, &words));
        (theirs != ours).then(|| format!("{line}\n  runc: {theirs:?}\n  tare: {ours:?}"))
    };
    let differences: Vec<String> = lines.iter().filter_map(differs).collect();
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}

#[test]
fn help_of_every_verb_begins_with_its_name_and_succeeds() {
    let verbs = tare::cli::command_table::VERBS.iter().map(|verb| verb.name);
    for verb in verbs {
        for arguments in [[verb, "--help"], ["help", verb]] {
            let output = tare(&arguments);
            assert!(output.status.success(), "{arguments:?}");
            let text = out(&output);
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("NAME:"), "{arguments:?}");
            let name = lines.next().unwrap();
            assert!(name.trim_start().starts_with(&format!("tare {verb} - ")), "{name}");
        }
    }
}

#[test]
fn the_version_is_in_the_lines_that_dockerd_and_containerd_read() {
    let text = out(&tare(&["--version"]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("tare version "), "{text}");
    assert_eq!(lines[0].split("version").last().unwrap().trim(), env!("CARGO_PKG_VERSION"));
    assert!(lines.contains(&"spec: 1.3.0"), "{text}");
}

#[test]
fn features_needs_no_root_directory_and_is_indented_by_four() {
    let output = tare(&["--root", "/nonexistent/root", "features"]);
    assert!(output.status.success());
    let text = out(&output);
    assert!(
        text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n    \"ociVersionMax\": \"1.3.0\","),
        "{text}"
    );
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}

#[test]
fn a_json_log_gets_one_object_and_standard_error_the_plain_message() {
    let scratch = Scratch::new("log");
    let log = scratch.file("log.json");
    let output = tare(&["--log", &log, "--log-format", "json", "list", "-f", "xml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(err(&output), "invalid format option\n");
    let text = std::fs::read_to_string(&log).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&record["level"], &record["msg"]), (&"error".into(), &"invalid format option".into()));
    let time = record["time"].as_str().unwrap();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z");
}

#[test]
fn log_files_are_appended_to() {
    let scratch = Scratch::new("append");
    let log = scratch.file("log");
    for _ in 0..2 {
        tare(&["--log", &log, "state"]);
    }
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.lines().all(|line| line.starts_with("time=\"") && line.contains("level=error msg=")),
        "{text}"
    );
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_that_names_it() {
    let output = tare(&["--log", "/nonexistent/log", "features"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(message(&output).contains("/nonexistent/log"), "{}", err(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_log_that_is_a_fifo_without_a_reader_is_not_waited_for() {
    let fifo = std::env::temp_dir().join(format!("tare-log-fifo-{}", std::process::id()));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut command = std::process::Command::new("timeout");
    let output = command.args(["20", TARE, "--log"]).arg(&fifo).arg("features").output().unwrap();
    std::fs::remove_file(&fifo).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(err(&output).contains("it is a fifo that nobody reads"), "{}", err(&output));
}

#[test]
fn the_root_cannot_be_the_roots_root() {
    let output = tare(&["--root", "/", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(message(&output).contains("root"), "{}", err(&output));
}

#[test]
fn exec_without_a_command_fails_with_255() {
    let output = tare(&["exec", "nope"]);
    assert_eq!(output.status.code(), Some(255));
    assert!(message(&output).starts_with("exec failed: "), "{}", err(&output));
}

#[test]
fn a_closed_standard_output_is_not_taken_by_the_log() {
    let scratch = Scratch::new("closed");
    let log = scratch.file("log");
    let line = format!("exec {TARE} --log {log} features >&-");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn a_reader_that_hangs_up_does_not_kill_but_is_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(TARE).arg("features").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message(&output).ends_with("broken pipe"), "{}", err(&output));
}

#[test]
fn the_program_is_found_by_any_name() {
    let output = Command::new(TARE).arg0("/some/runc").arg("state").output().unwrap();
    assert_eq!(message(&output), "/some/runc: \\\"state\\\" requires exactly 1 argument(s)");
}
