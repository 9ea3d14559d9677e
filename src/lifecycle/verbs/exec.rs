//! `exec`: runs another process in a container.

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process, User};

use crate::bundle::read_process;
use crate::cgroup::Group;
use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::host::probe::{Needed, NeededCgroup, read_facts};
use crate::init;
use crate::init::args::{ChownStdio, InitArgs};
use crate::init::hook_state::HookState;
use crate::launch::console::{Console, Incoming};
use crate::launch::explain::{ExplainContext, explain};
use crate::launch::foreground::Foreground;
use crate::launch::seccomp_agent::Agent;
use crate::launch::sources::Sources;
use crate::launch::streams::{self, Replaced};
use crate::launch::{self, Child, SpawnError, SpawnOptions, preserved_fds, rdt, seal, seccomp_death};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::{Exec, Globals};
use crate::lifecycle::verbs::seccomp::read_profile;
use crate::lifecycle::{out_of_memory, pid_file};
use crate::plan::annotations;
use crate::plan::namespaces::{Namespace, NamespacePlan};
use crate::plan::process::{ProcessContext, ProcessPlan, ProcessRequest, plan_process};
use crate::plan::waits::{ReadyMoment, Waits};
use crate::sys::scheduling::set_affinity;
use crate::timeline::{Phase, begin};
use crate::weak::{Defence, stands};
use crate::{fail, log, spec};

/// Runs the process. Returns its exit status, and 0 with `--detach`.
pub(crate) fn exec(globals: &Globals, id: &ContainerId, options: &Exec) -> Result<i32> {
    seal::own_binary()?;
    preserved_fds::check(0, options.preserve_fds)?;
    let container = load::container(globals, id)?;
    check_status(&container, options)?;
    begin(Phase::MakePlan);
    let plan = make_plan(&container, options)?;
    begin(Phase::OpenForInit);
    let foreground = if options.detach { None } else { Some(Foreground::prepare(false)?) };
    let console = Console::open(plan.terminal.is_some(), options.detach, options.console_socket.as_deref())?;
    let (socket, terminal) = console.map(Console::split).unzip();
    set_initial_affinity(&plan)?;
    streams::shield(Replaced::Nothing)?;
    begin(Phase::Clone);
    let child =
        spawn_process(&container, options, &plan, socket).map_err(|error| about_cwd(error, options))?;
    begin(Phase::WriteRecord);
    let published = publish(options, &child);
    // Before the start: many programs read their terminal's size and mode first.
    let received = published.and_then(|()| terminal.flatten().map(Incoming::receive).transpose());
    log::debug(format_args!("{}", matched::ABOUT_TO_EXEC));
    let started = received.and_then(|master| {
        let started = child.start(foreground.is_some(), plan.seccomp.as_ref());
        let started = started.map_err(|failure| about_cwd(spawn_error(failure, &plan), options));
        started.map(|()| master)
    });
    let master = started.inspect_err(|_| child.kill())?;
    let Some(foreground) = foreground else { return Ok(0) };
    let status = foreground.wait(child.process.pid, child.pidfd.as_fd(), master)?;
    seccomp_death::tell(plan.seccomp.as_ref(), status);
    if let Ok(group) = container.group() {
        out_of_memory::tell_of_exec(&group, status);
    }
    Ok(status)
}

/// Sets the CPUs of this process from here on, and so of the new one until it is in its cgroup.
fn set_initial_affinity(plan: &ProcessPlan) -> Result<()> {
    let Some(cpus) = &plan.scheduling.initial_cpus else { return Ok(()) };
    set_affinity(cpus).context("/process/execCPUAffinity/initial: set CPU affinity")?;
    let mask: String = cpus.iter().rev().map(|word| format!("{word:016x}")).collect();
    log::debug(format_args!("nsexec: affinity: 0x{}", mask.trim_start_matches('0')));
    Ok(())
}

fn check_status(container: &LoadedContainer, options: &Exec) -> Result<()> {
    match container.status {
        Status::Running | Status::Created => Ok(()),
        Status::Paused if options.ignore_paused => Ok(()),
        Status::Paused => Err(Error::new(Kind::State, matched::EXEC_PAUSED)),
        Status::Stopped => Err(Error::new(Kind::State, matched::EXEC_STOPPED)),
        Status::Creating => Err(fail!(Kind::State, "cannot exec in a container that is being created")),
    }
}

fn make_plan(container: &LoadedContainer, options: &Exec) -> Result<ProcessPlan> {
    let mut config = spec::parse(&container.entry.config()?)?;
    if let Some(path) = &options.seccomp {
        let (profile, _) = read_profile(path)?;
        config.set_seccomp(profile);
    }
    let mut warnings = Vec::new();
    let process = match &options.process {
        Some(path) => {
            let (process, said) = read_process(path)?;
            warnings.extend(said);
            match config.process() {
                Some(own) => completed(process, own),
                None => process,
            }
        }
        None => with_flags(config.process().clone().unwrap_or_default(), options)?,
    };
    let linux = config.linux().as_ref();
    let namespaces = crate::plan::namespaces::plan_namespaces(linux)?;
    let seccomp = linux.is_some_and(|linux| linux.seccomp().is_some());
    let labels = load::is_labelled(&process);
    let facts = read_facts(Needed { cgroup: NeededCgroup::Nothing, seccomp, resctrl: false, labels })?;
    let context = ProcessContext { spec: &config, facts: &facts, namespaces: &namespaces };
    let record = &container.record;
    let keyring_of = (!record.no_new_keyring).then_some(&record.id);
    let request = ProcessRequest::exec(options.preserve_fds, keyring_of);
    let plan = plan_process(&process, &context, &request, &mut warnings)?;
    for warning in warnings {
        // `create` has given this warning already, and engines show exec's stderr to their user.
        if warning.starts_with("/linux/seccomp/") {
            log::debug(format_args!("{warning}"));
            continue;
        }
        log::warn(format_args!("{warning}"));
    }
    load::log_filter(&plan);
    Ok(plan)
}

/// Takes from the container's own process what the file leaves out, as runc does: nobody who names no label
/// or no capabilities wants a process without those that the container has. Limits of resources and
/// no_new_privs are not taken, as with runc.
fn completed(mut process: Process, own: &Process) -> Process {
    macro_rules! complete {
        ($($get:ident $set:ident,)+) => {
            $(if process.$get().is_none() {
                process.$set(own.$get().clone());
            })+
        };
    }
    complete! {
        capabilities set_capabilities,
        oom_score_adj set_oom_score_adj,
        io_priority set_io_priority,
        scheduler set_scheduler,
        exec_cpu_affinity set_exec_cpu_affinity,
        apparmor_profile set_apparmor_profile,
        selinux_label set_selinux_label,
    }
    if process.user().umask().is_none() {
        let mut user = process.user().clone();
        user.set_umask(own.user().umask());
        process.set_user(user);
    }
    process
}

/// Takes the container's own process, and changes it according to the flags.
fn with_flags(mut process: Process, options: &Exec) -> Result<Process> {
    if options.args.is_empty() {
        return Err(Error::new(Kind::Usage, matched::EXEC_ARGS_EMPTY)
            .with_hint("the command follows the id: `tare exec [options] ID COMMAND [arguments...]`"));
    }
    process.set_args(Some(options.args.clone())).set_terminal(Some(options.tty));
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.into());
    }
    if !options.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(options.env.iter().cloned());
        process.set_env(Some(env));
    }
    process.set_user(user(process.user(), options));
    if let Some(label) = &options.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(profile) = &options.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if options.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if !options.caps.is_empty() {
        let more = capabilities(&process.capabilities().clone().unwrap_or_default(), &options.caps)?;
        process.set_capabilities(Some(more));
    }
    spec::check_process(&process)?;
    Ok(process)
}

fn user(own: &User, options: &Exec) -> User {
    let mut user = own.clone();
    if let Some((uid, gid)) = options.user {
        user.set_uid(uid).set_gid(gid.unwrap_or_else(|| own.gid()));
    }
    if !options.additional_gids.is_empty() {
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        gids.extend(&options.additional_gids);
        user.set_additional_gids(Some(gids));
    }
    user
}

/// Adds capabilities to the bounding, effective and permitted sets, and to the ambient set if the container
/// has inheritable ones. They are never added to the inheritable set (CVE-2022-29162).
fn capabilities(own: &LinuxCapabilities, more: &[String]) -> Result<LinuxCapabilities> {
    let mut added = Capabilities::new();
    for name in more {
        added.insert(spec::parse_capability(name).map_err(|why| Error::new(Kind::Usage, why))?);
    }
    let with = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    let mut all = own.clone();
    all.set_bounding(with(own.bounding()))
        .set_effective(with(own.effective()))
        .set_permitted(with(own.permitted()));
    if !stands(Defence::Inheritable) {
        all.set_inheritable(with(own.inheritable()));
    }
    if own.inheritable().as_ref().is_some_and(|set| !set.is_empty()) {
        all.set_ambient(with(own.ambient()));
    }
    Ok(all)
}

/// Returns the namespaces of an exec: all of the container's namespaces are joined through its first process.
fn namespaces(container: &LoadedContainer) -> NamespacePlan {
    NamespacePlan {
        new_flags: 0,
        joins: Vec::new(),
        setns_flags: Some(container.record.namespaces),
        ..NamespacePlan::default()
    }
}

/// Returns the group of a process for which none is named.
pub(super) fn default_group(container: &LoadedContainer) -> Result<Group> {
    let Some(init) = container.record.init else { return container.group()?.subgroup(&[]) };
    let annotations = annotations::read(|key| container.record.annotations.get(key))?;
    let group = container.group()?;
    match annotations.delegate_cgroup {
        Some(below) => group.existing_subgroup(&below).for_exec(init.pid),
        None => group.for_exec(init.pid),
    }
}

fn spawn_process(
    container: &LoadedContainer,
    options: &Exec,
    plan: &ProcessPlan,
    socket: Option<OwnedFd>,
) -> Result<Child> {
    let group = match &options.cgroup[..] {
        [] => default_group(container)?,
        paths => container.group()?.subgroup(paths)?,
    };
    let mut args = InitArgs { keep_groups: plan.keep_groups, ..InitArgs::default() };
    args.fds.target = Some(container.pidfd()?);
    args.chown_stdio = if options.detach { ChownStdio::All } else { ChownStdio::Pipes };
    args.fds.console = socket;
    let namespaces = namespaces(container);
    let told_of = options.pid_file.is_some() || options.pidfd_socket.is_some();
    let ready = if told_of { ReadyMoment::AfterConfinement } else { ReadyMoment::BeforeConfinement };
    args.waits = Waits::for_exec(&namespaces, plan, ready);
    let user_namespace = container.record.namespaces & Namespace::USER.0 != 0;
    let options = SpawnOptions {
        namespaces: &namespaces,
        group: Some(&group),
        oom_score_adj: plan.oom_score_adj,
        preserve_fds: plan.preserve_fds,
        foreground: !options.detach,
    };
    let spawned =
        launch::spawn(&options, args, |args, socket| init::exec_init(plan, user_namespace, args, socket));
    let child = spawned.map_err(|failure| spawn_error(failure, plan))?;
    let grouped = container.record.rdt.as_ref().map_or(Ok(()), |rdt| rdt::join(rdt, child.process.pid));
    let ready = grouped
        .map_err(SpawnError::Other)
        .and_then(|()| child.wait_until_ready(agent(container, plan).as_ref(), || Ok(()), &Sources::none()));
    match ready {
        Ok(()) => Ok(child),
        Err(failure) => {
            child.kill();
            Err(spawn_error(failure, plan))
        }
    }
}

fn agent<'a>(container: &LoadedContainer, plan: &'a ProcessPlan) -> Option<Agent<'a>> {
    let notify = plan.seccomp.as_ref()?.notify.as_ref()?;
    let record = &container.record;
    let state = HookState::new(spec::VERSION, &record.id, &record.bundle, &record.annotations);
    let state = state.to_json(container.status.word(), record.init.map_or(0, |init| init.pid));
    Some(Agent { notify, version: spec::VERSION, state })
}

fn publish(options: &Exec, child: &Child) -> Result<()> {
    if let Some(path) = &options.pidfd_socket {
        pid_file::send_pidfd(path, "setns", child.pidfd.as_fd())?;
    }
    options.pid_file.as_ref().map_or(Ok(()), |path| pid_file::write(path, child.process.pid))
}

/// The words that engines look for blame config.json: says where the directory was really named.
fn about_cwd(error: Error, options: &Exec) -> Error {
    match &options.cwd {
        Some(cwd) if error.to_string().contains("/process/cwd: ") => {
            error.with_hint(format!("--cwd names it: {cwd} is looked for in the container"))
        }
        _ => error,
    }
}

fn spawn_error(failure: SpawnError, plan: &ProcessPlan) -> Error {
    let error = match failure {
        SpawnError::Reported(report) => explain(&report, &ExplainContext::from_process(plan)),
        SpawnError::Died(signal) => {
            seccomp_death::explain(plan.seccomp.as_ref(), signal).unwrap_or_else(|| {
                Error::new(Kind::Child, format!("the process was killed {}", matched::POSSIBLY_OOM_KILLED))
            })
        }
        SpawnError::Other(error) => error,
    };
    error.context(matched::UNABLE_TO_START)
}
