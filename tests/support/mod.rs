//! A bundle with a busybox in it, the runtime that is tested, and what it leaves on the machine.
//!
//! Every bundle has a directory, a state directory (`--root`) and ids of its own, so tests run side by side. What a
//! test leaves behind goes with its [`Bundle`], also when the test fails.
// Each file of tests/ is a program of its own and uses a part of this.
#![allow(
    dead_code,
    unused_imports,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used
)]

pub(crate) mod machine;
pub(crate) mod run;
mod skip;

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) use run::Answer;
pub(crate) use skip::{skip, skip_part};

/// Where the ids of [`Bundle::user_namespace`] begin on the host.
pub(crate) const FIRST_ID: u32 = 100_000;

/// The runtime under test; TARE_TEST_RUNTIME names another one, to see what the tests say about it.
pub(crate) fn runtime() -> String {
    std::env::var("TARE_TEST_RUNTIME").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tare").into())
}

/// Tells that an attack goes well where nothing prevents it; integration/security/test looks for the words.
pub(crate) fn control_falls(what: &str) {
    println!("control falls: {what}");
}

/// A time limit of that many seconds, and of twenty times as many in the emulated machine.
pub(crate) fn timeout(seconds: u64) -> Duration {
    let times = if std::env::var_os("TARE_TEST_GUEST").is_some() { 20 } else { 1 };
    Duration::from_secs(times * seconds)
}

/// Waits up to ten seconds.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + timeout(10);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Finds a program of the host by name; None, which is recorded as a skip, where it is not installed.
#[track_caller]
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skip(&format!("needs {name}"));
    }
    found
}

/// Finds a program of the host by name, for a test that also does without it.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// A bundle and the state directory that its containers live in.
pub(crate) struct Bundle {
    pub dir: PathBuf,
    /// Unlike any other and in no other, since cgroups are named by it. Further containers of a test have ids that begin with it.
    pub id: String,
    pub config: Value,
    /// The runtime, where it is not the usual one.
    pub program: String,
    /// Global flags behind `--root`.
    pub globals: Vec<String>,
}

impl Bundle {
    /// None, which is recorded as a skip, where no container can be run.
    pub(crate) fn new() -> Option<Self> {
        Self::with(&runtime())
    }

    /// For a runtime of the caller's choice.
    pub(crate) fn with(program: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("needs root");
            return None;
        }
        Self::made(program, template(&[]))
    }

    /// What `spec --rootless` writes, for whoever runs the test.
    pub(crate) fn of_a_user(program: &str) -> Option<Self> {
        Self::made(program, template(&["--rootless"]))
    }

    fn made(program: &str, config: Value) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let busybox = busybox()?;
        let id = format!("tare-test-{}-{}t", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&id);
        make_rootfs(&dir.join("rootfs"), busybox);
        fs::create_dir_all(dir.join("state")).unwrap();
        let bundle = Self { config, program: program.into(), globals: Vec::new(), dir, id };
        bundle.write();
        Some(bundle)
    }

    /// Changes config.json.
    pub(crate) fn patch(&mut self, change: impl FnOnce(&mut Value)) -> &mut Self {
        change(&mut self.config);
        self.write();
        self
    }

    /// The program and its arguments.
    pub(crate) fn args(&mut self, args: &[&str]) -> &mut Self {
        self.patch(|config| config["process"]["args"] = json!(args))
    }

    /// A script as the container's process.
    pub(crate) fn script(&mut self, script: &str) -> &mut Self {
        self.args(&["sh", "-c", script])
    }

    /// The root filesystem can be written to.
    pub(crate) fn writable(&mut self) -> &mut Self {
        self.patch(|config| config["root"]["readonly"] = json!(false))
    }

    /// One more mount.
    pub(crate) fn mount(&mut self, mount: Value) -> &mut Self {
        self.patch(|config| config["mounts"].as_array_mut().unwrap().push(mount))
    }

    pub(crate) fn without_mount(&mut self, destination: &str) -> &mut Self {
        self.patch(|config| {
            config["mounts"].as_array_mut().unwrap().retain(|one| one["destination"] != destination);
        })
    }

    /// This namespace: the one at `path`, or a new one.
    pub(crate) fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        self.without_namespace(kind).patch(|config| {
            let mut namespace = json!({ "type": kind });
            if let Some(path) = path {
                namespace["path"] = json!(path);
            }
            config["linux"]["namespaces"].as_array_mut().unwrap().push(namespace);
        })
    }

    pub(crate) fn without_namespace(&mut self, kind: &str) -> &mut Self {
        self.patch(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != kind);
        })
    }

    /// A user namespace whose ids begin at [`FIRST_ID`] on the host; the directories of the rootfs belong to its root.
    pub(crate) fn user_namespace(&mut self) -> &mut Self {
        own_directories(&self.rootfs(), FIRST_ID);
        let map = json!([{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]);
        self.namespace("user", None).patch(|config| {
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        })
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    pub(crate) fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// A path in the bundle directory, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// What is in a file of the bundle directory; empty where it is missing.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    pub(crate) fn write(&self) {
        fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.state_root()).into_iter().flatten().flatten() {
            let id = entry.file_name();
            let _ = Command::new(&self.program)
                .arg("--root")
                .arg(self.state_root())
                .args(["delete", "--force"])
                .arg(id)
                .output();
        }
        machine::clean(&self.id);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What `spec` writes, without the terminal: nobody sits at these tests.
fn template(flags: &[&str]) -> Value {
    static TEMPLATE: OnceLock<Value> = OnceLock::new();
    let make = || {
        let dir = std::env::temp_dir().join(format!("tare-test-{}-template", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_tare"))
            .arg("spec")
            .args(flags)
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(done.status.success(), "tare spec: {}", String::from_utf8_lossy(&done.stderr));
        let mut config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["true"]);
        config
    };
    TEMPLATE.get_or_init(make).clone()
}

pub(crate) fn busybox() -> Option<&'static Path> {
    let found = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
    if found.is_none() {
        skip("needs busybox");
    }
    found
}

const APPLETS: &str = "sh ash awk basename cat chmod chown cp cut date dd dirname df echo env expr false find grep \
    groups head hostname id ifconfig ionice ip kill killall ln ls md5sum mkdir mkfifo mknod mktemp mount mv nc nice \
    nproc od pgrep ping pivot_root printenv printf ps pwd readlink realpath renice rm rmdir route sed seq setsid \
    setpriv sha256sum sleep sort stat stty sync tail taskset tee test timeout touch tr true tty umount uname uniq \
    unlink unshare uptime usleep wc which whoami xargs yes";

/// Directories, a busybox with its names, and an /etc.
fn make_rootfs(rootfs: &Path, busybox: &Path) {
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "var", "home/user"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    let binary = rootfs.join("bin/busybox");
    // A link: a copy would be open for writing in whatever another test forks just then (ETXTBSY).
    if fs::hard_link(busybox.canonicalize().unwrap(), &binary).is_err() {
        fs::copy(busybox, &binary).unwrap();
    }
    for name in APPLETS.split_whitespace() {
        symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        .unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
}

/// Not the files: the busybox is the host's.
fn own_directories(directory: &Path, id: u32) {
    lchown(directory, Some(id), Some(id)).unwrap();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            own_directories(&entry.path(), id);
        }
    }
}

/// The inode of a namespace of a process.
pub(crate) fn namespace_of(pid: &str, kind: &str) -> u64 {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino()
}
