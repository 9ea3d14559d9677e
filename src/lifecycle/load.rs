//! Loads what several verbs need: a bundle with the facts of the host, or an existing container; and runs
//! hooks.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::Mode;
use oci_spec::runtime::Process as SpecProcess;

use super::options::{Globals, Rootless};
use crate::bundle::{read_config, read_config_file, read_document, read_standard_input};
use crate::cgroup::{Group, HierarchyRoots, Manager};
use crate::container::record::ProcessIdentity;
use crate::container::status::{Observation, ProcessStat, observe};
use crate::container::{Entry, Record, Status, Store};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::fail;
use crate::host::probe::{Needed, NeededCgroup, read_facts};
use crate::host::{Facts, user_namespace};
use crate::init::hook;
use crate::log;
use crate::plan::annotations;
use crate::plan::hooks::Hook;
use crate::plan::process::ProcessPlan;
use crate::spec::CheckedSpec;
use crate::timeline::{Phase, begin};

/// A bundle with a checked configuration, and the facts of this host that the plan needs.
pub(crate) struct Bundle {
    /// Absolute and canonical.
    pub path: PathBuf,
    pub spec: CheckedSpec,
    /// The bytes of config.json, of which the state directory keeps a copy.
    pub bytes: Vec<u8>,
    pub facts: Facts,
}

/// Loads the bundle at `path`, or in the current directory. `config` is read instead of its config.json.
pub(crate) fn bundle(path: Option<&Path>, config: Option<&Path>) -> Result<Bundle> {
    let path = canonical(path.unwrap_or_else(|| Path::new(".")))?;
    if path.to_str().is_none() {
        return Err(fail!(
            Kind::Usage,
            "bundle {}: the path is not UTF-8, as JSON needs it for the state",
            path.display()
        ));
    }
    let (spec, bytes) = match config {
        Some(config) => read_config_file(config)?,
        None => read_config(&path)?,
    };
    let linux = spec.linux().as_ref();
    // A relative path starts at our own group; so do the paths of rootless and of systemd's cgroups.
    let names_whole_path =
        linux.and_then(|linux| linux.cgroups_path().as_ref()).is_some_and(|path| path.is_absolute());
    let needed = Needed {
        cgroup: if names_whole_path { NeededCgroup::Hierarchies } else { NeededCgroup::OwnGroup },
        seccomp: linux.is_some_and(|linux| linux.seccomp().is_some()),
        resctrl: linux.is_some_and(|linux| linux.intel_rdt().is_some()),
        labels: spec.process().as_ref().is_some_and(is_labelled)
            || linux.is_some_and(|linux| linux.mount_label().is_some()),
    };
    Ok(Bundle { path, spec, bytes, facts: read_facts(needed)? })
}

/// Returns the directory's own path, without links and dots, as runc records it: the given path may lead
/// elsewhere later.
pub(crate) fn canonical(path: &Path) -> Result<PathBuf> {
    let doing = || format!("bundle {}", path.display());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = match openat(AT_FDCWD, path, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Err(missing_bundle(path)),
        other => other.with_context(doing)?,
    };
    // This is one call, where realpath(3) makes one for each component.
    let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
    nix::fcntl::readlink(&*link).map(PathBuf::from).with_context(doing)
}

fn missing_bundle(path: &Path) -> Error {
    let hint =
        "a bundle is a directory with config.json, which `tare spec -b DIR` writes, and a root file system";
    Error::new(Kind::System(Errno::ENOENT), "no such directory")
        .context(format!("bundle {}", path.display()))
        .with_hint(hint)
}

/// Whether the process has an AppArmor profile or a SELinux label.
pub(crate) fn is_labelled(process: &SpecProcess) -> bool {
    process.apparmor_profile().is_some() || process.selinux_label().is_some()
}

/// Whether errors about cgroup permissions are ignored and, with systemd, whether the user's own manager is
/// used. Root of a user namespace counts as unprivileged, unless it owns the system's manager.
pub(crate) fn rootless(globals: &Globals, manager: Manager) -> Result<bool> {
    Ok(match globals.rootless {
        Rootless::Yes => true,
        Rootless::No => false,
        Rootless::Auto if !nix::unistd::geteuid().is_root() => true,
        Rootless::Auto if !user_namespace::in_user_namespace()? => false,
        Rootless::Auto => manager != Manager::Systemd || !user_namespace::system_manager_is_ours(),
    })
}

/// Reads a document from a path that a verb was given. `-` is standard input.
///
/// # Errors
/// `Kind::Spec` for one of more than 16 MiB.
pub(crate) fn read_input(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") { read_standard_input() } else { read_document(path) }
}

/// An existing container: its directory, its record, its status.
#[derive(Clone)]
pub(crate) struct LoadedContainer {
    pub entry: Entry,
    pub record: Record,
    pub status: Status,
}

/// Returns the state directory of a container, whether it exists or not.
pub(crate) fn entry(globals: &Globals, id: &ContainerId) -> Entry {
    Store::new(&globals.root, globals.root_in_xdg).entry(id)
}

/// Loads a container by its id.
///
/// # Errors
/// `Kind::NotFound` if it does not exist.
pub(crate) fn container(globals: &Globals, id: &ContainerId) -> Result<LoadedContainer> {
    from_entry(entry(globals, id))
}

/// Loads a container from its state directory.
pub(crate) fn from_entry(entry: Entry) -> Result<LoadedContainer> {
    begin(Phase::ReadRecord);
    from_entry_with(entry, &mut HierarchyRoots::default())
}

/// Loads a container like [`from_entry`], for many containers: the host's hierarchies are looked up once.
pub(crate) fn from_entry_with(entry: Entry, hierarchies: &mut HierarchyRoots) -> Result<LoadedContainer> {
    let mut record = entry.read_record()?;
    let mut now = status(&entry, &record, hierarchies)?;
    if record.init.is_none() && now == Status::Stopped {
        // Its creator has ended; it may have finished the creation since the record was read.
        record = entry.read_record()?;
        now = status(&entry, &record, hierarchies)?;
    }
    Ok(LoadedContainer { entry, record, status: now })
}

/// Loads a container like [`from_entry`], with a record that is already known.
pub(crate) fn from_record(entry: Entry, record: Record) -> Result<LoadedContainer> {
    let status = status(&entry, &record, &mut HierarchyRoots::default())?;
    Ok(LoadedContainer { entry, record, status })
}

/// Computes the status of a container from its processes, its fifo and its cgroup. If one of them cannot be
/// read, this is an error.
fn status(entry: &Entry, record: &Record, hierarchies: &mut HierarchyRoots) -> Result<Status> {
    let look =
        |process: Option<ProcessIdentity>| process.map_or(Ok(None), |process| ProcessStat::read(process.pid));
    let init = look(record.init)?;
    let group = record.cgroup.as_ref().map(Group::from_record).filter(|_| init.is_some());
    let probe = Observation {
        init,
        creator: look(Some(record.creator).filter(|_| record.init.is_none()))?,
        exec_fifo: entry.has_exec_fifo()?,
        frozen: group.map_or(Ok(false), |group| is_frozen(&group, hierarchies))?,
    };
    observe(record, &probe)
}

fn is_frozen(group: &Group, hierarchies: &mut HierarchyRoots) -> Result<bool> {
    match group.is_frozen_in(hierarchies) {
        // The hierarchy is no longer mounted here, so the group is not visible.
        Err(error) if error.kind() == Kind::Unsupported || error.errno() == Some(Errno::ENOENT) => Ok(false),
        other => other,
    }
}

impl LoadedContainer {
    /// Returns the container's cgroup, from the record.
    pub(crate) fn group(&self) -> Result<Group> {
        let record = self.record.cgroup.as_ref();
        record.map(Group::from_record).ok_or_else(|| match self.record.init {
            Some(_) => Error::new(Kind::State, "container has no cgroup"),
            // Nor a process: its record is of another boot.
            None => not_running(),
        })
    }

    /// Opens a pidfd of the first process.
    ///
    /// # Errors
    /// `Kind::State`, `matched::NOT_RUNNING`, if the process has ended.
    pub(crate) fn pidfd(&self) -> Result<OwnedFd> {
        self.pidfd_if_alive()?.ok_or_else(not_running)
    }

    /// Opens a pidfd of the first process; `None` if the process has ended. Only the kernel's answer counts
    /// as its end.
    pub(crate) fn pidfd_if_alive(&self) -> Result<Option<OwnedFd>> {
        let Some(init) = self.record.init else { return Ok(None) };
        let opened = match crate::sys::process::pidfd_open(init.pid) {
            Err(Errno::ESRCH) => return Ok(None),
            other => other,
        };
        // Compared after the pidfd is open: before, the pid could have become another process's.
        if !init.is_alive()? {
            return Ok(None);
        }
        opened.map(Some).with_context(|| format!("open process {}", init.pid))
    }

    /// Returns the pid of the first process.
    pub(crate) fn pid(&self) -> Result<i32> {
        self.record.init.map(|init| init.pid).ok_or_else(not_running)
    }
}

fn not_running() -> Error {
    Error::new(Kind::State, matched::NOT_RUNNING)
}

/// Writes the flags of the seccomp filter to the debug log, as runc does: without TSYNC.
pub(crate) fn log_filter(plan: &ProcessPlan) {
    if let Some(filter) = &plan.seccomp {
        let flags = filter.flags & !libc::SECCOMP_FILTER_FLAG_TSYNC;
        log::debug(format_args!("seccomp filter flags: {flags}"));
    }
}

/// Runs hooks in the runtime's namespaces, up to the first failure. Their output goes to the files that an
/// annotation names, or to the debug log. Hooks of a creation run in the bundle directory, as with runc, the
/// others in our working directory.
pub(crate) fn run_hooks(
    kind: &'static str,
    hooks: &[Hook],
    document: &[u8],
    record: &Record,
    bundle: Option<&Path>,
) -> Result<()> {
    run_hooks_with(kind, hooks, document, record, bundle, |failed| Err(fail!(Kind::Child, "{}", failed.text)))
}

/// Runs all hooks, even after failures, which are warnings (runtime.md, "Lifecycle").
pub(crate) fn run_each_hook(
    kind: &'static str,
    hooks: &[Hook],
    document: &[u8],
    record: &Record,
    bundle: Option<&Path>,
) -> Result<()> {
    run_hooks_with(kind, hooks, document, record, bundle, |failed| {
        log::warn(format_args!("{}", failed.text));
        Ok(())
    })
}

/// Runs hooks one after the other. `on_failure` decides whether the others still run after a failure.
fn run_hooks_with(
    kind: &'static str,
    hooks: &[Hook],
    document: &[u8],
    record: &Record,
    bundle: Option<&Path>,
    on_failure: impl Fn(hook::HookError) -> Result<()>,
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let dir = bundle.map(|path| CString::new(path.as_os_str().as_bytes())).transpose();
    let dir = dir.map_err(|_| fail!(Kind::Usage, "the path of the bundle contains a NUL character"))?;
    let files = annotations::read(|key| record.annotations.get(key))?.hook_output;
    let files = hook_files(&files)?;
    let output = files.each_ref().map(|file| file.as_ref().map(AsFd::as_fd));
    let setting = hook::HookOptions { env: None, dir: dir.as_deref(), output };
    for (index, run) in hook::run_each(kind, hooks, document, setting).enumerate() {
        match run {
            Ok(output) => log_output(kind, index, &output),
            Err(failed) => on_failure(failed)?,
        }
    }
    Ok(())
}

fn log_output(kind: &str, index: usize, output: &hook::Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    log::debug(format_args!("{kind} hook #{index}: stdout: {stdout}, stderr: {stderr}"));
}

/// Opens the files that hooks append their stdout and stderr to. A fifo that nobody reads is an error: waiting for
/// a reader, nobody could create or delete the container.
pub(crate) fn hook_files(paths: &[Option<CString>; 2]) -> Result<[Option<OwnedFd>; 2]> {
    let open = |path: &Option<CString>| {
        let Some(path) = path else { return Ok(None) };
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let opened =
            nix::fcntl::open(path.as_c_str(), flags | OFlag::O_NONBLOCK, Mode::from_bits_truncate(0o600));
        // The hook itself may wait for who reads.
        let file = opened.and_then(|file| fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND)).map(|_| file));
        let file = file.with_context(|| format!("open {} for the output of hooks", path.to_string_lossy()));
        file.map(Some).map_err(|error| match error.errno() {
            Some(Errno::ENXIO) => error.with_hint("it is a fifo that nobody reads"),
            _ => error,
        })
    };
    let [out, err] = paths;
    Ok([open(out)?, open(err)?])
}
