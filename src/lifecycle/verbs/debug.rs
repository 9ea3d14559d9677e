//! `debug`: runs a process in a container's namespaces and cgroup, whose root has the tools of this host or of
//! another bundle, for containers whose images have none. The container may be another runtime's.
//!
//! What keeps the container from the process, and from the host behind it, is in docs/security.md, "A process
//! that debugs".

mod confinement;
mod find;
mod foreign;
mod guard;
mod target;
mod toolbox;

use std::os::fd::{AsFd, OwnedFd};

use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::init;
use crate::init::args::{ChownStdio, InitArgs};
use crate::launch::console::{Console, Incoming};
use crate::launch::explain::{ExplainContext, explain};
use crate::launch::foreground::Foreground;
use crate::launch::sources::Sources;
use crate::launch::streams::{self, Replaced};
use crate::launch::{self, Child, SpawnError, SpawnOptions, seal, seccomp_death};
use crate::lifecycle::options::{Debug, Globals};
use crate::log;
use crate::plan::namespaces::{Namespace, NamespacePlan};
use crate::plan::process::ProcessPlan;
use crate::plan::waits::{ReadyMoment, Waits};
use crate::timeline::{Phase, begin};
use guard::Guard;
use target::Target;
use toolbox::OpenToolbox;

/// The kernel kills for lack of memory in the container: then this process, before one of the container.
const FIRST_TO_KILL: i32 = 1000;

/// Runs the process. Returns its exit status.
pub(crate) fn debug(globals: &Globals, id: &ContainerId, options: &Debug) -> Result<i32> {
    seal::own_binary()?;
    let target = find::find(globals, id)?;
    target.check()?;
    begin(Phase::MakePlan);
    let toolbox = toolbox::open(options.image.as_deref())?;
    let plan = confinement::plan(&target, &toolbox, options)?;
    begin(Phase::OpenForInit);
    let foreground = Foreground::prepare(false)?;
    let console = Console::open(plan.terminal.is_some(), false, None)?;
    let (socket, terminal) = console.map(Console::split).unzip();
    streams::shield(Replaced::Nothing)?;
    if log::is_terminal() {
        tell(&target, options);
    }
    begin(Phase::Clone);
    let child = spawn(&target, toolbox, &plan, socket)?;
    let ready = Guard::start(child.process.pid).and_then(|guard| {
        let master = terminal.flatten().map(Incoming::receive).transpose()?;
        child.start(true, plan.seccomp.as_ref()).map_err(|failure| spawn_error(failure, &plan))?;
        Ok((guard, master))
    });
    let (guard, master) = ready.inspect_err(|_| child.kill())?;
    let ended = foreground.wait(child.process.pid, child.pidfd.as_fd(), master);
    begin(Phase::Finish);
    guard.finish();
    ended.inspect(|status| seccomp_death::tell(plan.seccomp.as_ref(), *status))
}

/// Says to a person what is where.
fn tell(target: &Target, options: &Debug) {
    let tools = match &options.image {
        Some(image) => format!("the tools of {}", image.display()),
        None => String::from("the tools of this host"),
    };
    let id = &target.id;
    log::plain(format_args!("debug {id}: {tools} (read-only) in /, the container's files in /container"));
}

/// Clones the process, and waits until it is about to start.
fn spawn(
    target: &Target,
    toolbox: OpenToolbox,
    plan: &ProcessPlan,
    socket: Option<OwnedFd>,
) -> Result<Child> {
    let namespaces = NamespacePlan { setns_flags: Some(target.namespaces), ..NamespacePlan::default() };
    let mut args = InitArgs { chown_stdio: ChownStdio::Pipes, ..InitArgs::default() };
    args.fds.target = Some(target.pidfd.try_clone().context("duplicate pidfd")?);
    args.fds.toolbox = Some(toolbox.root);
    args.toolbox = Some(toolbox.plan);
    args.fds.console = socket;
    args.waits = Waits::for_exec(&namespaces, plan, ReadyMoment::AfterConfinement);
    let user_namespace = target.namespaces & Namespace::USER.0 != 0;
    let options = SpawnOptions {
        namespaces: &namespaces,
        group: target.group.as_ref(),
        oom_score_adj: Some(FIRST_TO_KILL),
        preserve_fds: 0,
        foreground: true,
    };
    let spawned =
        launch::spawn(&options, args, |args, socket| init::exec_init(plan, user_namespace, args, socket));
    let child = spawned.map_err(|failure| spawn_error(failure, plan))?;
    match child.wait_until_ready(None, || Ok(()), &Sources::none()) {
        Ok(()) => Ok(child),
        Err(failure) => {
            child.kill();
            Err(spawn_error(failure, plan))
        }
    }
}

fn spawn_error(failure: SpawnError, plan: &ProcessPlan) -> Error {
    let error = match failure {
        SpawnError::Reported(report) => explain(&report, &ExplainContext::from_process(plan)),
        SpawnError::Died(_) => {
            Error::new(Kind::Child, format!("the process was killed {}", matched::POSSIBLY_OOM_KILLED))
        }
        SpawnError::Other(error) => error,
    };
    error.context(matched::UNABLE_TO_START)
}
