//! Creates a container from a bundle, for `create`, `run` and `restore`: plan, record, cgroup, init process.

mod ignored;
mod init_process;
mod unmounted;

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::cleanup::undo_creation;
use super::examination;
use super::load::{self, Bundle};
use super::options::{Create, Globals};
use super::pid_file;
use crate::bundle::CONFIG;
use crate::cgroup::Group;
use crate::container::record::{self, ProcessIdentity, Record};
use crate::container::status::ProcessStat;
use crate::container::{Entry, Store};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Faults, Kind, Result};
use crate::init::hook_state::HookState;
use crate::launch::console::{self, Incoming};
use crate::launch::{Child, SpawnError, notify, preserved_fds, rdt};
use crate::log;
use crate::plan::namespaces::Namespace;
use crate::plan::service_manager::Activation;
use crate::plan::{Plan, Request};
use crate::timeline::{Phase, begin};
use crate::{fail, spec};
use init_process::CreateContext;
pub(super) use init_process::CreateMode;

/// A container whose init process is ready to execute, and whose record is written.
pub(super) struct CreatedContainer {
    pub entry: Entry,
    pub record: Record,
    pub group: Group,
    pub child: Child,
    pub plan: Plan,
    pub state: HookState,
    /// The terminal, if this process forwards it.
    pub console: Option<Incoming>,
}

impl CreatedContainer {
    /// Does the last step of the creation. If it fails, nothing is left of the container.
    pub(super) fn finish(self, step: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        step(&self).inspect_err(|_| self.undo())
    }

    /// Removes the container, its process and its cgroup.
    pub(super) fn undo(&self) {
        undo_creation(&self.entry, &self.record, Some(&self.group), Some(&self.child));
    }

    /// Returns the error that says why the init process failed.
    pub(super) fn spawn_error(&self, failure: SpawnError) -> Error {
        let error = init_process::spawn_error(failure, &self.plan, &self.group);
        let error = unmounted::with_hint(error, &self.record.bundle, &self.plan.rootfs.path);
        match self.entry.config() {
            Ok(config) => ignored::with_hint(error, &config, &self.record.bundle),
            Err(_) => error,
        }
    }
}

/// Creates a container, up to an init process that is ready to execute. If this fails, nothing is left of it.
pub(super) fn create_container(
    globals: &Globals,
    id: &ContainerId,
    options: &Create,
    mode: CreateMode,
) -> Result<CreatedContainer> {
    begin(Phase::ReadBundle);
    let bundle = load::bundle(options.bundle.as_deref(), options.config.as_deref())
        .map_err(|refusal| all_faults(refusal, globals, id, options))
        .map_err(|refusal| bundle_as_id(refusal, id, options))?;
    // Not dropped: freeing the parsed configuration costs time, and this process ends soon.
    let bundle = ManuallyDrop::new(bundle);
    begin(Phase::MakePlan);
    let plan = make_plan(globals, id, options, &bundle, mode)?;
    ignored::tell(&bundle.bytes);
    begin(Phase::ReserveId);
    let mut record = initial_record(&bundle, &plan)?;
    let (entry, _lock) = Store::new(&globals.root, globals.root_in_xdg).reserve(id)?;
    begin(Phase::MakeCgroup);
    let group = record_and_make_cgroup(&plan, &entry, &mut record);
    let group = group.inspect_err(|_| undo_creation(&entry, &record, None, None))?;
    let state = HookState::new(spec::VERSION, &plan.id, &bundle.path, &record.annotations);
    let context = CreateContext {
        plan: &plan,
        group: &group,
        state: &state,
        entry: &entry,
        bundle: &bundle,
        record: &record,
    };
    let spawned = init_process::spawn_init(options, mode, &context);
    let (child, console, devices) =
        spawned.inspect_err(|_| undo_creation(&entry, &record, Some(&group), None))?;
    begin(Phase::ServeInit);
    let ready = init_process::serve_until_ready(&child, &context, devices);
    let ready = ready
        .map_err(|failure| init_process::spawn_error(failure, &plan, &group))
        .map_err(|error| unmounted::with_hint(error, &bundle.path, &plan.rootfs.path))
        .map_err(|error| ignored::with_hint(error, &bundle.bytes, &bundle.path));
    record.init = Some(child.process);
    begin(Phase::WriteRecord);
    ready
        .and_then(|()| publish(options, &entry, &record, &child))
        .inspect_err(|_| undo_creation(&entry, &record, Some(&group), Some(&child)))?;
    Ok(CreatedContainer { entry, record, group, child, plan, state, console })
}

/// Tells who has given the bundle in place of the id.
fn bundle_as_id(refusal: Error, id: &ContainerId, options: &Create) -> Error {
    let is_bundle = || std::path::Path::new(&id.to_string()).join(crate::bundle::CONFIG).exists();
    match refusal.kind() == Kind::NotFound && options.bundle.is_none() && is_bundle() {
        true => refusal.with_hint(format!("{id} is a bundle here: `-b {id}`, then an id for the container")),
        false => refusal,
    }
}

/// Makes the plan of a container, and checks it against this host. After an error nothing on the machine has
/// changed.
pub(super) fn make_plan(
    globals: &Globals,
    id: &ContainerId,
    options: &Create,
    bundle: &Bundle,
    mode: CreateMode,
) -> Result<Plan> {
    let request = request(globals, id, options, bundle.path.clone())?;
    preserved_fds::check(request.activation.listen_fds, options.preserve_fds)?;
    let plan = crate::plan::plan_container(&bundle.spec, &bundle.facts, &request)
        .map_err(|refusal| with_rootfs(refusal, bundle))?;
    for unused in plan.process.seccomp.iter().flat_map(|filter| &filter.warnings) {
        log::debug(format_args!("{unused}"));
    }
    for warning in bundle.spec.warnings.iter().chain(&plan.warnings) {
        log::warn(format_args!("{warning}"));
    }
    load::log_filter(&plan.process);
    check_rootfs(&plan)?;
    console::check(plan.process.terminal.is_some(), mode.detach, options.console_socket.as_deref())?;
    Ok(plan)
}

/// What the command line asks for. `bundle` is absolute.
fn request<'a>(
    globals: &Globals,
    id: &'a ContainerId,
    options: &Create,
    bundle: PathBuf,
) -> Result<Request<'a>> {
    Ok(Request {
        id,
        bundle,
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        preserve_fds: options.preserve_fds,
        cgroup_manager: globals.cgroup_manager,
        rootless: load::rootless(globals, globals.cgroup_manager)?,
        activation: activation(globals, id),
    })
}

/// A configuration is refused before there is a plan: tells what else is wrong.
#[cold]
fn all_faults(refusal: Error, globals: &Globals, id: &ContainerId, options: &Create) -> Error {
    let Ok(path) = load::canonical(options.bundle.as_deref().unwrap_or_else(|| Path::new("."))) else {
        return refusal;
    };
    let config = options.config.clone().unwrap_or_else(|| path.join(CONFIG));
    match request(globals, id, options, path) {
        Ok(request) => examination::all_faults(refusal, &config, &request, examination::all_facts),
        Err(_) => refusal,
    }
}

/// The plan is refused: tells of the rootfs too.
#[cold]
fn with_rootfs(refusal: Error, bundle: &Bundle) -> Error {
    let mut faults = Faults::default();
    faults.push(refusal);
    if let Some(missing) = examination::missing_rootfs(&bundle.spec, &bundle.path) {
        faults.push(missing.into());
    }
    faults.error().unwrap_or_else(|| Error::new(Kind::Spec, "no plan"))
}

/// Reads what a service manager passes: sockets (sd_listen_fds(3)) and a socket for messages (sd_notify(3)).
fn activation(globals: &Globals, id: &ContainerId) -> Activation {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let ours = number("LISTEN_PID").is_some_and(|pid| pid == std::process::id());
    Activation {
        listen_fds: number("LISTEN_FDS").filter(|_| ours).unwrap_or(0),
        listen_names: std::env::var("LISTEN_FDNAMES").ok(),
        notify: notify::requested().map(|_| load::entry(globals, id).notify_directory()),
    }
}

fn check_rootfs(plan: &Plan) -> Result<()> {
    let path = plan.rootfs.path.to_string_lossy();
    match std::fs::metadata(&*path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(fail!(Kind::Spec, "/root/path: rootfs is not a directory: {path}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(fail!(Kind::Spec, "/root/path: rootfs {path}: no such directory"))
        }
        Err(error) => Err(Error::from(error)).with_context(|| format!("/root/path: rootfs {path}")),
    }
}

/// Makes the first record. It is written before the first side effect, so that `delete --force` knows what to
/// remove.
pub(super) fn initial_record(bundle: &Bundle, plan: &Plan) -> Result<Record> {
    let our_pid = nix::unistd::getpid().as_raw();
    let start = ProcessStat::read_own(our_pid).context("remember this process")?.start;
    let path = PathBuf::from(plan.rootfs.path.to_string_lossy().into_owned());
    let annotations = bundle.spec.annotations().iter().flatten();
    Ok(Record {
        version: record::VERSION,
        id: plan.id.clone(),
        bundle: bundle.path.clone(),
        rootfs: path,
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        creator: ProcessIdentity { pid: our_pid, start },
        boot: None,
        init: None,
        cgroup: Some(plan.cgroup.record()),
        rdt: plan.rdt.as_ref().map(rdt::to_record),
        namespaces: plan.namespaces.all_flags(),
        own_pid_namespace: plan.namespaces.makes(Namespace::PID),
        annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
        start_hooks: !plan.hooks.start_container.is_empty(),
        no_new_keyring: plan.process.keyring.is_none(),
        poststart: plan.hooks.poststart.clone(),
        poststop: plan.hooks.poststop.clone(),
    })
}

/// Writes the first record and makes the cgroup. The id is reserved: the directory of `entry` exists.
pub(super) fn record_and_make_cgroup(plan: &Plan, entry: &Entry, record: &mut Record) -> Result<Group> {
    record.boot = entry.boot_to_remember()?;
    entry.write_record(record)?;
    if notify::requested().is_some() {
        entry.make_notify_directory()?;
    }
    let group = plan.cgroup.create()?;
    // A rootless container may do without some hierarchies.
    record.cgroup = Some(group.record().clone());
    Ok(group)
}

/// Records the init process, then tells the engine about it.
fn publish(options: &Create, entry: &Entry, record: &Record, child: &Child) -> Result<()> {
    entry.write_record(record)?;
    if let Some(path) = &options.pidfd_socket {
        pid_file::send_pidfd(path, "standard", child.pidfd.as_fd())?;
    }
    match &options.pid_file {
        Some(path) => pid_file::write(path, child.process.pid),
        None => Ok(()),
    }
}
