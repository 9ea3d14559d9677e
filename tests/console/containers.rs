//! Terminals of containers, by the built program. TARE_TEST_RUNTIME names another one to hold the tests against.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use serde_json::{Value, json};
use tare::sys::tty::{self, Size};

use crate::skip::skip;
use crate::support::{Line, Process, Scratch, let_go, redirect, sit_at};

const BUSYBOX: &str = "/usr/bin/busybox";

/// A bundle with a busybox, and the state of the containers made from it; both gone with it.
struct Bundle {
    scratch: Scratch,
    id: String,
}

impl Bundle {
    /// None, which is recorded as a skip, where containers cannot be run.
    fn new(name: &str, script: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
            skip(&format!("needs root and {BUSYBOX}"));
            return None;
        }
        let bundle =
            Self { scratch: Scratch::new(name), id: format!("tare-console-{name}-{}", std::process::id()) };
        bundle.fill();
        assert!(bundle.tare(&["spec"]).status.success());
        bundle.change(|config| config["process"]["args"] = json!(["/bin/sh", "-c", script]));
        Some(bundle)
    }

    fn fill(&self) {
        let root = self.path().join("rootfs");
        for folder in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for name in ["sh", "cat", "stty", "tty", "stat", "sleep", "readlink", "ls", "kill"] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let file = self.path().join("config.json");
        let mut config = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        change(&mut config);
        fs::write(file, config.to_string()).unwrap();
    }

    fn terminal(self, terminal: bool) -> Self {
        self.change(|config| config["process"]["terminal"] = json!(terminal));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--root").arg(self.path().join("state")).args(arguments).current_dir(self.path());
        command
    }

    fn tare(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// As a child of the test, whose terminal `line` is the other end of.
    fn at_terminal(&self, arguments: &[&str], size: Size) -> (Process, Line, OwnedFd) {
        let (master, peer) = tty::pair().unwrap();
        tty::set_size(master.as_fd(), size).unwrap();
        let process = Process::start(|| {
            sit_at(&peer);
            let_go();
            panic!("{}", self.command(arguments).exec())
        });
        (process, Line::new(master), peer)
    }

    fn on_pipes(&self, arguments: &[&str]) -> (Process, Line, Line) {
        let (input, typed) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (printed, output) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let process = Process::start(|| {
            redirect(&input, &output);
            let_go();
            panic!("{}", self.command(arguments).exec())
        });
        (process, Line::new(typed), Line::new(printed))
    }

    /// Runs `verb` with a console socket: its output, and the master and its name.
    fn with_socket(&self, verb: &[&str], rest: &[&str]) -> (Line, String) {
        let socket = Socket::new(self.path().join("console.sock"));
        let path = socket.path.to_str().unwrap();
        let output = self.to_null(&[verb, &["--console-socket", path], rest].concat());
        assert!(output.success(), "{verb:?}");
        socket.receive()
    }

    /// Detached: what it starts may keep its standard streams, which a pipe would wait for.
    fn to_null(&self, arguments: &[&str]) -> std::process::ExitStatus {
        self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap()
    }

    fn start_sleeping(&self) {
        self.change(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] =
                json!(["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]);
        });
        assert!(self.to_null(&["run", "--detach", &self.id]).success());
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.id]).stderr(Stdio::null()).status();
    }
}

fn program() -> PathBuf {
    std::env::var_os("TARE_TEST_RUNTIME")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tare")), PathBuf::from)
}

/// A receiver of terminals, as engines are.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    fn new(path: PathBuf) -> Self {
        let _ = fs::remove_file(&path);
        Self { listener: UnixListener::bind(&path).unwrap(), path }
    }

    /// The one message of the one connection.
    fn receive(self) -> (Line, String) {
        let (stream, _) = self.listener.accept().unwrap();
        let mut name = [0; 4096];
        let (length, master) = tare::sys::socket::receive_fd(stream.as_fd(), &mut name).unwrap();
        let after = tare::sys::socket::receive_fd(stream.as_fd(), &mut [0; 1]).unwrap();
        assert!(after.0 == 0 && after.1.is_none(), "more than one message");
        (Line::new(master.unwrap()), String::from_utf8(name[..length].to_vec()).unwrap())
    }
}

const SIZE: Size = Size { rows: 31, columns: 97 };

#[test]
fn an_attached_container_has_its_terminal_on_the_callers() {
    let script = "tty; read line; echo \"[$line]\"; stty size; exit 3";
    let Some(bundle) = Bundle::new("run", script) else { return };
    let (process, mut line, peer) = bundle.at_terminal(&["run", &bundle.id], SIZE);
    let before = tty::mode(peer.as_fd()).unwrap();
    line.expect("/dev/pts/0\r\n");
    line.write("typed\r");
    line.expect("typed\r\n[typed]\r\n");
    line.expect("31 97\r\n");
    assert_eq!(process.code(), 3);
    assert_eq!(tty::mode(peer.as_fd()).unwrap(), before);
}

#[test]
fn the_terminal_is_as_it_is_to_be_before_the_program_runs() {
    // Where the size came late, or line ends, one of so many would tell.
    for _ in 0..10 {
        let Some(bundle) = Bundle::new("early", "stty size; exit 3") else { return };
        let (process, mut line, _peer) = bundle.at_terminal(&["run", &bundle.id], SIZE);
        line.expect("31 97\r\n");
        assert_eq!(process.code(), 3);
        bundle.start_sleeping();
        let exec = ["exec", "--tty", &bundle.id, "/bin/stty", "size"];
        let (process, mut line, _peer) = bundle.at_terminal(&exec, SIZE);
        line.expect("31 97\r\n");
        assert_eq!(process.code(), 0);
        let exec = ["exec", "--tty", &bundle.id, "/bin/busybox", "echo", "as written"];
        let (process, _typed, mut printed) = bundle.on_pipes(&exec);
        assert_eq!(printed.rest(), "as written\n");
        assert_eq!(process.code(), 0);
    }
}

#[test]
fn the_terminal_inside_is_controlling_and_interrupts() {
    let Some(bundle) =
        Bundle::new("interrupt", "trap 'echo caught; exit 5' INT; echo ready; sleep 30 & wait")
    else {
        return;
    };
    let (process, mut line, _peer) = bundle.at_terminal(&["run", &bundle.id], SIZE);
    line.expect("ready\r\n");
    line.write("\u{3}");
    line.expect("caught\r\n");
    assert_eq!(process.code(), 5);
}

#[test]
fn a_container_that_does_not_start_leaves_the_terminal_as_it_was() {
    let Some(bundle) = Bundle::new("fails", "") else { return };
    bundle.change(|config| config["process"]["args"] = json!(["/bin/nonexistent"]));
    let (process, _line, peer) = bundle.at_terminal(&["run", &bundle.id], SIZE);
    let before = tty::mode(peer.as_fd()).unwrap();
    assert_eq!(process.code(), 1);
    assert_eq!(tty::mode(peer.as_fd()).unwrap(), before);
}

#[test]
fn a_detached_container_sends_its_terminal_to_the_console_socket() {
    let script = "tty; stty size; echo by the console > /dev/console; stat -c %u:%g /dev/pts/0; ls -l /proc/self/fd/2; \
                  read line; echo \"[$line]\"";
    let Some(bundle) = Bundle::new("detached", script) else { return };
    bundle.change(|config| {
        config["process"]["consoleSize"] = json!({"height": 31, "width": 97});
        config["process"]["user"] = json!({"uid": 1000, "gid": 100});
    });
    let (mut line, name) = bundle.with_socket(&["run", "--detach"], &[&bundle.id]);
    assert_eq!(name, "/dev/pts/0");
    line.expect("/dev/pts/0\r\n");
    line.expect("31 97\r\n");
    line.expect("by the console\r\n");
    line.expect("1000:5\r\n");
    line.expect("-> /dev/pts/0\r\n");
    line.write("typed\r");
    line.expect("[typed]\r\n");
}

#[test]
fn a_created_container_has_sent_its_terminal_before_it_starts() {
    let Some(bundle) = Bundle::new("created", "echo started; read line") else { return };
    let (mut line, _) = bundle.with_socket(&["create"], &[&bundle.id]);
    line.write("x");
    // Echoed by the terminal, though nobody runs yet.
    line.expect("x");
    assert!(bundle.to_null(&["start", &bundle.id]).success());
    line.expect("started\r\n");
}

#[test]
fn a_terminal_and_a_console_socket_need_each_other_when_detached() {
    let Some(bundle) = Bundle::new("pairing", "exit 0") else { return };
    let error = |output: Output| String::from_utf8(output.stderr).unwrap();
    let text = "cannot allocate tty if runc will detach without setting console socket";
    for verb in [&["create"][..], &["run", "--detach"]] {
        let output = bundle.tare(&[verb, &[&bundle.id]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(error(output).contains(text), "{verb:?}");
    }
    let socket = Socket::new(bundle.path().join("console.sock"));
    let with_socket = ["--console-socket", socket.path.to_str().unwrap(), &bundle.id];
    let text = "cannot use console socket if runc will not detach or allocate tty";
    assert!(error(bundle.tare(&[&["run"][..], &with_socket].concat())).contains(text), "attached");
    let bundle = bundle.terminal(false);
    let with_socket = ["--console-socket", socket.path.to_str().unwrap(), &bundle.id];
    assert!(error(bundle.tare(&[&["create"][..], &with_socket].concat())).contains(text), "no terminal");
}

#[test]
fn a_console_socket_that_nobody_listens_at_leaves_nothing_behind() {
    let Some(bundle) = Bundle::new("deaf", "exit 0") else { return };
    let socket = Socket::new(bundle.path().join("console.sock"));
    let path = socket.path.clone();
    drop(socket);
    let output = bundle.tare(&["create", "--console-socket", path.to_str().unwrap(), &bundle.id]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("connection refused"), "{text}");
    let left = bundle.tare(&["state", &bundle.id]);
    assert!(String::from_utf8(left.stderr).unwrap().contains("does not exist"));
}

/// Somebody who listens and never accepts: a connect to a socket whose queue is full waits for ever. So it is with the
/// agent of seccomp notifications and the socket for a pidfd, which are connected to by the same function.
#[test]
fn a_console_socket_at_which_nobody_accepts_is_not_waited_for_without_end() {
    let Some(bundle) = Bundle::new("busy", "exit 0") else { return };
    let socket = Socket::new(bundle.path().join("console.sock"));
    let queue: Vec<_> = (0..5000).map_while(|_| connect_at_once(&socket.path)).collect();
    let begun = std::time::Instant::now();
    let output = bundle.tare(&["create", "--console-socket", socket.path.to_str().unwrap(), &bundle.id]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("connect to console socket"), "{} in the queue: {text}", queue.len());
}

/// None where the queue is full.
fn connect_at_once(path: &Path) -> Option<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    connect(stream.as_raw_fd(), &UnixAddr::new(path).unwrap()).ok().map(|()| stream)
}

#[test]
fn exec_with_a_terminal_of_its_own() {
    let Some(bundle) = Bundle::new("exec", "") else { return };
    bundle.start_sleeping();
    let script = "tty; read line; echo \"[$line]\"; stty size; exit 7";
    let exec = ["exec", "--tty", &bundle.id, "/bin/sh", "-c", script];
    let (process, mut line, peer) = bundle.at_terminal(&exec, SIZE);
    let before = tty::mode(peer.as_fd()).unwrap();
    line.expect("/dev/pts/0\r\n");
    line.write("typed\r");
    line.expect("[typed]\r\n");
    line.expect("31 97\r\n");
    assert_eq!(process.code(), 7);
    assert_eq!(tty::mode(peer.as_fd()).unwrap(), before);
}

#[test]
fn exec_detached_sends_its_terminal_to_the_console_socket() {
    let Some(bundle) = Bundle::new("exec-detached", "") else { return };
    bundle.start_sleeping();
    let rest = [&*bundle.id, "/bin/sh", "-c", "tty; read line; echo \"[$line]\""];
    let (mut line, name) = bundle.with_socket(&["exec", "--detach", "--tty"], &rest);
    assert_eq!(name, "/dev/pts/0");
    line.expect("/dev/pts/0\r\n");
    line.write("typed\r");
    line.expect("[typed]\r\n");
}

#[test]
fn without_a_terminal_the_standard_streams_are_the_callers() {
    let Some(bundle) = Bundle::new("pipes", "cat; exit 4") else { return };
    let bundle = bundle.terminal(false);
    let (process, mut typed, mut printed) = bundle.on_pipes(&["run", &bundle.id]);
    typed.write("through\n");
    drop(typed);
    assert_eq!(printed.rest(), "through\n");
    assert_eq!(process.code(), 4);
}

#[test]
fn signals_to_an_attached_run_or_exec_reach_the_process() {
    let script = "trap 'exit 6' TERM; echo ready; while :; do sleep 0.1; done";
    let Some(bundle) = Bundle::new("signals", script) else { return };
    let bundle = bundle.terminal(false);
    let (process, _typed, mut printed) = bundle.on_pipes(&["run", &bundle.id]);
    printed.expect("ready\n");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.code(), 6);

    bundle.start_sleeping();
    let exec = ["exec", &bundle.id, "/bin/sh", "-c", script];
    let (process, _typed, mut printed) = bundle.on_pipes(&exec);
    printed.expect("ready\n");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.code(), 6);
    let exec = ["exec", &bundle.id, "/bin/sh", "-c", "kill -9 $$"];
    assert_eq!(bundle.on_pipes(&exec).0.code(), 137);
}

#[test]
fn a_console_that_the_image_makes_a_symlink_leads_nowhere() {
    // CVE-2025-52565. The rootfs brings /dev: no tmpfs is mounted on it.
    let Some(bundle) = Bundle::new("symlink", "exit 0") else { return };
    let dev = bundle.path().join("rootfs/dev");
    fs::create_dir_all(dev.join("pts")).unwrap();
    bundle.change(|config| {
        let kept = |mount: &Value| {
            !mount["destination"].as_str().unwrap().starts_with("/dev") || mount["destination"] == "/dev/pts"
        };
        config["mounts"].as_array_mut().unwrap().retain(kept);
        config["root"]["readonly"] = json!(false);
    });
    let canary = bundle.path().join("canary");
    for target in ["/proc/sysrq-trigger", "../../canary", canary.to_str().unwrap(), "nowhere"] {
        let console = dev.join("console");
        let _ = fs::remove_file(&console);
        symlink(target, &console).unwrap();
        let (process, mut line, _peer) = bundle.at_terminal(&["run", &bundle.id], SIZE);
        assert_eq!(process.code(), 1, "{target}");
        line.expect("/dev/console");
        assert!(!canary.exists(), "{target}");
        assert!(console.is_symlink() && !dev.join("nowhere").exists(), "{target}");
    }
}
