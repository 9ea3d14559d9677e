//! Confines the process itself: limits, user, capabilities, filter. Afterwards it has only the privileges
//! that the configuration gives it.

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::args::ChownStdio;
use super::label;
use super::program::{self, Program};
use super::seccomp::{self, FilterMoment};
use crate::handshake::{IdKind, InStep, Report, Step, SyncSocket};
use crate::plan::capabilities::Capabilities;
use crate::plan::process::ProcessPlan;
use crate::plan::scheduling::{Cpus, Scheduling};
use crate::sys::file::standard_streams;
use crate::sys::{process, scheduling};
use crate::weak::{Defence, stands};

/// Becomes root of the user namespace that was just entered. The mapping decides which id that is on the
/// host.
pub(super) fn become_root(keep_groups: bool) -> Result<(), Report> {
    match if keep_groups || !stands(Defence::Groups) { Ok(()) } else { process::set_groups(&[]) } {
        // setgroups is denied if gids were mapped without privilege.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => {
            return Err(Report::new(Step::BecomeRoot(IdKind::SupplementaryGroups), errno, "setgroups"));
        }
    }
    process::set_gid(0).in_step(Step::BecomeRoot(IdKind::Group), "setresgid")?;
    process::set_uid(0).in_step(Step::BecomeRoot(IdKind::User), "setresuid")
}

/// Confines the process, and finds its program. Each step whose position matters says why; where none does,
/// the order is runc's, which shows in the error of a process with two faults.
pub(super) fn confine(plan: &ProcessPlan, chown: ChownStdio, socket: &SyncSocket) -> Result<Program, Report> {
    // Before the user changes, because raising a limit needs CAP_SYS_RESOURCE.
    set_rlimits(plan)?;
    if plan.no_new_privileges {
        process::set_no_new_privileges().in_step(Step::NoNewPrivileges, "prctl(PR_SET_NO_NEW_PRIVS)")?;
    }
    // Before the user changes, because a real-time policy needs CAP_SYS_NICE.
    schedule(&plan.scheduling)?;
    if let Some(personality) = plan.personality {
        process::set_personality(personality).in_step(Step::Personality, "personality")?;
    }
    // Before the filter and the change of user: the label is written through a procfs that is mounted for
    // this purpose.
    label::set_on_exec(plan)?;
    let entered = nix::unistd::chdir(plan.cwd.as_c_str());
    if entered.is_ok() {
        // Before any filter, which may deny getcwd.
        program::check_working_directory()?;
    }
    seccomp::load_filter(plan, socket, FilterMoment::BeforeCapabilitiesGo)?;
    let env = program::environment(plan);
    // Before the user changes: the user could not give the streams to itself.
    chown_stdio(plan, chown)?;
    set_user(plan)?;
    match entered {
        Ok(()) => {}
        // Perhaps only the user may enter the directory.
        Err(Errno::EACCES | Errno::EPERM) => {
            nix::unistd::chdir(plan.cwd.as_c_str()).in_step(Step::WorkingDirectory, "chdir")?;
            program::check_working_directory()?;
        }
        Err(errno) => return Err(Report::new(Step::WorkingDirectory, errno, "chdir")),
    }
    // After the user has changed, because that change clears capabilities.
    set_capabilities(&plan.capabilities)?;
    // As the user, with its capabilities: they decide what it may execute.
    let path = program::find(plan)?;
    seccomp::load_filter(plan, socket, FilterMoment::BeforeReady)?;
    Ok(Program { path, env })
}

/// Sets CPUs, scheduler, I/O priority and memory nodes. The CPUs come first: the deadline scheduler requires
/// all of them.
fn schedule(plan: &Scheduling) -> Result<(), Report> {
    match &plan.cpus {
        // A failure is ignored: the engine's own affinity is not the container's, but it does no harm.
        Cpus::All => drop(scheduling::reset_affinity()),
        Cpus::AsTheyAre => {}
        Cpus::Only(cpus) => scheduling::set_affinity(cpus).in_step(Step::Affinity, "sched_setaffinity")?,
    }
    if let Some(scheduler) = &plan.scheduler {
        scheduling::set_scheduler(scheduler).in_step(Step::Scheduler, "sched_setattr")?;
    }
    if let Some(priority) = plan.io_priority {
        scheduling::set_io_priority(priority).in_step(Step::IoPriority, "ioprio_set")?;
    }
    if let Some(policy) = &plan.memory_policy {
        scheduling::set_memory_policy(policy.mode, &policy.nodes)
            .in_step(Step::MemoryPolicy, "set_mempolicy")?;
    }
    Ok(())
}

fn set_rlimits(plan: &ProcessPlan) -> Result<(), Report> {
    for limit in &plan.limits {
        process::set_limit(limit.resource, limit.soft, limit.hard)
            .in_step(Step::Rlimit(limit.index), "prlimit")?;
    }
    Ok(())
}

fn chown_stdio(plan: &ProcessPlan, which: ChownStdio) -> Result<(), Report> {
    if plan.uid == 0 {
        return Ok(());
    }
    for (stream, fd) in standard_streams().into_iter().enumerate() {
        let Ok(stat) = fstat(fd) else { continue };
        let kind = stat.st_mode & libc::S_IFMT;
        let pipe = kind == libc::S_IFIFO;
        // The memory devices (major number 1: null, zero, random) and disks are shared, so they keep their
        // owner.
        let shared = kind == libc::S_IFBLK || kind == libc::S_IFCHR && libc::major(stat.st_rdev) == 1;
        if shared || stat.st_uid == plan.uid || which == ChownStdio::Pipes && !pipe {
            continue;
        }
        let owner = nix::unistd::Uid::from_raw(plan.uid);
        match nix::unistd::fchown(fd, Some(owner), None) {
            // Another kind of socket, a read-only filesystem or an unmapped id: the stream works nonetheless.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS | Errno::ENOSYS) => {}
            Err(errno) => return Err(Report::new(Step::StandardStream(stream), errno, "fchown")),
        }
    }
    Ok(())
}

fn set_user(plan: &ProcessPlan) -> Result<(), Report> {
    drop_bounding(&plan.capabilities)?;
    if runs_as_nonroot(plan) {
        process::keep_capabilities().in_step(Step::Capabilities, "prctl(PR_SET_KEEPCAPS)")?;
    }
    if let Some(groups) = plan.groups.as_ref().filter(|_| stands(Defence::Groups)) {
        match process::set_groups(groups) {
            // setgroups is denied for ever in a namespace inside one that was mapped without privilege. There
            // are no groups to drop.
            Err(Errno::EPERM) if groups.is_empty() => {}
            other => other.in_step(Step::UserId(IdKind::SupplementaryGroups), "setgroups")?,
        }
    }
    process::set_gid(plan.gid).in_step(Step::UserId(IdKind::Group), "setresgid")?;
    process::set_uid(plan.uid).in_step(Step::UserId(IdKind::User), "setresuid")
}

/// A process that leaves user 0 loses its capabilities (capabilities(7)), unless it keeps them until the
/// configured ones are set.
fn runs_as_nonroot(plan: &ProcessPlan) -> bool {
    plan.uid != 0
}

fn drop_bounding(capabilities: &Capabilities) -> Result<(), Report> {
    for capability in
        (0..=capabilities.last).filter(|capability| capabilities.bounding >> capability & 1 == 0)
    {
        match process::drop_bounding(capability) {
            // An unprivileged runtime may not hold the capability in the first place: there is nothing to
            // drop.
            Err(Errno::EPERM) if process::is_in_bounding(capability) == Ok(false) => {}
            other => other.in_step(Step::Capabilities, "prctl(PR_CAPBSET_DROP)")?,
        }
    }
    Ok(())
}

fn set_capabilities(capabilities: &Capabilities) -> Result<(), Report> {
    process::clear_ambient().in_step(Step::Capabilities, "prctl(PR_CAP_AMBIENT_CLEAR_ALL)")?;
    process::capset(capabilities.effective, capabilities.permitted, capabilities.inheritable)
        .in_step(Step::Capabilities, "capset")?;
    for capability in (0..=capabilities.last).filter(|capability| capabilities.ambient >> capability & 1 == 1)
    {
        match process::raise_ambient(capability) {
            // The capability is not permitted or not inheritable. The specification makes that a warning, and
            // the plan has given it.
            Ok(()) | Err(Errno::EPERM) => {}
            other => other.in_step(Step::Capabilities, "prctl(PR_CAP_AMBIENT_RAISE)")?,
        }
    }
    Ok(())
}
