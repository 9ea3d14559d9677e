//! The six kinds of hooks through a container's life: when each runs, where, with what, and what its failure does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "support/skip.rs"]
mod skip;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skip::skip;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Says all about itself into the directory $1, under the name $2.
const RECORD: &str = r#"
echo "$2" >> "$1/order"
{ readlink /proc/self/ns/mnt; readlink /proc/self/ns/net; pwd; echo "$MARK"; } > "$1/$2"
cat > "$1/$2.json"
ls /proc/self/fd > "$1/$2.fds"
"#;

/// Another runtime, to see what these tests say about it.
fn runtime() -> String {
    std::env::var("TARE_TEST_RUNTIME").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tare").into())
}

/// What `tare` answered: its exit code, and what it and the container said.
struct Answer {
    code: i32,
    text: String,
}

/// A bundle with a busybox in it, and the state directory that its container lives in.
struct Bundle {
    dir: PathBuf,
    /// Unlike any other, since the cgroup is named by it.
    id: String,
    config: Value,
}

impl Bundle {
    /// None, which is recorded as a skip, where no container can be run.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if !nix::unistd::geteuid().is_root() {
            skip("needs root");
            return None;
        }
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
        let Some(busybox) = busybox else {
            skip("needs busybox");
            return None;
        };
        let dir = std::env::temp_dir().join(format!("tare-hooks-{}-b{number}", std::process::id()));
        let bin = dir.join("rootfs/bin");
        for path in [
            &bin,
            &dir.join("rootfs/proc"),
            &dir.join("rootfs/shared"),
            &dir.join("shared"),
            &dir.join("root"),
        ] {
            fs::create_dir_all(path).unwrap();
        }
        fs::copy(busybox, bin.join("busybox")).unwrap();
        fs::set_permissions(bin.join("busybox"), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["sh", "cat", "ls", "readlink", "sleep", "true", "env", "yes", "head"] {
            symlink("busybox", bin.join(name)).unwrap();
        }
        let config = config(&dir.join("shared"));
        let id = format!("tare-hooks-{}-{number}", std::process::id());
        let bundle = Self { dir, id, config };
        bundle.write();
        let answer = bundle.run();
        assert_eq!(answer.code, 0, "a container without hooks does not run: {}", answer.text);
        Some(bundle)
    }

    fn write(&self) {
        fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
    }

    fn hooks(&mut self, hooks: &[(&str, Value)]) {
        let hooks: serde_json::Map<String, Value> =
            hooks.iter().map(|(kind, hooks)| ((*kind).to_owned(), hooks.clone())).collect();
        self.config["hooks"] = hooks.into();
        self.write();
    }

    fn args(&mut self, args: &[&str]) {
        self.config["process"]["args"] = json!(args);
        self.write();
    }

    /// A hook that says into the shared directory that it ran; `place` is that directory as the hook sees it.
    fn record(&self, kind: &str, name: &str) -> Value {
        let shared = self.dir.join("shared");
        let place = if kind == "startContainer" { Path::new("/shared") } else { &shared };
        json!({"path": "/bin/sh", "args": ["sh", "-c", RECORD, "sh", place, name]})
    }

    fn shared(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join("shared").join(name)).unwrap_or_default()
    }

    fn order(&self) -> Vec<String> {
        self.shared("order").lines().map(String::from).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(runtime());
        command.arg("--root").arg(self.dir.join("root")).args(args);
        command.env("MARK", "of the runtime").stdin(Stdio::null());
        command
    }

    /// Runs to the end; standard output and error go to a file, since the container keeps them open.
    fn tare(&self, args: &[&str]) -> Answer {
        // One for each command: the container writes to that of `create` as long as it lives.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let said = self.dir.join(format!("said{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&said).unwrap();
        let status = self.command(args).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        Answer { code: status.code().unwrap_or(-1), text: fs::read_to_string(said).unwrap() }
    }

    fn create(&self) -> Answer {
        self.tare(&["create", "--bundle", self.dir.to_str().unwrap(), &self.id])
    }

    fn run(&self) -> Answer {
        self.tare(&["run", "--bundle", self.dir.to_str().unwrap(), &self.id])
    }

    fn start(&self) -> Answer {
        self.tare(&["start", &self.id])
    }

    fn delete(&self, options: &[&str]) -> Answer {
        self.tare(&[&["delete"], options, &[&self.id]].concat())
    }

    fn state(&self) -> Value {
        let answer = self.tare(&["state", &self.id]);
        serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("state: {}", answer.text))
    }

    fn wait_until_stopped(&self) {
        wait_until(|| self.state()["status"] == "stopped");
    }

    fn nothing_is_left(&self) {
        let left: Vec<_> =
            fs::read_dir(self.dir.join("root")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.delete(&["--force"]);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn wait_until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn config(shared: &Path) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {
            "args": ["true"], "cwd": "/bin", "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin", "MARK=of the process"]
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/shared", "type": "bind", "source": shared, "options": ["rbind"]}
        ],
        "annotations": {"a": "ü \"b\""},
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}]}
    })
}

fn shell(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
}

fn namespace(pid: &str, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn each_kind_runs_at_its_time() {
    let Some(mut bundle) = Bundle::new() else { return };
    let hooks = KINDS
        .map(|kind| (kind, json!([bundle.record(kind, kind), bundle.record(kind, &format!("{kind}2"))])));
    bundle.hooks(&hooks);
    let expected = KINDS.map(|kind| [kind.to_owned(), format!("{kind}2")]).concat();

    let created = bundle.create();
    assert_eq!(created.code, 0, "{}", created.text);
    assert_eq!(bundle.order(), expected[..6], "after create");
    let started = bundle.start();
    assert_eq!(started.code, 0, "{}", started.text);
    bundle.wait_until_stopped();
    assert_eq!(bundle.order()[6..], expected[6..10], "after start");
    let deleted = bundle.delete(&[]);
    assert_eq!(deleted.code, 0, "{}", deleted.text);
    assert_eq!(bundle.order()[10..], expected[10..], "after delete");
}

#[test]
fn each_kind_runs_in_its_place_with_its_state() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "300"]);
    let hooks = KINDS.map(|kind| (kind, json!([bundle.record(kind, kind)])));
    bundle.hooks(&hooks);
    assert_eq!(bundle.create().code, 0);
    assert_eq!(bundle.start().code, 0);
    let pid = bundle.state()["pid"].to_string();
    let inside = (namespace(&pid, "mnt"), namespace(&pid, "net"));
    let outside = (namespace("self", "mnt"), namespace("self", "net"));
    assert_eq!(bundle.delete(&["--force"]).code, 0);

    let dir = bundle.dir.to_str().unwrap();
    let rootfs = format!("{dir}/rootfs");
    let here = std::env::current_dir().unwrap();
    let here = here.to_str().unwrap();
    let table = [
        ("prestart", &outside, "creating", dir, "of the runtime"),
        ("createRuntime", &outside, "creating", dir, "of the runtime"),
        ("createContainer", &inside, "creating", &*rootfs, "of the runtime"),
        ("startContainer", &inside, "created", "/bin", "of the process"),
        ("poststart", &outside, "running", here, "of the runtime"),
        ("poststop", &outside, "stopped", here, "of the runtime"),
    ];
    for (kind, namespaces, status, cwd, mark) in table {
        let record = bundle.shared(kind);
        let lines: Vec<&str> = record.lines().collect();
        assert_eq!(lines, [&*namespaces.0, &*namespaces.1, cwd, mark], "{kind}");

        let state: Value = serde_json::from_str(&bundle.shared(&format!("{kind}.json"))).unwrap();
        assert_eq!(state["status"], status, "{kind}: {state}");
        assert_eq!(state["id"], *bundle.id, "{kind}: {state}");
        assert_eq!(state["bundle"], dir, "{kind}: {state}");
        assert_eq!(state["annotations"]["a"], "ü \"b\"", "{kind}: {state}");
        assert!(
            state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")),
            "{kind}: {state}"
        );
        match kind {
            "createContainer" | "startContainer" => assert_eq!(state["pid"], 1, "{kind}: {state}"),
            "poststop" => assert_eq!(state.get("pid"), None, "{kind}: {state}"),
            _ => assert_eq!(state["pid"].to_string(), pid, "{kind}: {state}"),
        }
        assert_eq!(bundle.shared(&format!("{kind}.fds")), "0\n1\n2\n3\n", "{kind}: the last is of ls itself");
    }
}

#[test]
fn a_hook_that_fails_during_create_ends_it_and_leaves_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    for kind in &KINDS[..3] {
        let poststop = json!([bundle.record("poststop", "poststop")]);
        let _ = fs::remove_file(bundle.dir.join("shared/order"));
        let fails = json!([
            bundle.record(kind, "before"),
            {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; echo out; echo err >&2; exit 3"]},
            bundle.record(kind, "after")
        ]);
        bundle.hooks(&[(kind, fails), ("poststop", poststop)]);
        let answer = bundle.create();
        assert_ne!(answer.code, 0, "{kind}");
        // The text may stand in a log record, which quotes line ends.
        let text = answer.text.replace("\\n", "\n");
        let expected = format!("error running {kind} hook #1: exit status 3, stdout: out\n, stderr: err\n");
        assert!(text.contains(&expected), "{kind}: {}", answer.text);
        assert_eq!(bundle.order(), ["before", "poststop"], "{kind}");
        bundle.nothing_is_left();
    }
}

#[test]
fn a_hook_past_its_timeout_during_create_is_killed_with_its_children() {
    let Some(mut bundle) = Bundle::new() else { return };
    let child = bundle.dir.join("shared/child");
    for kind in &KINDS[..3] {
        // Its own name is how the child is found: the hook of the container knows no process id of the host.
        let name = format!("{}-{kind}", bundle.dir.file_name().unwrap().to_str().unwrap());
        let script = format!("perl -e '$0 = shift; sleep 300' {name} & touch {}; wait", child.display());
        bundle.hooks(&[(kind, json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1}]))]);
        let started = Instant::now();
        let answer = bundle.create();
        assert!(started.elapsed() < Duration::from_secs(8), "{kind}: {:?}", started.elapsed());
        assert_ne!(answer.code, 0, "{kind}");
        let expected = format!("error running {kind} hook #0: hook ran past specified timeout of 1.0s");
        assert!(answer.text.contains(&expected), "{kind}: {}", answer.text);
        assert!(child.exists(), "{kind}");
        // Killed, but perhaps not gone yet.
        wait_until(|| !is_running(&name));
        bundle.nothing_is_left();
    }
}

/// Whether a process has this in its command line.
fn is_running(name: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(name))
}

#[test]
fn a_runtime_that_is_asked_to_end_during_a_hook_cleans_up() {
    let Some(mut bundle) = Bundle::new() else { return };
    let record = bundle.record("createRuntime", "started");
    bundle.hooks(&[("createRuntime", json!([record, shell("sleep 300 & wait")[0]]))]);
    for verb in ["create", "run"] {
        let _ = fs::remove_file(bundle.dir.join("shared/order"));
        let said = File::create(bundle.dir.join("said")).unwrap();
        let mut command = bundle.command(&[verb, "--bundle", bundle.dir.to_str().unwrap(), &bundle.id]);
        let mut tare = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
        wait_until(|| !bundle.order().is_empty());
        std::thread::sleep(Duration::from_millis(100));
        let started = Instant::now();
        let pid = nix::unistd::Pid::from_raw(tare.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = tare.wait().unwrap();
        assert!(started.elapsed() < Duration::from_secs(3), "{verb}: {:?}", started.elapsed());
        let text = fs::read_to_string(bundle.dir.join("said")).unwrap();
        assert!(status.code().is_some_and(|code| code != 0), "{verb}: {status}: {text}");
        // The first may not be through yet.
        let expected = ["error running createRuntime hook #", ": interrupted by signal: terminated"];
        assert!(expected.iter().all(|words| text.contains(words)), "{verb}: {text}");
        bundle.nothing_is_left();
    }
}

#[test]
fn a_hook_that_is_missing_is_told_by_its_path() {
    let Some(mut bundle) = Bundle::new() else { return };
    for kind in &KINDS[..3] {
        bundle.hooks(&[(kind, json!([{"path": "/no/such/hook"}]))]);
        let answer = bundle.create();
        assert_ne!(answer.code, 0, "{kind}");
        let expected =
            format!("error running {kind} hook #0: fork/exec /no/such/hook: no such file or directory");
        assert!(answer.text.contains(&expected), "{kind}: {}", answer.text);
    }
}

#[test]
fn a_start_container_hook_that_fails_ends_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sh", "-c", "echo ran > /shared/ran"]);
    let poststop = json!([bundle.record("poststop", "poststop")]);
    // The second of them after more than a moment, and more than a pipe's worth of words.
    let fails = shell("echo out; sleep 0.5; yes 2>/dev/null | head -c 100000 >&2; exit 5");
    bundle.hooks(&[("startContainer", fails), ("poststop", poststop)]);
    let created = bundle.create();
    assert_eq!(created.code, 0, "{}", created.text);
    let started = bundle.start();
    assert_ne!(started.code, 0, "{}", started.text);
    assert!(started.text.contains("error running startContainer hook #0: exit status 5"), "{}", started.text);
    assert_eq!(bundle.shared("ran"), "", "the process ran all the same");
    assert_eq!(bundle.order(), ["poststop"]);
    bundle.nothing_is_left();

    bundle.hooks(&[("startContainer", shell("exit 5"))]);
    let ran = bundle.run();
    assert_ne!(ran.code, 0);
    assert!(ran.text.contains("error running startContainer hook #0: exit status 5"), "{}", ran.text);
}

#[test]
fn a_poststart_hook_finds_the_program_running() {
    let Some(mut bundle) = Bundle::new() else { return };
    // The state on its standard input names the process; the slow hook before the program holds that back.
    let script = format!(
        "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); cat /proc/$pid/comm > {}",
        bundle.dir.join("shared/comm").display()
    );
    bundle.hooks(&[("startContainer", shell("sleep 0.3")), ("poststart", shell(&script))]);
    bundle.args(&["/bin/sleep", "100"]);
    let created = bundle.create();
    assert_eq!(created.code, 0, "{}", created.text);
    let started = bundle.start();
    assert_eq!(started.code, 0, "{}", started.text);
    assert_eq!(bundle.shared("comm"), "sleep\n");
    bundle.delete(&["--force"]);
}

#[test]
fn a_poststart_hook_that_fails_destroys_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "300"]);
    let poststop = json!([bundle.record("poststop", "poststop")]);
    bundle.hooks(&[("poststart", shell("exit 6")), ("poststop", poststop)]);
    let created = bundle.create();
    assert_eq!(created.code, 0, "{}", created.text);
    let started = bundle.start();
    assert_ne!(started.code, 0);
    assert!(started.text.contains("error running poststart hook #0: exit status 6"), "{}", started.text);
    assert_eq!(bundle.order(), ["poststop"]);
    bundle.nothing_is_left();
}

#[test]
fn a_container_whose_start_waits_for_a_hook_can_be_deleted() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.hooks(&[("startContainer", shell("sleep 300"))]);
    assert_eq!(bundle.create().code, 0);
    let mut start = bundle.command(&["start", &bundle.id]).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(start.try_wait().unwrap().is_none(), "it does not wait");
    let deleted = bundle.delete(&["--force"]);
    assert_eq!(deleted.code, 0, "{}", deleted.text);
    assert!(!start.wait().unwrap().success());
    bundle.nothing_is_left();
}

#[test]
fn hooks_of_a_run_start_in_the_bundle() {
    let Some(mut bundle) = Bundle::new() else { return };
    let kinds = ["createRuntime", "poststart", "poststop"];
    let script = |kind: &str| {
        let file = bundle.dir.join("shared").join(format!("{kind}.dir"));
        (kind.to_owned(), shell(&format!("pwd > {}", file.display())))
    };
    let hooks = kinds.map(script);
    bundle.hooks(&hooks.each_ref().map(|(kind, hook)| (&**kind, hook.clone())));
    assert_eq!(bundle.run().code, 0);
    for kind in kinds {
        let told = bundle.shared(&format!("{kind}.dir"));
        assert_eq!(told.trim_end(), bundle.dir.to_str().unwrap(), "{kind}");
    }
}

#[test]
fn the_bundle_is_recorded_without_links_and_dots() {
    let Some(bundle) = Bundle::new() else { return };
    let link = bundle.dir.join("link");
    symlink(&bundle.dir, &link).unwrap();
    for typed in [&*link, &link.join("rootfs/.."), &link.join("./link/.")] {
        let created = bundle.tare(&["create", "--bundle", typed.to_str().unwrap(), &bundle.id]);
        assert_eq!(created.code, 0, "{}", created.text);
        assert_eq!(bundle.state()["bundle"], bundle.dir.to_str().unwrap(), "{}", typed.display());
        bundle.delete(&["--force"]);
    }
    let absent = bundle.tare(&["create", "--bundle", "/no/such", &bundle.id]);
    assert!(
        absent.code == 1 && absent.text.contains("bundle /no/such: no such directory"),
        "{}",
        absent.text
    );
}

/// Whether this process ignores the signal, and so what it starts.
fn is_ignored(signal: nix::sys::signal::Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    u64::from_str_radix(ignored, 16).unwrap() & (1 << (signal as u32 - 1)) != 0
}

#[test]
fn a_signal_ends_a_run_whose_program_does_not_run_yet() {
    let Some(mut bundle) = Bundle::new() else { return };
    for kind in ["createRuntime", "createContainer", "startContainer"] {
        bundle.hooks(&[(kind, shell("sleep 300"))]);
        for signal in [nix::sys::signal::Signal::SIGTERM, nix::sys::signal::Signal::SIGINT] {
            // Who ignores a signal, as nohup(1) or a shell's background does, has it ignored by `run` too.
            if is_ignored(signal) {
                continue;
            }
            let dir = bundle.dir.to_str().unwrap();
            let mut command = bundle.command(&["run", "--bundle", dir, &bundle.id]);
            let said = bundle.dir.join("shared/said");
            let mut run = command.stderr(File::create(&said).unwrap()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(400));
            let pid = nix::unistd::Pid::from_raw(run.id().try_into().unwrap());
            nix::sys::signal::kill(pid, signal).unwrap();
            let end = Instant::now() + Duration::from_secs(10);
            while run.try_wait().unwrap().is_none() {
                assert!(Instant::now() < end, "{signal} does not end it in a {kind} hook");
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(!run.wait().unwrap().success());
            let said = fs::read_to_string(said).unwrap();
            assert!(said.contains("signal"), "{kind}: {said}");
            bundle.nothing_is_left();
        }
    }
}

#[test]
fn a_poststop_hook_that_fails_is_a_warning_and_the_next_one_runs() {
    let Some(mut bundle) = Bundle::new() else { return };
    let (mut hooks, after) = (shell("exit 7"), bundle.record("poststop", "after"));
    hooks.as_array_mut().unwrap().push(after);
    bundle.hooks(&[("poststop", hooks)]);
    let created = bundle.create();
    assert_eq!(created.code, 0, "{}", created.text);
    assert_eq!(bundle.start().code, 0);
    bundle.wait_until_stopped();
    let deleted = bundle.delete(&[]);
    assert_eq!(deleted.code, 0, "{}", deleted.text);
    assert!(deleted.text.contains("level=warning"), "{}", deleted.text);
    assert!(deleted.text.contains("error running poststop hook #0: exit status 7"), "{}", deleted.text);
    assert_eq!(bundle.order(), ["after"]);
    bundle.nothing_is_left();
}

#[test]
fn a_create_container_hook_changes_the_containers_mounts_and_nobody_elses() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("rootfs/made")).unwrap();
    let made = bundle.dir.join("rootfs/made");
    let made = made.to_str().unwrap();
    bundle.hooks(&[(
        "createContainer",
        shell(&format!("mount -t tmpfs mine {made} && echo from the hook > {made}/file")),
    )]);
    bundle.args(&["cat", "/made/file"]);
    let ran = bundle.run();
    assert_eq!((ran.code, &*ran.text), (0, "from the hook\n"));
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(made), "the mount leaked");
}

#[test]
fn a_hook_that_leaves_a_daemon_does_not_hold_create_up() {
    let Some(mut bundle) = Bundle::new() else { return };
    let script = format!("sleep 300 & echo $! > {}", bundle.dir.join("shared/daemon").display());
    bundle.hooks(&[("createRuntime", shell(&script))]);
    let started = Instant::now();
    let created = bundle.create();
    let took = started.elapsed();
    let daemon = nix::unistd::Pid::from_raw(bundle.shared("daemon").trim().parse().unwrap());
    nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(created.code, 0, "{}", created.text);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_hooks_output_is_not_the_runtimes() {
    let Some(mut bundle) = Bundle::new() else { return };
    let noisy = shell("echo from a hook; echo from a hook >&2");
    bundle.hooks(&KINDS.map(|kind| (kind, noisy.clone())));
    let ran = bundle.run();
    assert_eq!((ran.code, &*ran.text), (0, ""));
}

#[test]
fn a_run_whose_poststart_hook_fails_ends_with_poststop_hooks_and_nothing_left() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "300"]);
    let poststop = json!([bundle.record("poststop", "poststop")]);
    bundle.hooks(&[("poststart", shell("exit 6")), ("poststop", poststop)]);
    let ran = bundle.run();
    assert_ne!(ran.code, 0);
    assert!(ran.text.contains("error running poststart hook #0: exit status 6"), "{}", ran.text);
    assert_eq!(bundle.order(), ["poststop"]);
    bundle.nothing_is_left();
}

#[test]
fn a_poststart_hook_may_ask_the_runtime_about_its_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "300"]);
    let root = bundle.dir.join("root");
    let shared = bundle.dir.join("shared");
    let (tare, root, shared, id) = (runtime(), root.display(), shared.display(), &bundle.id);
    let script = format!(
        "{tare} --root {root} state {id} > {shared}/state && {tare} --root {root} list -q > {shared}/list"
    );
    bundle.hooks(&[("poststart", json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 5}]))]);
    assert_eq!(bundle.create().code, 0);
    let started = bundle.start();
    assert_eq!(started.code, 0, "{}", started.text);
    let state: Value = serde_json::from_str(&bundle.shared("state")).unwrap();
    assert_eq!(state["status"], "running");
    assert_eq!(bundle.shared("list").trim(), bundle.id);
}
