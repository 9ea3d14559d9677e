//! `create`: from a bundle to a process that waits for `start`.

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::cgroup::Group;
use crate::container::record::{self, Process, Record};
use crate::container::status::Seen;
use crate::container::{Entry, Store};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::init;
use crate::init::args::{ChownStdio, InitArgs};
use crate::init::hook_state::HookState;
use crate::launch::console::{self, Console, Incoming};
use crate::launch::explain::{ExplainContext, explain};
use crate::launch::net_devices::Destination;
use crate::launch::seccomp_agent::Agent;
use crate::launch::{self, Child, SpawnError, SpawnOptions, init_fds, notify, rdt, seal};
use crate::lifecycle::load::{self, Bundle};
use crate::lifecycle::options::{Create, Globals};
use crate::lifecycle::pid_file;
use crate::log;
use crate::plan::activation::Activation;
use crate::plan::topology::Namespace;
use crate::plan::waits::{ReadyMoment, Waits};
use crate::plan::{Plan, Request};
use crate::sys::file::is_inherited;
use crate::{fail, spec};

pub fn create(globals: &Globals, id: &ContainerId, options: &Create) -> Result<()> {
    seal::own_binary()?;
    let made = make(globals, id, options, &How { detach: true, fifo: true })?;
    log::debug(format_args!("{}", matched::CLOSING_PIPE));
    made.settle(|made| made.child.created())
}

/// What differs between `create` and `run`.
pub struct How {
    /// The process outlives this command: a terminal goes to the console socket.
    pub detach: bool,
    /// The process waits on the exec fifo, for another command to start it.
    pub fifo: bool,
}

/// A container whose process is ready, and its record written.
pub struct Made {
    pub entry: Entry,
    pub record: Record,
    pub group: Group,
    pub child: Child,
    pub plan: Plan,
    pub state: HookState,
    /// The terminal, where it comes to us.
    pub console: Option<Incoming>,
}

impl Made {
    /// Does the last step; if it fails, nothing is left of the container.
    pub fn settle(self, last: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        last(&self).inspect_err(|_| self.undo())
    }

    /// Leaves nothing behind.
    pub fn undo(&self) {
        undo(&self.entry, &self.record, Some(&self.group), Some(&self.child));
    }

    /// The words for why the child failed.
    pub fn failed(&self, failure: SpawnError) -> Error {
        explained(failure, &self.plan, &self.group)
    }
}

/// Everything up to a process that is ready to execute.
pub fn make(globals: &Globals, id: &ContainerId, options: &Create, how: &How) -> Result<Made> {
    let bundle = load::bundle(options.bundle.as_deref(), options.config.as_deref())?;
    // Never taken apart: this process ends soon.
    let bundle = ManuallyDrop::new(bundle);
    let plan = decide(globals, id, options, &bundle, how)?;
    let mut record = intent(&bundle, &plan);
    let (entry, _lock) = Store::new(&globals.root, globals.root_in_xdg).reserve(id)?;
    let group = begin(&plan, &entry, &mut record);
    let group = group.inspect_err(|_| undo(&entry, &record, None, None))?;
    let state = HookState::new(spec::VERSION, &plan.id, &bundle.path, &record.annotations);
    let ground =
        Ground { plan: &plan, group: &group, state: &state, entry: &entry, bundle: &bundle, record: &record };
    let born = launch(options, how, &ground);
    let (child, console, devices) = born.inspect_err(|_| undo(&entry, &record, Some(&group), None))?;
    let ready = accompany(&child, &ground, devices);
    let ready = ready.map_err(|failure| explained(failure, &plan, &group));
    record.init = Some(child.process);
    ready
        .and_then(|()| publish(options, &entry, &record, &child))
        .inspect_err(|_| undo(&entry, &record, Some(&group), Some(&child)))?;
    Ok(Made { entry, record, group, child, plan, state, console })
}

/// Takes back a creation that fails, as far as it has come.
///
/// It goes on with the last step of the life (runtime-spec, runtime.md, "Lifecycle"): hooks that ran before may have
/// made what those of poststop undo. What fails here is no more than a warning: the creation's own error is the one
/// to tell.
pub(super) fn undo(entry: &Entry, record: &Record, group: Option<&Group>, child: Option<&Child>) {
    if let Some(child) = child {
        child.kill();
    }
    let mut results = Vec::new();
    if let Some(group) = group {
        let _ = group.kill_all(libc::SIGKILL);
        results.push(group.remove());
        results.push(record.rdt.as_ref().map_or(Ok(()), rdt::remove));
    }
    let _ = entry.remove();
    results.push(super::delete::poststop(record, Some(&record.bundle)));
    for error in results.into_iter().filter_map(Result::err) {
        log::warn(format_args!("{error}"));
    }
}

/// What is to be done, decided before anything is: an error here has changed nothing on the machine.
pub(super) fn decide(
    globals: &Globals,
    id: &ContainerId,
    options: &Create,
    bundle: &Bundle,
    how: &How,
) -> Result<Plan> {
    let request = Request {
        id,
        bundle: bundle.path.clone(),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        preserve_fds: options.preserve_fds,
        cgroup_manager: globals.cgroup_manager,
        rootless: load::rootless(globals, globals.cgroup_manager),
        activation: activation(globals, id),
    };
    let plan = crate::plan::plan_container(&bundle.spec, &bundle.facts, &request)?;
    for unused in plan.process.seccomp.iter().flat_map(|filter| &filter.warnings) {
        log::debug(format_args!("{unused}"));
    }
    for warning in bundle.spec.warnings.iter().chain(&plan.warnings) {
        log::warn(format_args!("{warning}"));
    }
    load::log_filter(&plan.process);
    check_preserved(request.activation.listen_fds, options.preserve_fds)?;
    check_rootfs(&plan)?;
    console::check(plan.process.terminal.is_some(), how.detach, options.console_socket.as_deref())?;
    Ok(plan)
}

/// What a service manager says that it has for us.
fn activation(globals: &Globals, id: &ContainerId) -> Activation {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let ours = number("LISTEN_PID").is_some_and(|pid| pid == std::process::id());
    Activation {
        listen_fds: number("LISTEN_FDS").filter(|_| ours).unwrap_or(0),
        listen_names: std::env::var("LISTEN_FDNAMES").ok(),
        notify: notify::requested().map(|_| load::entry(globals, id).notify_directory()),
    }
}

fn check_preserved(before: u32, count: u32) -> Result<()> {
    let is_there = |index: &u32| i32::try_from(3 + before + index).is_ok_and(is_inherited);
    match (0..count).find(|index| !is_there(index)) {
        Some(missing) => Err(Error::new(Kind::Usage, matched::no_preserved_fd(missing, count))),
        None => Ok(()),
    }
}

fn check_rootfs(plan: &Plan) -> Result<()> {
    let path = plan.rootfs.path.to_string_lossy();
    match std::fs::metadata(&*path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(fail!(Kind::Spec, "/root/path: rootfs is not a directory: {path}")),
        Err(error) => Err(Error::from(error)).with_context(|| format!("/root/path: rootfs {path}")),
    }
}

/// What is known before the first side effect.
pub(super) fn intent(bundle: &Bundle, plan: &Plan) -> Record {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let path = PathBuf::from(plan.rootfs.path.to_string_lossy().into_owned());
    let annotations = bundle.spec.annotations().iter().flatten();
    Record {
        version: record::VERSION,
        id: plan.id.clone(),
        bundle: bundle.path.clone(),
        rootfs: path,
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        creator: Process { pid: own, start: Seen::of(own).map_or(0, |seen| seen.start) },
        init: None,
        cgroup: Some(plan.cgroup.record()),
        rdt: plan.rdt.as_ref().map(rdt::to_record),
        namespaces: plan.topology.named(),
        own_pid_namespace: plan.topology.makes(Namespace::PID),
        annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
        poststart: plan.hooks.poststart.clone(),
        poststop: plan.hooks.poststop.clone(),
    }
}

/// With the id reserved: the first record, and the group.
pub(super) fn begin(plan: &Plan, entry: &Entry, record: &mut Record) -> Result<Group> {
    entry.write(record)?;
    if notify::requested().is_some() {
        entry.make_notify_directory()?;
    }
    let group = plan.cgroup.create()?;
    // Rootless, there may be hierarchies that it does without.
    record.cgroup = Some(group.record().clone());
    Ok(group)
}

/// What stands when the process is launched.
struct Ground<'a> {
    plan: &'a Plan,
    group: &'a Group,
    state: &'a HookState,
    entry: &'a Entry,
    bundle: &'a Bundle,
    record: &'a Record,
}

/// Limits, descriptors, the clone. The terminal, where it comes to us; and the devices, still on their way.
fn launch(
    options: &Create,
    how: &How,
    ground: &Ground<'_>,
) -> Result<(Child, Option<Incoming>, Destination)> {
    let &Ground { plan, group, state, entry, .. } = ground;
    let socket = options.console_socket.as_deref();
    let console = Console::open(plan.process.terminal.is_some(), how.detach, socket)?;
    group.limit(&plan.cgroup)?;
    if !filters_meanwhile(ground) {
        group.filter_devices(&plan.cgroup)?;
    }
    if let Some(owner) = plan.delegation.owner {
        group.give_to(owner)?;
    }
    if let Some(rdt) = &plan.rdt {
        rdt::make(rdt)?;
    }
    let mut args = InitArgs {
        fds: init_fds::open(plan)?,
        hook_state: Some(state.clone()),
        keep_groups: plan.process.keep_groups,
        ..InitArgs::default()
    };
    if !plan.hooks.create_container.is_empty() || !plan.hooks.start_container.is_empty() {
        args.fds.hook_output = load::hook_files(&plan.hook_output)?;
    }
    args.fds.exec_fifo = how.fifo.then(|| entry.make_exec_fifo()).transpose()?;
    args.chown_stdio = if how.detach { ChownStdio::All } else { ChownStdio::Pipes };
    let told_of = how.fifo || options.pid_file.is_some() || options.pidfd_socket.is_some();
    let ready = if told_of { ReadyMoment::AfterConfinement } else { ReadyMoment::BeforeConfinement };
    args.waits = Waits::for_container(plan, ready);
    let (socket, terminal) = console.map(Console::split).unzip();
    args.fds.console = socket;
    let devices = Destination::from_plan(plan, &args.fds)?;
    let child = clone(plan, group, args).map_err(|failure| explained(failure, plan, group))?;
    Ok((child, terminal.flatten(), devices))
}

/// The kernel takes its time to check and translate a device filter. It does so while the child, which is ours alone
/// until it is ready, makes its mounts. Not where the child runs hooks in between: they find the filter set.
fn filters_meanwhile(ground: &Ground<'_>) -> bool {
    ground.group.filters_at_once() && ground.plan.hooks.create_container.is_empty()
}

/// From the clone to `Ready`.
fn accompany(
    child: &Child,
    ground: &Ground<'_>,
    devices: Destination,
) -> std::result::Result<(), SpawnError> {
    let &Ground { plan, state, entry, bundle, .. } = ground;
    let pid = child.process.pid;
    // The child is at work on its mounts meanwhile.
    if filters_meanwhile(ground) {
        ground.group.filter_devices(&plan.cgroup)?;
    }
    entry.keep_config(&bundle.bytes)?;
    if let Some(rdt) = &ground.record.rdt {
        rdt::join(rdt, pid)?;
    }
    let moved = devices.receive(&plan.net_devices, pid)?;
    child.resources_assigned();
    let agent = plan.process.seccomp.as_ref().and_then(|filter| filter.notify.as_ref());
    let state_now = state.document("creating", pid);
    let agent = agent.map(|notify| Agent { notify, version: spec::VERSION, state: state_now });
    let map_ids = |mount: usize, tree: &_| {
        init_fds::map_ids(
            plan.mounts.get(mount),
            tree,
            init_fds::open_joined_user_namespace(&plan.topology)?.as_ref(),
        )
    };
    let ready = child.wait_until_ready(agent.as_ref(), || runtime_hooks(ground, pid), map_ids);
    // It has come into its group in every hierarchy by now.
    ground.group.release();
    // After its cgroup namespace is made: the root there is the group that has the limits.
    let below = ready.and_then(|()| match &plan.delegation.subgroup {
        Some(below) => Ok(ground.group.hand_down(below, pid, plan.delegation.owner)?),
        None => Ok(()),
    });
    match below {
        Ok(()) => Ok(()),
        Err(failure) => {
            moved.return_all();
            Err(failure)
        }
    }
}

fn clone(plan: &Plan, group: &Group, args: InitArgs) -> std::result::Result<Child, SpawnError> {
    let options = SpawnOptions {
        topology: &plan.topology,
        group: Some(group),
        oom_score_adj: plan.process.oom_score_adj,
        preserve_fds: plan.process.preserve_fds,
    };
    launch::spawn(&options, args, |args, socket| init::container_init(plan, args, socket))
}

/// Those that run in the runtime's own namespaces, before the rootfs is entered.
fn runtime_hooks(ground: &Ground<'_>, pid: i32) -> Result<()> {
    let (document, dir) = (ground.state.document("creating", pid), Some(&*ground.bundle.path));
    let hooks = &ground.plan.hooks;
    load::run_hooks("prestart", &hooks.prestart, &document, ground.record, dir)?;
    load::run_hooks("createRuntime", &hooks.create_runtime, &document, ground.record, dir)
}

/// Remembers the process, then tells the engine of it.
fn publish(options: &Create, entry: &Entry, record: &Record, child: &Child) -> Result<()> {
    entry.write(record)?;
    if let Some(path) = &options.pidfd_socket {
        pid_file::send_pidfd(path, "standard", child.pidfd.as_fd())?;
    }
    match &options.pid_file {
        Some(path) => pid_file::write(path, child.process.pid),
        None => Ok(()),
    }
}

/// The prefix chain is runc's: the suite and people match it.
fn explained(failure: SpawnError, plan: &Plan, group: &Group) -> Error {
    let error = match failure {
        SpawnError::Reported(report) => {
            explain(&report, &ExplainContext::from_plan(plan)).context(matched::DURING_INIT)
        }
        SpawnError::Died => launch::died(group).context(matched::DURING_INIT),
        SpawnError::Other(error) => error,
    };
    error.context(matched::UNABLE_TO_START)
}
