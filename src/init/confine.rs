//! Confines the process itself: limits, user, capabilities, filter. After this nothing privileged can be done.

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::args::ChownStdio;
use super::label;
use super::program::{self, Program};
use super::seccomp::{self, Load};
use crate::handshake::{IdKind, InStep, Report, Step, SyncSocket};
use crate::plan::capabilities::Capabilities;
use crate::plan::process::ProcessPlan;
use crate::plan::scheduling::{Cpus, Scheduling};
use crate::sys::file::standard_streams;
use crate::sys::{process, scheduling};

/// Becomes root of the user namespace just entered: its mapping decides what that is on the host.
pub(super) fn become_root(keep_groups: bool) -> Result<(), Report> {
    match if keep_groups { Ok(()) } else { process::set_groups(&[]) } {
        // setgroups is denied where gids were mapped without privilege.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => {
            return Err(Report::new(Step::BecomeRoot(IdKind::SupplementaryGroups), errno, "setgroups"));
        }
    }
    process::set_gid(0).in_step(Step::BecomeRoot(IdKind::Group), "setresgid")?;
    process::set_uid(0).in_step(Step::BecomeRoot(IdKind::User), "setresuid")
}

/// Confines the process, and finds its program. The order is runc's.
pub(super) fn confine(plan: &ProcessPlan, chown: ChownStdio, socket: &SyncSocket) -> Result<Program, Report> {
    // Before the user changes, because raising a limit takes CAP_SYS_RESOURCE.
    set_rlimits(plan)?;
    if plan.no_new_privileges {
        process::set_no_new_privileges().in_step(Step::NoNewPrivileges, "prctl(PR_SET_NO_NEW_PRIVS)")?;
    }
    // Before the user changes, because a real-time policy takes CAP_SYS_NICE.
    schedule(&plan.scheduling)?;
    if let Some(personality) = plan.personality {
        process::set_personality(personality).in_step(Step::Personality, "personality")?;
    }
    // Before the filter and the user change: the label is written through a procfs that is mounted for it.
    label::set_on_exec(plan)?;
    let entered = nix::unistd::chdir(plan.cwd.as_c_str());
    if entered.is_ok() {
        // Before any filter, which may well deny getcwd.
        program::check_working_directory()?;
    }
    seccomp::load_filter(plan, socket, Load::BeforeCapabilitiesGo)?;
    let env = program::environment(plan);
    // Before the user changes, who could not give the streams to itself.
    chown_stdio(plan, chown)?;
    become_user(plan)?;
    match entered {
        Ok(()) => {}
        // Perhaps only the user may enter.
        Err(Errno::EACCES | Errno::EPERM) => {
            nix::unistd::chdir(plan.cwd.as_c_str()).in_step(Step::WorkingDirectory, "chdir")?;
            program::check_working_directory()?;
        }
        Err(errno) => return Err(Report::new(Step::WorkingDirectory, errno, "chdir")),
    }
    // After the user has changed, which takes capabilities away.
    set_capabilities(&plan.capabilities)?;
    // As the user, with its capabilities: what it may execute is what counts.
    let path = program::find(plan)?;
    seccomp::load_filter(plan, socket, Load::BeforeReady)?;
    Ok(Program { path, env })
}

/// Sets CPUs, scheduler, I/O priority and memory nodes. CPUs first: the deadline scheduler wants all of them.
fn schedule(plan: &Scheduling) -> Result<(), Report> {
    match &plan.cpus {
        // Best effort: an affinity that the engine had is not the container's.
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
        // Nobody's to give away: the null device and its like (major number 1), disks.
        let shared = kind == libc::S_IFBLK || kind == libc::S_IFCHR && libc::major(stat.st_rdev) == 1;
        if shared || stat.st_uid == plan.uid || which == ChownStdio::Pipes && !pipe {
            continue;
        }
        let owner = nix::unistd::Uid::from_raw(plan.uid);
        match nix::unistd::fchown(fd, Some(owner), None) {
            // Sockets of another kind, a read-only filesystem, an id that is not mapped: the stream works all the same.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS | Errno::ENOSYS) => {}
            Err(errno) => return Err(Report::new(Step::StandardStream(stream), errno, "fchown")),
        }
    }
    Ok(())
}

fn become_user(plan: &ProcessPlan) -> Result<(), Report> {
    drop_bounding(&plan.capabilities)?;
    if loses_capabilities(plan) {
        process::keep_capabilities().in_step(Step::Capabilities, "prctl(PR_SET_KEEPCAPS)")?;
    }
    if let Some(groups) = &plan.groups {
        match process::set_groups(groups) {
            // Denied for good in a namespace that is inside one mapped without privilege: no groups are there to drop.
            Err(Errno::EPERM) if groups.is_empty() => {}
            other => other.in_step(Step::UserId(IdKind::SupplementaryGroups), "setgroups")?,
        }
    }
    process::set_gid(plan.gid).in_step(Step::UserId(IdKind::Group), "setresgid")?;
    process::set_uid(plan.uid).in_step(Step::UserId(IdKind::User), "setresuid")
}

/// Leaving user 0 takes them (capabilities(7)), until what is wanted has been set.
fn loses_capabilities(plan: &ProcessPlan) -> bool {
    plan.uid != 0
}

fn drop_bounding(capabilities: &Capabilities) -> Result<(), Report> {
    for capability in
        (0..=capabilities.last).filter(|capability| capabilities.bounding >> capability & 1 == 0)
    {
        match process::drop_bounding(capability) {
            // Not held to begin with, where we are not privileged: there is nothing to drop.
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
            // Not permitted or not inheritable: the specification makes that a warning, and the plan has given it.
            Ok(()) | Err(Errno::EPERM) => {}
            other => other.in_step(Step::Capabilities, "prctl(PR_CAP_AMBIENT_RAISE)")?,
        }
    }
    Ok(())
}
