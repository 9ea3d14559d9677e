//! The command line as crun's users type it: what crun has and runc has not. Effects on containers are in
//! `lifecycle/crun.rs`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "support/skip.rs"]
mod skip;

use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Output, Stdio};

use skip::{skip, skip_part};
use tare::cli::command::{Command, GlobalFlags};
use tare::cli::command_line::{CommandLine, UsageError};
use tare::testing::cgroup::Manager;
use tare::testing::container_id::ContainerId;
use tare::testing::lifecycle::options::{Create, Delete, Exec, Kill, Run, Spec, Targets};
use tare::testing::log::Level;

const TARE: &str = env!("CARGO_BIN_EXE_tare");

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn id() -> ContainerId {
    ContainerId::parse("c").unwrap()
}

fn command(line: &str) -> Command {
    CommandLine::parse(&words(line)).command.unwrap_or_else(|fault| panic!("{line}: {fault:?}"))
}

fn globals(line: &str) -> GlobalFlags {
    CommandLine::parse(&words(line)).globals
}

fn refusal(line: &str) -> String {
    match CommandLine::parse(&words(line)).command {
        Err(UsageError::Value { error, .. }) => error.to_string(),
        Err(UsageError::Flag { message, .. } | UsageError::ArgumentCount { message, .. }) => message,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_cgroup_manager_is_the_one_that_was_named_last() {
    let rows = [
        ("list", Manager::Cgroupfs),
        ("--cgroup-manager=cgroupfs list", Manager::Cgroupfs),
        ("--cgroup-manager systemd list", Manager::Systemd),
        ("--cgroup-manager disabled list", Manager::Disabled),
        ("--systemd-cgroup --cgroup-manager=cgroupfs list", Manager::Cgroupfs),
        ("--systemd-cgroup --cgroup-manager=disabled list", Manager::Disabled),
        ("--cgroup-manager=disabled --systemd-cgroup list", Manager::Systemd),
        ("--cgroup-manager=systemd --systemd-cgroup=false list", Manager::Systemd),
    ];
    for (line, expected) in rows {
        assert_eq!(globals(line).cgroup_manager, expected, "{line}");
    }
    let refusal = refusal("--cgroup-manager=none list");
    assert_eq!(refusal, "invalid cgroup-manager: none: not cgroupfs, systemd or disabled");
}

#[test]
fn the_level_of_the_log_is_a_word() {
    let rows = [
        ("list", None),
        ("--log-level=error list", Some(Level::Error)),
        ("--log-level warning list", Some(Level::Warning)),
        ("--log-level=debug list", Some(Level::Debug)),
    ];
    for (line, expected) in rows {
        assert_eq!(globals(line).log_level, expected, "{line}");
    }
    assert_eq!(refusal("--log-level=loud list"), "invalid log-level: loud: not error, warning or debug");
}

#[test]
fn flags_of_verbs_are_read() {
    let path = |text: &str| Some(PathBuf::from(text));
    let create = Create { config: path("/c.json"), ..Create::default() };
    let targets = |regex| if regex { Targets::Matching(String::from("c")) } else { Targets::One(id()) };
    let kill = |all, regex| Command::Kill(targets(regex), Kill { signal: String::from("9"), all });
    let exec = |fill: fn(&mut Exec)| {
        let mut exec = Exec { args: vec![String::from("sh")], ..Exec::default() };
        fill(&mut exec);
        Command::Exec(id(), exec)
    };
    let rows = [
        ("create --config /c.json c", Command::Create(id(), create.clone())),
        ("create -f/c.json c", Command::Create(id(), create.clone())),
        ("run -f /c.json c", Command::Run(id(), Run { create, ..Run::default() })),
        ("kill --all c 9", kill(true, false)),
        ("kill --regex c 9", kill(false, true)),
        ("kill -ar c 9", kill(true, true)),
        ("delete --regex -f c", Command::Delete(targets(true), Delete { force: true })),
        ("delete -r c", Command::Delete(targets(true), Delete { force: false })),
        ("spec -f /s", Command::Spec(Spec { bundle: None, file: path("/s"), rootless: false })),
        ("exec -t c sh", exec(|o| o.tty = true)),
        ("exec --tty=true c sh", exec(|o| o.tty = true)),
        ("exec --tty=false c sh", exec(|_| {})),
        ("exec -u1000:5 c sh", exec(|o| o.user = Some((1000, Some(5))))),
        ("exec -eA=B -eC c sh", exec(|o| o.env = vec![String::from("A=B"), String::from("C")])),
        ("exec -cCAP_KILL c sh", exec(|o| o.caps = vec![String::from("CAP_KILL")])),
        ("-V", Command::Version),
        ("-?", Command::Help(None)),
        ("--usage", Command::Help(None)),
    ];
    for (line, expected) in rows {
        assert_eq!(command(line), expected, "{line}");
    }
    assert!(matches!(command("exec --usage"), Command::Help(Some(verb)) if verb.name == "exec"));
}

#[test]
fn what_crun_would_not_take_either_is_refused() {
    for line in ["exec -tx c sh", "exec --tt c sh", "kill -rx c", "create -x c", "exec -= c sh"] {
        assert!(
            refusal(line).starts_with("flag provided") || refusal(line).starts_with("bad flag"),
            "{line}"
        );
    }
}

/// A directory of one test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tare-crun-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(program: &mut Program) -> Output {
    program.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_log_file_may_be_said_to_be_one() {
    let scratch = Scratch::new("file");
    let log = scratch.0.join("log");
    let output = run(Program::new(TARE).arg(format!("--log=file:{}", log.display())).arg("state"));
    assert_eq!(output.status.code(), Some(1));
    assert!(std::fs::read_to_string(log).unwrap().contains("level=error"));
}

#[test]
fn without_its_daemon_a_log_is_an_error_that_names_it() {
    for (log, path) in [("journald:x", "/run/systemd/journal/socket"), ("syslog:x", "/dev/log")] {
        if Path::new(path).exists() {
            skip_part(&format!("needs a host without {path}"));
            continue;
        }
        let output = run(Program::new(TARE).args(["--log", log, "features"]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(path), "{said}");
    }
}

/// What the daemon of `log` gets of `arguments`: it listens at `path`, in a mount namespace of the call's own.
fn received(log: &str, path: &str, arguments: &str) -> Option<Vec<u8>> {
    if !nix::unistd::geteuid().is_root() {
        skip("needs root");
        return None;
    }
    let scratch = Scratch::new(&[log, arguments].concat().replace([':', ' '], "-"));
    let socket = UnixDatagram::bind(scratch.0.join("socket")).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let folder = Path::new(path).parent().unwrap().display();
    let base = if path.starts_with("/run") { "/run" } else { "/dev" };
    let script = format!(
        "mount -t tmpfs tmpfs {base} && mkdir -p {folder} && ln -s {} {path} && exec {TARE} --log {log} {arguments}",
        scratch.0.join("socket").display()
    );
    let output = run(Program::new("unshare").args(["-m", "sh", "-c", &script]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    Some(buffer[..length].to_vec())
}

#[test]
fn the_journal_is_told_in_its_own_words() {
    let Some(datagram) = received("journald:me", "/run/systemd/journal/socket", "list -f xml") else {
        return;
    };
    let mut expected = b"PRIORITY=3\nSYSLOG_IDENTIFIER=me\nMESSAGE\n".to_vec();
    expected.extend(21_u64.to_le_bytes());
    expected.extend(b"invalid format option\n");
    assert_eq!(datagram, expected);
}

#[test]
fn syslog_is_told_in_its_own_words() {
    let Some(datagram) = received("syslog:me", "/dev/log", "list -f xml") else { return };
    let text = String::from_utf8(datagram).unwrap();
    assert!(text.starts_with("<11>me[") && text.ends_with("]: invalid format option"), "{text}");
}

#[test]
fn a_daemon_gets_json_where_json_is_asked_for() {
    let Some(datagram) = received("syslog:me", "/dev/log", "--log-format json list -f xml") else { return };
    let text = String::from_utf8(datagram).unwrap();
    let (_, json) = text.split_once("]: ").unwrap();
    let record: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(record["msg"], "invalid format option");
}

#[test]
fn spec_writes_to_the_file_that_is_named_and_over_it() {
    let scratch = Scratch::new("spec");
    let folder = scratch.0.display().to_string();
    for _ in 0..2 {
        assert!(run(Program::new(TARE).args(["spec", "-b", &folder, "-f", "mine.json"])).status.success());
    }
    let text = std::fs::read_to_string(scratch.0.join("mine.json")).unwrap();
    assert!(text.contains("ociVersion") && !scratch.0.join("config.json").exists());
    let absolute = scratch.0.join("other.json");
    assert!(run(Program::new(TARE).args(["spec", "--file"]).arg(&absolute)).status.success());
    assert_eq!(std::fs::read_to_string(absolute).unwrap(), text);
}

#[test]
fn an_expression_that_is_none_is_refused() {
    for verb in ["kill", "delete"] {
        let output = run(Program::new(TARE).args(["--root", "/nonexistent/root", verb, "--regex", "a["]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("invalid regular expression") && output.status.code() == Some(1), "{said}");
    }
}
