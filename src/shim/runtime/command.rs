//! The runtime's program and its command lines.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::fcntl::{AT_FDCWD, OFlag};

use super::log_file;
use super::options::Options;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::shielded::{clone_read_only, open_cloned};
use crate::sys::spawn::{Program, spawn_in_place, wait};

/// The state of containers, one directory for each namespace of containerd: where its own shim has it.
const ROOT: &str = "/run/containerd/runc";

/// A runtime, as the options of a container describe it.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    program: CString,
    root: PathBuf,
    pub(crate) options: Options,
}

/// A command line of the runtime, to be started.
pub(crate) struct Call {
    pub(crate) args: Vec<CString>,
    pub(crate) log: PathBuf,
}

impl Runtime {
    pub(crate) fn new(options: Options, namespace: &str) -> Result<Self> {
        let program = find(&options.binary_name)?;
        let root = if options.root.is_empty() { ROOT } else { &options.root };
        Ok(Self { program: c_string(program)?, root: Path::new(root).join(namespace), options })
    }

    /// The directory that has one entry for each container.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The command line of a verb: `words` come after the global options.
    pub(crate) fn call<S: AsRef<OsStr>>(
        &self,
        log: &Path,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Call> {
        let mut args = vec![self.program.clone()];
        let mut add = |word: &OsStr| c_string(word.to_owned()).map(|word| args.push(word));
        for word in [OsStr::new("--root"), self.root.as_os_str(), OsStr::new("--log"), log.as_os_str()] {
            add(word)?;
        }
        add(OsStr::new("--log-format"))?;
        add(OsStr::new("json"))?;
        if self.options.systemd_cgroup {
            add(OsStr::new("--systemd-cgroup"))?;
        }
        for word in words {
            add(word.as_ref())?;
        }
        Ok(Call { args, log: log.to_owned() })
    }

    /// The runtime's file.
    pub(crate) fn program(&self) -> &CStr {
        &self.program
    }

    /// Starts a command line, of the `sealed` program where there is one. It ends with us: nobody would know of what it
    /// makes then.
    pub(crate) fn start(
        &self,
        call: &Call,
        dir: &Path,
        stdio: [BorrowedFd<'_>; 3],
        sealed: Option<BorrowedFd<'_>>,
    ) -> Result<i32> {
        let dir = c_string(dir.as_os_str().to_owned())?;
        let env = environment();
        let program = Program {
            path: &self.program,
            args: &call.args,
            env: &env,
            dir: Some(&dir),
            stdio,
            more: &[],
            ends_with_us: true,
        };
        spawn_in_place(&program, sealed)
            .with_context(|| format!("starting {}", self.program.to_string_lossy()))
    }

    /// Kills and removes a container, and waits for it: for `delete`, which has nothing else to do.
    pub(crate) fn delete_by_force(&self, id: &str, bundle: &Path) -> Result<()> {
        let log = bundle.join("log.json");
        let before = log_file::length(&log);
        let call = self.call(&log, ["delete", "--force", id])?;
        let null = null()?;
        let dir = if bundle.is_dir() { bundle } else { Path::new("/") };
        let pid = self.start(&call, dir, [null.as_fd(), null.as_fd(), null.as_fd()], None)?;
        let status = wait(pid).context("waiting for the runtime")?;
        if status.success() {
            return Ok(());
        }
        let said = log_file::last_error(&log, before).unwrap_or_else(|| status.to_string());
        Err(fail!(Kind::Child, "{said}"))
    }

    /// What the runtime says to `features`.
    pub(crate) fn features(&self) -> Result<Vec<u8>> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("making a pipe")?;
        let null = null()?;
        let call = Call { args: vec![self.program.clone(), c"features".to_owned()], log: PathBuf::new() };
        let pid = self.start(&call, Path::new("/"), [null.as_fd(), writer.as_fd(), null.as_fd()], None)?;
        drop(writer);
        let mut said = Vec::new();
        File::from(reader).read_to_end(&mut said).context("reading the runtime's features")?;
        let status = wait(pid).context("waiting for the runtime")?;
        if status.success() { Ok(said) } else { Err(fail!(Kind::Child, "features: {status}")) }
    }
}

/// Finds the runtime: the one that the options name, otherwise `tare`, beside the shim or in PATH.
fn find(name: &str) -> Result<OsString> {
    if name.contains('/') {
        return Ok(name.into());
    }
    if name.is_empty() {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(|dir| dir.join("tare"));
        if let Some(beside) = beside.filter(|file| file.is_file()) {
            return Ok(beside.into());
        }
    }
    let name = if name.is_empty() { "tare" } else { name };
    let path = std::env::var_os("PATH")
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_program(file));
    found.map(PathBuf::into_os_string).ok_or_else(|| {
        fail!(Kind::NotFound, "the runtime {name} is neither beside the shim nor in its PATH")
            .with_hint("install it there, or name it in the option BinaryName")
    })
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Ours, without the socket by which systemd is told that a service is ready: that is containerd's.
pub(crate) fn environment() -> Vec<CString> {
    let ours = std::env::vars_os().filter(|(name, _)| name != "NOTIFY_SOCKET");
    ours.filter_map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        CString::new(name.into_vec()).ok()
    })
    .collect()
}

fn c_string(word: OsString) -> Result<CString> {
    let shown = OsStr::from_bytes(word.as_bytes()).to_string_lossy().into_owned();
    CString::new(word.into_vec()).map_err(|_| fail!(Kind::Usage, "{shown:?} holds a NUL"))
}

/// Opens /dev/null for a process: on a read-only mount, as the runtime would otherwise do for each (`launch/streams.rs`).
pub(crate) fn null_on_read_only_mount() -> Result<File> {
    static ROOT: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let clone = clone_read_only(AT_FDCWD.as_fd(), c"/dev/null").ok()?;
        // The clone's root, and not the clone: as with the runtime's program.
        open_cloned(&clone, OFlag::O_PATH).ok()
    });
    // Not a copy of the descriptor: processes of two containers would share its flags and locks.
    match root {
        Some(root) => open_cloned(root, OFlag::O_RDWR).map(File::from).context("opening /dev/null"),
        None => null(),
    }
}

/// Opens /dev/null for both directions.
pub(crate) fn null() -> Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null").context("opening /dev/null")
}
