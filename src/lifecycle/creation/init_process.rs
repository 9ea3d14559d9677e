//! Spawns the init process of a container and serves it until it is ready to execute.

use crate::cgroup::Group;
use crate::container::{Entry, Record};
use crate::error::{Error, Result, matched};
use crate::init;
use crate::init::args::{ChownStdio, InitArgs};
use crate::init::hook_state::HookState;
use crate::launch::console::{Console, Incoming};
use crate::launch::explain::{ExplainContext, explain};
use crate::launch::net_devices::Destination;
use crate::launch::seccomp_agent::Agent;
use crate::launch::sources::Sources;
use crate::launch::streams::{self, Replaced};
use crate::launch::{self, Child, SpawnError, SpawnOptions, init_fds, rdt, seccomp_death};
use crate::lifecycle::load::{self, Bundle};
use crate::lifecycle::options::Create;
use crate::plan::Plan;
use crate::plan::rootfs::RootSwitch;
use crate::plan::waits::{ReadyMoment, Waits};
use crate::spec;
use crate::timeline::{Phase, begin};

/// How `create`, `run` and `restore` differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CreateMode {
    /// Whether the process outlives this command: then a terminal goes to the console socket.
    pub detach: bool,
    /// Whether the process waits on the exec fifo until another command starts it.
    pub wait_for_start: bool,
}

/// Everything that is prepared before the first process is spawned.
pub(super) struct CreateContext<'a> {
    pub plan: &'a Plan,
    pub group: &'a Group,
    pub state: &'a HookState,
    pub entry: &'a Entry,
    pub bundle: &'a Bundle,
    pub record: &'a Record,
}

/// Sets the limits of the cgroup, opens what the init process needs, and clones it. Returns the terminal, if
/// this process forwards it, and the place that network devices move to.
pub(super) fn spawn_init(
    options: &Create,
    mode: CreateMode,
    context: &CreateContext<'_>,
) -> Result<(Child, Option<Incoming>, Destination)> {
    let &CreateContext { plan, group, state, entry, .. } = context;
    let socket = options.console_socket.as_deref();
    let console = Console::open(plan.process.terminal.is_some(), mode.detach, socket)?;
    begin(Phase::SetLimits);
    group.write_limits(&plan.cgroup)?;
    if !filters_devices_during_setup(context) {
        group.filter_devices(&plan.cgroup)?;
    }
    if let Some(owner) = plan.delegation.owner {
        group.delegate_to(owner)?;
    }
    if let Some(rdt) = &plan.rdt {
        rdt::make(rdt)?;
    }
    begin(Phase::OpenForInit);
    let mut args = InitArgs {
        fds: init_fds::open(plan)?,
        hook_state: Some(state.clone()),
        keep_groups: plan.process.keep_groups,
        ..InitArgs::default()
    };
    if !plan.hooks.create_container.is_empty() || !plan.hooks.start_container.is_empty() {
        let files = load::hook_files(&plan.hook_output)?;
        for (slot, file) in args.fds.hook_output.iter_mut().zip(files) {
            *slot = file.map(streams::shielded).transpose()?;
        }
    }
    args.fds.exec_fifo = mode.wait_for_start.then(|| entry.make_exec_fifo()).transpose()?;
    args.chown_stdio = if mode.detach { ChownStdio::All } else { ChownStdio::Pipes };
    let told_of = mode.wait_for_start || options.pid_file.is_some() || options.pidfd_socket.is_some();
    let ready = if told_of { ReadyMoment::AfterConfinement } else { ReadyMoment::BeforeConfinement };
    args.waits = Waits::for_container(plan, ready);
    streams::shield(null_device(plan))?;
    let (socket, terminal) = console.map(Console::split).unzip();
    args.fds.console = socket;
    let devices = Destination::from_plan(plan, &args.fds)?;
    begin(Phase::Clone);
    let child =
        clone_init(plan, group, args, mode.detach).map_err(|failure| spawn_error(failure, plan, group))?;
    Ok((child, terminal.flatten(), devices))
}

/// In a mount namespace of its own the process finds the container's null device, which a checkpoint can
/// save. Without the default device rules it may not be allowed to open it.
fn null_device(plan: &Plan) -> Replaced {
    match plan.rootfs.switch {
        RootSwitch::Chroot => Replaced::Nothing,
        _ if plan.cgroup.without_default_devices => Replaced::Nothing,
        RootSwitch::PivotRoot | RootSwitch::TreeNamespace | RootSwitch::MoveMount => Replaced::Null,
    }
}

/// Whether the device filter is loaded while the init process makes its mounts: the kernel needs time to
/// check and translate it, and nothing runs in the container yet. Not if the process runs hooks: they must
/// find the filter set.
fn filters_devices_during_setup(context: &CreateContext<'_>) -> bool {
    context.group.sets_device_filter_atomically() && context.plan.hooks.create_container.is_empty()
}

/// Serves the init process from the clone until it is ready: answers its questions, runs hooks, moves
/// devices.
pub(super) fn serve_until_ready(
    child: &Child,
    context: &CreateContext<'_>,
    devices: Destination,
) -> std::result::Result<(), SpawnError> {
    let &CreateContext { plan, state, entry, bundle, .. } = context;
    let pid = child.process.pid;
    // Meanwhile the child makes its mounts.
    if filters_devices_during_setup(context) {
        context.group.filter_devices(&plan.cgroup)?;
    }
    entry.keep_config(&bundle.bytes)?;
    if let Some(rdt) = &context.record.rdt {
        rdt::join(rdt, pid)?;
    }
    let moved = devices.receive(&plan.net_devices, pid)?;
    child.resources_assigned()?;
    let agent = plan.process.seccomp.as_ref().and_then(|filter| filter.notify.as_ref());
    let state_now = state.to_json("creating", pid);
    let agent = agent.map(|notify| Agent { notify, version: spec::VERSION, state: state_now });
    let users = || init_fds::open_joined_user_namespace(&plan.namespaces);
    let sources = Sources::of_plan(plan, &users);
    let ready = child.wait_until_ready(agent.as_ref(), || run_runtime_hooks(context, pid), &sources);
    // By now the process is in its group in every hierarchy.
    context.group.release_placeholder();
    // After its cgroup namespace is made: the root of the namespace is the group with the limits.
    let placed = ready.and_then(|()| match &plan.delegation.subgroup {
        Some(below) => Ok(context.group.move_into_subgroup(below, pid, plan.delegation.owner)?),
        None => Ok(()),
    });
    match placed {
        Ok(()) => Ok(()),
        Err(failure) => {
            moved.return_all();
            Err(failure)
        }
    }
}

fn clone_init(
    plan: &Plan,
    group: &Group,
    args: InitArgs,
    detach: bool,
) -> std::result::Result<Child, SpawnError> {
    let options = SpawnOptions {
        namespaces: &plan.namespaces,
        group: Some(group),
        oom_score_adj: plan.process.oom_score_adj,
        preserve_fds: plan.process.preserve_fds,
        foreground: !detach,
    };
    launch::spawn(&options, args, |args, socket| init::container_init(plan, args, socket))
}

/// Runs the hooks of the runtime namespace, which come before pivot_root (runtime-spec, config.md,
/// "POSIX-platform Hooks").
fn run_runtime_hooks(context: &CreateContext<'_>, pid: i32) -> Result<()> {
    let (document, dir) = (context.state.to_json("creating", pid), Some(&*context.bundle.path));
    let hooks = &context.plan.hooks;
    load::run_hooks("prestart", &hooks.prestart, &document, context.record, dir)?;
    load::run_hooks("createRuntime", &hooks.create_runtime, &document, context.record, dir)
}

/// Returns the error that says why the init process failed. The prefixes are runc's: its tests and people
/// match them.
pub(super) fn spawn_error(failure: SpawnError, plan: &Plan, group: &Group) -> Error {
    let error = match failure {
        SpawnError::Reported(report) => {
            explain(&report, &ExplainContext::from_plan(plan)).context(matched::DURING_INIT)
        }
        SpawnError::Died(signal) => {
            let error = seccomp_death::explain(plan.process.seccomp.as_ref(), signal);
            error.unwrap_or_else(|| launch::died(group)).context(matched::DURING_INIT)
        }
        SpawnError::Other(error) => error,
    };
    error.context(matched::UNABLE_TO_START)
}
