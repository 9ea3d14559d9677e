//! One hook after the other, as real processes: what they get, what they may do to us, and what is left of them.
#![allow(clippy::unwrap_used)]

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tare::testing::init::hook::{HookError, HookOptions, Output, run_all};
use tare::testing::plan::hooks::Hook;

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// A time limit in seconds: a second, and what that is in the emulated machine.
fn short() -> u32 {
    if std::env::var_os("TARE_TEST_GUEST").is_some() { 20 } else { 1 }
}

fn shell(script: &str) -> Hook {
    Hook { path: c("/bin/sh"), args: vec![c("sh"), c("-c"), c(script)], env: None, timeout: Some(20) }
}

fn run(hook: Hook) -> Result<Output, HookError> {
    run_all("createRuntime", &[hook], b"{}", HookOptions::default()).map(|mut outputs| outputs.remove(0))
}

fn stdout(hook: Hook) -> String {
    String::from_utf8(run(hook).unwrap().stdout).unwrap()
}

fn why(hook: Hook) -> String {
    run(hook).unwrap_err().text
}

/// A directory of its own for one test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tare-hooks-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether the process is gone, or will be within a second. A zombie is gone: its parent is none of ours.
fn is_gone(pid: &str) -> bool {
    let pid = pid.trim();
    assert!(!pid.is_empty(), "the hook did not say its process id");
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        match std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
            Ok(stat) if !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z') => {}
            _ => return true,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn kill(pid: &str) {
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn state_is_on_standard_input_to_its_end() {
    let outputs = run_all("prestart", &[shell("cat")], br#"{"id":"a"}"#, HookOptions::default()).unwrap();
    assert_eq!(outputs[0].stdout, br#"{"id":"a"}"#);
}

#[test]
fn state_larger_than_a_pipe_arrives_whole() {
    let state = vec![b'x'; 3 << 20];
    let outputs = run_all("prestart", &[shell("sleep 0.1; wc -c")], &state, HookOptions::default()).unwrap();
    assert_eq!(String::from_utf8_lossy(&outputs[0].stdout).trim(), state.len().to_string());
}

#[test]
fn a_hook_that_does_not_read_its_input_succeeds() {
    let state = vec![b'x'; 3 << 20];
    for script in ["exec 0<&-; sleep 0.1", "true", "exec 0<&-; exec cat /proc/self/stat"] {
        run_all("prestart", &[shell(script)], &state, HookOptions::default()).unwrap();
    }
}

#[test]
fn arguments_are_verbatim_with_the_zeroth() {
    let mut hook = shell("");
    hook.args =
        ["odd name", "-c", r#"printf '%s|' "$0" "$@"; tr '\0' '|' </proc/$$/cmdline"#, "", "ü $HOME", "*"]
            .map(c)
            .to_vec();
    let shown = stdout(hook);
    assert!(shown.starts_with("|ü $HOME|*|odd name|-c|"), "{shown}");
}

#[test]
fn a_given_environment_is_exact_in_its_order() {
    let env = ["B=2", "A=1", "B=3", "no equals sign", "E="].map(c).to_vec();
    let hook = Hook {
        path: c("/bin/cat"),
        args: vec![c("cat"), c("/proc/self/environ")],
        env: Some(env),
        timeout: None,
    };
    assert_eq!(stdout(hook.clone()), "B=2\0A=1\0B=3\0no equals sign\0E=\0");
    assert_eq!(stdout(Hook { env: Some(Vec::new()), ..hook }), "");
}

#[test]
fn without_an_environment_the_default_counts_and_then_ours() {
    let hook =
        Hook { path: c("/bin/cat"), args: vec![c("cat"), c("/proc/self/environ")], env: None, timeout: None };
    let default = ["OF=process"].map(c);
    let outputs = run_all(
        "startContainer",
        std::slice::from_ref(&hook),
        b"",
        HookOptions { env: Some(&default), ..HookOptions::default() },
    )
    .unwrap();
    assert_eq!(outputs[0].stdout, b"OF=process\0");
    let own = std::env::vars_os()
        .map(|(name, value)| format!("{}={}\0", name.to_str().unwrap(), value.to_str().unwrap()));
    let own: String = own.collect();
    let shown = stdout(hook);
    assert!(shown.len() == own.len().min(4096) && own.ends_with(&shown), "{shown}");
}

#[test]
fn hooks_run_in_order_and_the_first_failure_is_the_end() {
    let dir = Dir::new("order");
    let log = dir.file("log");
    let say = |word: &str| shell(&format!("sleep 0.05; echo {word} >> {log}"));
    let hooks =
        [say("a"), say("b"), shell(&format!("echo c >> {log}; echo out; echo err >&2; exit 3")), say("d")];
    let text = run_all("poststart", &hooks, b"{}", HookOptions::default()).unwrap_err().text;
    assert_eq!(dir.read("log"), "a\nb\nc\n");
    assert_eq!(text, "error running poststart hook #2: exit status 3, stdout: out\n, stderr: err\n");
}

#[test]
fn how_a_hook_ended_is_told_as_go_tells_it() {
    let cases = [
        ("exit 1", "exit status 1, stdout: , stderr: "),
        ("exit 255", "exit status 255, stdout: , stderr: "),
        ("kill -9 $$", "signal: killed, stdout: , stderr: "),
        ("kill -TERM $$", "signal: terminated, stdout: , stderr: "),
        ("kill -USR1 $$", "signal: user defined signal 1, stdout: , stderr: "),
        ("printf '\\377' >&2; exit 1", "exit status 1, stdout: , stderr: \u{fffd}"),
    ];
    for (script, expected) in cases {
        assert_eq!(
            why(shell(script)),
            format!("error running createRuntime hook #0: {expected}"),
            "{script}"
        );
    }
}

#[test]
fn what_cannot_be_executed_is_told_with_the_kernels_answer() {
    let dir = Dir::new("missing");
    let plain = dir.file("plain");
    std::fs::write(&plain, "true").unwrap();
    let cases = [
        ("/no/such/hook", "no such file or directory: there is no directory /no"),
        (&plain, "permission denied: mode 0644 has no x bit"),
        ("/", "permission denied: a directory, no program"),
        ("/dev/null/hook", "not a directory: /dev/null is no directory"),
    ];
    for (path, answer) in cases {
        let hook = Hook { path: c(path), args: vec![c(path)], env: None, timeout: None };
        assert_eq!(why(hook), format!("error running createRuntime hook #0: fork/exec {path}: {answer}"));
    }
}

#[test]
fn timeout_kills_the_whole_group() {
    let dir = Dir::new("group");
    let hook = |script: String| Hook { timeout: Some(short()), ..shell(&script) };
    let started = Instant::now();
    let script = format!("sleep 300 & echo $! > {}; echo $$ > {}; wait", dir.file("child"), dir.file("hook"));
    assert_eq!(
        why(hook(script)),
        format!("error running createRuntime hook #0: hook ran past specified timeout of {}.0s", short())
    );
    assert!(started.elapsed() < Duration::from_secs(3 * u64::from(short())), "{:?}", started.elapsed());
    assert!(is_gone(&dir.read("hook")) && is_gone(&dir.read("child")));
}

#[test]
fn timeout_kills_a_hook_that_ignores_signals_or_left_its_group() {
    let dir = Dir::new("escape");
    let joins_our_group = "exec perl -e 'setpgrp(0, getpgrp(getppid)); sleep 300'";
    for script in ["trap '' TERM INT HUP; sleep 300", joins_our_group, "kill -STOP $$"] {
        let script = format!("echo $$ > {}; {script}", dir.file("hook"));
        let text = why(Hook { timeout: Some(short()), ..shell(&script) });
        assert!(text.ends_with(&format!("hook ran past specified timeout of {}.0s", short())), "{text}");
        assert!(is_gone(&dir.read("hook")), "{script}");
    }
}

#[test]
fn a_daemon_that_keeps_the_pipes_does_not_hold_us_up_and_lives_on() {
    let dir = Dir::new("daemon");
    let started = Instant::now();
    let script = format!("sleep 300 & echo $! > {}; echo said", dir.file("daemon"));
    assert_eq!(stdout(shell(&script)), "said\n");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let daemon = dir.read("daemon");
    assert!(!is_gone(&daemon), "the daemon of a hook that succeeded was killed");
    kill(&daemon);
}

#[test]
fn a_daemon_that_keeps_writing_does_not_hold_us_up() {
    let dir = Dir::new("chatty");
    let started = Instant::now();
    let script = format!("yes & echo $! > {}; exit 4", dir.file("daemon"));
    let text = why(shell(&script));
    assert!(text.starts_with("error running createRuntime hook #0: exit status 4, stdout: "), "{text}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(is_gone(&dir.read("daemon")), "the broken pipe did not end it");
}

#[test]
fn of_much_output_the_end_is_kept() {
    let text = why(shell(
        "head -c 5000000 /dev/zero | tr '\\0' x; echo the end; head -c 100000 /dev/zero >&2; exit 1",
    ));
    let stdout = text.split_once("stdout: ").unwrap().1.split_once(", stderr: ").unwrap().0;
    assert!(
        stdout.ends_with("xxx\nthe end\n".trim_start_matches("xxx\n")) && stdout.len() == 4096,
        "{}",
        stdout.len()
    );
    assert!(text.len() < 9000, "{}", text.len());
}

#[test]
fn a_hook_has_three_descriptors_and_its_own_group() {
    let kept = std::fs::File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(&kept, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    // ls itself opens the directory as number 3.
    let hook = Hook { path: c("/bin/ls"), args: vec![c("ls"), c("/proc/self/fd")], env: None, timeout: None };
    assert_eq!(stdout(hook), "0\n1\n2\n3\n");
    let shown = stdout(shell("cut -d' ' -f5 /proc/$$/stat; echo $$"));
    let (group, pid) = shown.trim().split_once('\n').unwrap();
    assert_eq!(group, pid);
    drop(kept);
}

#[test]
fn signals_are_neither_blocked_nor_ignored_in_a_hook() {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTERM);
    blocked.add(Signal::SIGCHLD);
    // This test's process ignores SIGPIPE already: the standard library does that.
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None).unwrap();
    let hook = Hook {
        path: c("/bin/cat"),
        args: ["cat", "/proc/self/status"].map(c).to_vec(),
        env: None,
        timeout: None,
    };
    let shown = stdout(hook);
    let masks: Vec<&str> =
        shown.lines().filter(|line| line.starts_with("Sig") && !line.contains('/')).collect();
    let none = "0000000000000000";
    assert_eq!(masks, ["SigPnd", "SigBlk", "SigIgn", "SigCgt"].map(|name| format!("{name}:\t{none}")));
}

/// In a process of its own: the signal is for all of it.
#[test]
fn a_signal_that_asks_to_end_kills_the_hook_and_not_us() {
    const INSIDE: &str = "TARE_TEST_INTERRUPTED";
    if std::env::var_os(INSIDE).is_some() {
        // Its parent is the process that runs hooks; the rest of the time it would sleep.
        let text = why(Hook { timeout: None, ..shell("echo before; kill -TERM $PPID; sleep 300") });
        assert_eq!(text, "error running createRuntime hook #0: interrupted by signal: terminated");
        // As before: it neither waits nor has it ended us.
        let text = why(shell("exit 2"));
        assert!(text.contains("exit status 2"), "{text}");
        std::process::exit(77);
    }
    let started = Instant::now();
    // Blocked in every thread: the one that waits for the test would take the signal.
    let block = "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM)); exec @ARGV";
    let mut command = std::process::Command::new("perl");
    command.args(["-e", block]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "a_signal_that_asks_to_end_kills_the_hook_and_not_us"]);
    let status = command.env(INSIDE, "1").stdout(std::process::Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(77), "{status}");
    assert!(started.elapsed() < Duration::from_secs(200), "{:?}", started.elapsed());
}

#[test]
fn no_zombie_is_left() {
    run(shell("true")).unwrap();
    let dir = Dir::new("zombie");
    let hook = shell(&format!("echo $$ > {}; exit 1", dir.file("pid")));
    why(hook);
    assert!(!Path::new("/proc").join(dir.read("pid").trim()).exists());
}

#[test]
fn a_hook_runs_where_it_is_told() {
    let dir = Dir::new("where");
    let pwd = [shell("/bin/pwd")];
    let shown = |path: &str| {
        run_all("createRuntime", &pwd, b"{}", HookOptions { dir: Some(&c(path)), ..HookOptions::default() })
    };
    assert_eq!(shown(&dir.file("")).unwrap().remove(0).stdout, format!("{}\n", dir.0.display()).into_bytes());
    assert!(shown("/no/such/dir").unwrap_err().text.ends_with(": no such file or directory"));
    let here = std::env::current_dir().unwrap();
    assert_eq!(stdout(shell("/bin/pwd")), format!("{}\n", here.display()));
}
