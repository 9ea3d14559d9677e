//! A store, a state directory, and namespaces for the network and the mounts, all of one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Fixture, Item, Packing, Scratch, archive, dir, file, symlink};

/// Waits up to twenty seconds.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) struct Machine {
    pub scratch: Scratch,
    /// Holds the namespaces.
    holder: Child,
    /// More for the environment.
    pub env: Vec<(String, String)>,
}

/// What a command has printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Answer {
    pub out: String,
    pub err: String,
    pub code: i32,
}

const APPLETS: [&str; 32] = [
    "sh", "true", "false", "echo", "cat", "id", "ls", "sleep", "env", "pwd", "hostname", "mount", "grep",
    "touch", "ip", "wget", "httpd", "nc", "printf", "wc", "head", "seq", "stat", "mkdir", "df", "stty",
    "kill", "ps", "test", "dd", "tr", "readlink",
];

/// The entries of a layer with busybox, two users, and a file that only its user reads.
pub(crate) fn busybox() -> Vec<Item> {
    let mut program = file("bin/busybox", "").mode(0o755);
    program.data = fs::read("/bin/busybox").or_else(|_| fs::read("/usr/bin/busybox")).unwrap();
    let mut items: Vec<Item> = ["bin", "etc", "root", "proc", "sys", "dev", "home"].map(dir).to_vec();
    items.push(dir("tmp").mode(0o1777));
    items.push(program);
    items.extend(APPLETS.map(|name| symlink(&format!("bin/{name}"), "busybox")));
    items.push(file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home:/bin/sh\n"));
    items.push(file("etc/group", "root:x:0:\napp:x:1001:\nadm:x:4:app\n"));
    items
}

impl Machine {
    /// Makes a machine whose image, `oci:image:latest`, has this configuration.
    pub(crate) fn new(name: &str, config: Value) -> Self {
        Self::with_layer(name, config, &busybox())
    }

    pub(crate) fn with_layer(name: &str, config: Value, layer: &[Item]) -> Self {
        let scratch = Scratch::new(&format!("run-{name}"));
        let mut fixture = Fixture::new(&scratch);
        fixture.config = config;
        fixture.layer(Packing::Plain, &archive(layer)).finish();
        let ready = scratch.join("ready");
        let script = format!(
            "mount -t tmpfs tmpfs /run && ip link set lo up && touch {} && exec sleep infinity",
            ready.display()
        );
        let holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("namespaces", || ready.exists());
        Self { scratch, holder, env: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A command in the namespaces.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id())).args(["--net", "--mount"]);
        command.arg(format!("--wdns={}", self.path().display())).arg(program).args(args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn output(&self, program: &str, args: &[&str]) -> Answer {
        answer(self.command(program, args).stdin(Stdio::null()).output().unwrap())
    }

    /// `tare-image VERB --store store ARGS`.
    pub(crate) fn image_command(&self, verb: &str, args: &[&str]) -> Command {
        let root = self.join("state").display().to_string();
        let mut words = vec![verb, "--store", "store"];
        if verb == "run" {
            words.extend(["--root", &root]);
        }
        words.extend(args);
        self.command(env!("CARGO_BIN_EXE_tare-image"), &words)
    }

    pub(crate) fn image(&self, verb: &str, args: &[&str]) -> Answer {
        answer(self.image_command(verb, args).stdin(Stdio::null()).output().unwrap())
    }

    /// `tare-image run --network none ARGS`.
    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.image("run", &[&["--network", "none"], args].concat())
    }

    /// `tare ARGS`, with the state directory of the test.
    pub(crate) fn tare(&self, args: &[&str]) -> Answer {
        let root = self.join("state").display().to_string();
        self.output(env!("CARGO_BIN_EXE_tare"), &[&["--root", &root], args].concat())
    }

    /// What a web server at a port of this machine answers; nothing if there is none.
    pub(crate) fn get(&self, port: u16) -> String {
        self.output("timeout", &["5", "busybox", "wget", "-qO-", &format!("http://127.0.0.1:{port}/")]).out
    }

    /// The names of the containers that have a directory.
    pub(crate) fn containers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.join("store/containers")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// What is left of containers that have ended, outside of the directories of those that are kept.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let here = self.path().display().to_string();
        let mounts = self.output("cat", &["/proc/self/mountinfo"]).out;
        left.extend(mounts.lines().filter(|line| line.contains(&here)).map(|line| format!("mount: {line}")));
        let state = fs::read_dir(self.join("state")).into_iter().flatten().flatten();
        left.extend(state.map(|entry| format!("state: {}", entry.path().display())));
        for rule in ["-tnat", "-tfilter"] {
            let rules = self.output("iptables", &["-w", rule, "-S"]).out;
            let own = |line: &&str| {
                line.contains("CNI-DN-")
                    || line.contains("id: \"")
                    || line.contains("10.87.")
                    || line.contains("TARE-")
            };
            left.extend(rules.lines().filter(own).map(|line| format!("rule: {line}")));
        }
        let devices = self.output("ip", &["-o", "link"]).out;
        left.extend(
            devices.lines().filter(|line| line.contains("veth")).map(|line| format!("device: {line}")),
        );
        let leases = self.output("sh", &["-c", "ls /run/tare-image/networks/tare 2>/dev/null"]).out;
        let is_lease = |name: &&str| name.starts_with(|c: char| c.is_ascii_digit());
        left.extend(leases.lines().filter(is_lease).map(|name| format!("lease: {name}")));
        left.extend(self.processes().into_iter().map(|(pid, command)| format!("process {pid}: {command}")));
        left
    }

    /// The processes whose command line names a directory of the test, or that are in a container of it.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let here = self.path().display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if pid != self.holder.id().cast_signed() && command.contains(&here) {
                found.push((pid, command));
            }
        }
        found
    }
}

pub(crate) fn answer(output: Output) -> Answer {
    use std::os::unix::process::ExitStatusExt;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0));
    Answer { out: text(output.stdout), err: text(output.stderr), code }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for name in self.containers() {
            self.image("remove", &["--force", &name]);
        }
        for (pid, _) in self.processes() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Whether the plugins of CNI are installed; where they are not, the test is skipped.
#[track_caller]
pub(crate) fn has_plugins() -> bool {
    let places = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
    let is_there = |name: &&str| places.iter().any(|place| Path::new(place).join(name).exists());
    let all = ["bridge", "host-local", "portmap"].iter().all(is_there);
    if !all {
        crate::skip::skip("needs containernetworking-plugins");
    }
    all
}
