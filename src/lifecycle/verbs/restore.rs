//! `restore`: makes a new container from the images of a checkpoint. CRIU makes its namespaces, mounts and
//! processes; the id, the cgroup, the hooks and the record are made here, as for `create`.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use procfs::ProcessCGroup;

use crate::cgroup::Group;
use crate::container::record::{ProcessIdentity, Record};
use crate::container::status::ProcessStat;
use crate::container::{Entry, Store};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::init::hook_state::HookState;
use crate::inroot::Root;
use crate::kernel::namespace::CLONE_NEWTIME;
use crate::launch::console;
use crate::launch::criu::options::*;
use crate::launch::criu::wire::Message;
use crate::launch::criu::{Criu, Event, Verb};
use crate::launch::foreground::Foreground;
use crate::launch::rdt;
use crate::launch::streams::{self, Replaced};
use crate::lifecycle::creation::{self, CreateMode};
use crate::lifecycle::criu_directories::CriuDirectories;
use crate::lifecycle::criu_request::{self, external};
use crate::lifecycle::load::{self, Bundle};
use crate::lifecycle::options::{Create, Globals, Restore};
use crate::lifecycle::{cleanup, out_of_memory, pid_file};
use crate::plan::Plan;
use crate::plan::mounts::{Mount, MountOperation};
use crate::plan::namespaces::Namespace;
use crate::spec;
use crate::spec::strict::{self, Spelling};
use crate::sys::process::pidfd_open;
use crate::sys::socket::{connect, send_fd};

const LOG: &str = "restore.log";

/// Restores the container. Returns the exit status of its process, and 0 with `--detach`.
pub(crate) fn restore(globals: &Globals, id: &ContainerId, options: &Restore) -> Result<i32> {
    criu_request::warn_rootless("restore");
    let bundle = load::bundle(options.bundle.as_deref(), None)?;
    let create = Create {
        console_socket: options.console_socket.clone(),
        no_pivot: options.no_pivot,
        ..Create::default()
    };
    let plan = creation::make_plan(
        globals,
        id,
        &create,
        &bundle,
        CreateMode { detach: options.detach, wait_for_start: false },
    )?;
    let directories = CriuDirectories::open(&options.criu, LOG)?;
    let mut record = creation::initial_record(&bundle, &plan)?;
    let foreground = if options.detach { None } else { Some(Foreground::prepare(!options.no_subreaper)?) };
    let (entry, lock) = Store::new(&globals.root, globals.root_in_xdg).reserve(id)?;
    let group = creation::record_and_make_cgroup(&plan, &entry, &mut record);
    let group = group.inspect_err(|_| cleanup::undo_creation(&entry, &record, None, None))?;
    let context = RestoreContext {
        options,
        bundle: &bundle,
        plan: &plan,
        directories: &directories,
        entry: &entry,
        group: &group,
    };
    let restored = context.restore(&mut record).inspect_err(|_| directories.tell_errors());
    let master = restored.inspect_err(|_| cleanup::undo_creation(&entry, &record, Some(&group), None))?;
    let (Some(foreground), Some(init)) = (foreground, record.init) else { return Ok(0) };
    drop(lock);
    let pidfd = pidfd_open(init.pid).context("hold the restored process")?;
    let status = foreground.wait(init.pid, pidfd.as_fd(), master);
    if let Ok(status) = status {
        out_of_memory::tell(&group, status);
    }
    let removed = cleanup::remove_attached_container(&entry, &record).context("delete the container");
    status.and_then(|status| removed.map(|()| status))
}

/// Everything that is ready before CRIU is called.
struct RestoreContext<'a> {
    options: &'a Restore,
    bundle: &'a Bundle,
    plan: &'a Plan,
    directories: &'a CriuDirectories,
    entry: &'a Entry,
    group: &'a Group,
}

impl RestoreContext<'_> {
    /// Restores the processes. Returns the master of the terminal, if this process forwards it.
    fn restore(&self, record: &mut Record) -> Result<Option<OwnedFd>> {
        let &Self { options, bundle, plan, entry, group, .. } = self;
        group.apply(&plan.cgroup)?;
        if let Some(owner) = plan.delegation.owner {
            group.delegate_to(owner)?;
        }
        if let Some(rdt) = &plan.rdt {
            rdt::make(rdt)?;
        }
        entry.keep_config(&bundle.bytes)?;
        make_mount_points(plan)?;
        let root = RestoreRoot::mount(&record.rootfs, &entry.restore_root())?;
        let namespaces = open_namespaces(plan)?;
        let keep: Vec<_> = namespaces.iter().map(|(_, file)| file.as_fd()).collect();
        // CRIU puts them in the place of those that were saved.
        streams::shield(Replaced::Nothing)?;
        let criu = Criu::start(&keep, true)?;
        group.join(criu.pid())?;
        let mut request = self.request(record, &root.0)?;
        for (namespace, file) in &namespaces {
            request = inherit(request, criu_request::key(*namespace), file.as_raw_fd());
        }
        for (controllers, path) in cgroups_of(criu.pid())? {
            request = external(CG_ROOT, controllers.as_bytes(), path.as_bytes(), request);
        }
        let state = HookState::new(spec::VERSION, &plan.id, &bundle.path, &record.annotations);
        let mut master = None;
        criu.ask(Verb::Restore, &request, &mut |event| self.on_event(event, &state, record, &mut master))?;
        let pid = record.init.map(|init| init.pid);
        let pid = pid.ok_or_else(|| fail!(Kind::Child, "criu did not tell the restored process"))?;
        if let Some(below) = &plan.delegation.subgroup {
            group.move_into_subgroup(below, pid, plan.delegation.owner)?;
        }
        if let Some(rdt) = &record.rdt {
            rdt::join(rdt, pid)?;
        }
        options.pid_file.as_ref().map_or(Ok(()), |path| pid_file::write(path, pid))?;
        Ok(master)
    }

    fn request(&self, record: &Record, root: &Path) -> Result<Message> {
        let &Self { options, plan, directories, .. } = self;
        let mut request = criu_request::options(&options.criu, directories, LOG, record)
            .text(ROOT, &root.to_string_lossy())
            .switch(EVASIVE_DEVICES, true)
            .switch(RST_SIBLING, true);
        if let Some((kind, name)) = &options.lsm_profile {
            request = request.text(LSM_PROFILE, &format!("{kind}:{name}"));
        }
        if let Some(context) = &options.lsm_mount_context {
            request = request.text(LSM_MOUNT_CONTEXT, context);
        }
        for (inside, outside) in criu_request::external_mounts(plan)? {
            request = external(EXT_MNT, &inside, &outside, request);
        }
        if !plan.masked_paths.is_empty() {
            request = external(EXT_MNT, b"/dev/null", b"/dev/null", request);
        }
        for join in plan.namespaces.joins.iter().filter(|join| !criu_request::stays(join.namespace)) {
            if join.namespace == Namespace::CGROUP {
                let why = "CRIU cannot restore into a cgroup namespace that exists";
                return Err(fail!(Kind::Unsupported, "/linux/namespaces/{}: {why}", join.index));
            }
            let name = if join.namespace == Namespace::MOUNT { "mnt" } else { join.namespace.name() };
            let message = Message::default().text(1, name).bytes(2, join.path.to_bytes());
            request = request.message(JOIN_NS, &message);
        }
        // More names, of a stranger's file, would be descriptors of ours.
        for (number, name) in (0..3).zip(read_descriptors(directories)?) {
            if name.contains("pipe:") {
                request = inherit(request, &name, number);
            }
        }
        Ok(request)
    }

    fn on_event(
        &self,
        event: Event,
        state: &HookState,
        record: &mut Record,
        master: &mut Option<OwnedFd>,
    ) -> Result<()> {
        let hooks = &self.plan.hooks;
        match (&*event.name, event.fd) {
            ("setup-namespaces", _) => {
                let (document, dir) = (state.to_json("creating", event.pid), Some(&*self.bundle.path));
                load::run_hooks("prestart", &hooks.prestart, &document, record, dir)?;
                load::run_hooks("createRuntime", &hooks.create_runtime, &document, record, dir)
            }
            ("post-restore", _) => {
                let start =
                    ProcessStat::read_existing(event.pid).context("remember the restored process")?.start;
                record.init = Some(ProcessIdentity { pid: event.pid, start });
                if own_time_namespace(event.pid) {
                    record.namespaces |= CLONE_NEWTIME;
                }
                self.entry.write_record(record)
            }
            ("orphan-pts-master", Some(fd)) => self.hand_over_terminal(fd, master),
            _ => Ok(()),
        }
    }

    /// Sends the terminal to the console socket. Without one, this process forwards it.
    fn hand_over_terminal(&self, fd: OwnedFd, master: &mut Option<OwnedFd>) -> Result<()> {
        let Some(path) = &self.options.console_socket else {
            console::adopt(fd.as_fd())?;
            *master = Some(fd);
            return Ok(());
        };
        let doing = || format!("send the terminal to console socket {}", path.display());
        let socket = connect(path.as_os_str()).with_context(doing)?;
        send_fd(socket.as_fd(), b"orphan-pts-master", fd.as_fd()).map(drop).with_context(doing)
    }
}

fn inherit(request: Message, key: &str, fd: i32) -> Message {
    request.message(INHERIT_FD, &Message::default().text(1, key).number(2, fd))
}

/// Reads the names that the standard streams had at the checkpoint.
fn read_descriptors(directories: &CriuDirectories) -> Result<Vec<String>> {
    let names = strict::from_slice(&directories.read_descriptors()?, Spelling::Exact);
    names.map_err(|error| Error::new(Kind::State, error)).context("read descriptors.json of the checkpoint")
}

/// Opens the namespaces that CRIU does not save. The container joins them by path.
fn open_namespaces(plan: &Plan) -> Result<Vec<(Namespace, File)>> {
    let joins = plan.namespaces.joins.iter().filter(|join| criu_request::stays(join.namespace));
    let open = |join: &crate::plan::namespaces::Join| {
        let path = criu_request::path_of(&join.path);
        let file = File::open(path).with_context(|| format!("open {}", path.display()));
        file.with_context(|| format!("/linux/namespaces/{}/path", join.index))
            .map(|file| (join.namespace, file))
    };
    joins.map(open).collect()
}

/// Returns the cgroups of a process: each controller with its path.
fn cgroups_of(pid: i32) -> Result<Vec<(String, String)>> {
    let process = procfs::process::Process::new(pid).and_then(|process| process.cgroups());
    let groups = process
        .map_err(|error| fail!(Kind::State, "{error}"))
        .with_context(|| format!("read /proc/{pid}/cgroup"))?;
    let by_controller = |group: ProcessCGroup| {
        let path = group.pathname;
        // The v2 tree has no controllers, and CRIU recognizes it by that.
        let names = if group.controllers.is_empty() { vec![String::new()] } else { group.controllers };
        names.into_iter().map(move |name| (name, path.clone()))
    };
    Ok(groups.into_iter().flat_map(by_controller).collect())
}

/// Whether the process is in another time namespace: CRIU makes one, so that clocks continue from the
/// checkpoint.
fn own_time_namespace(pid: i32) -> bool {
    let time_namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/time")).ok();
    time_namespace(&pid.to_string()) != time_namespace("self")
}

/// Makes the mount points that are missing in the rootfs, as at a creation: the bundle may be a new one.
fn make_mount_points(plan: &Plan) -> Result<()> {
    let root = Root::open(criu_request::path_of(&plan.rootfs.path)).context("open the rootfs")?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        // A mount point on another mount is made when that one is mounted.
        let is_below = |other: &Mount| {
            let prefix = [other.target.to_bytes(), b"/"].concat();
            mount.target.to_bytes().starts_with(&prefix)
        };
        if plan.mounts[..index].iter().any(is_below) || root.resolve(&mount.target, OFlag::O_PATH).is_ok() {
            continue;
        }
        let is_file = match &mount.operation {
            MountOperation::Bind { path, .. } => {
                fs::metadata(criu_request::path_of(path)).is_ok_and(|found| !found.is_dir())
            }
            MountOperation::Filesystem { .. } => false,
            MountOperation::Remount | MountOperation::Symlink { .. } => continue,
        };
        let made = match is_file {
            true => root.open_or_make_file(&mount.target, 0o644),
            false => root.mkdir_all(&mount.target, 0o755),
        };
        made.map(drop)
            .with_context(|| format!("{}: make {} for criu", mount.origin, mount.target.to_string_lossy()))?;
    }
    Ok(())
}

/// The rootfs as CRIU needs it: a mount of its own, in a place that no other mount covers.
struct RestoreRoot(PathBuf);

impl RestoreRoot {
    fn mount(rootfs: &Path, place: &Path) -> Result<Self> {
        let doing = || format!("mount the rootfs at {}", place.display());
        fs::create_dir(place).with_context(doing)?;
        let place = place.canonicalize().with_context(doing)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        let mounted = mount(Some(rootfs), &place, None::<&str>, flags, None::<&str>);
        mounted.with_context(doing)?;
        Ok(Self(place))
    }
}

impl Drop for RestoreRoot {
    fn drop(&mut self) {
        match umount2(&self.0, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL) => drop(fs::remove_dir(&self.0)),
            Err(_) => {}
        }
    }
}
