//! Finds out why a container does not go on.

use procfs::process::{ProcState, Process};

use super::proc_files;
use crate::container::Status;
use crate::lifecycle::load::LoadedContainer;

/// Returns the reasons that the status alone shows.
pub(super) fn of_container(container: &LoadedContainer) -> Vec<String> {
    let id = &container.record.id;
    let sentence = match container.status {
        Status::Creating => return of_creator(container.record.creator.pid),
        Status::Created => format!("it waits to be started: tare start {id}"),
        Status::Paused => format!("it is frozen: tare resume {id}"),
        Status::Stopped => format!("it has ended; what is left of it goes by: tare delete {id}"),
        Status::Running => return Vec::new(),
    };
    vec![sentence]
}

/// Explains a slow creation: it waits for a hook, which is a child of the runtime, or for a hook in the
/// container.
fn of_creator(creator: i32) -> Vec<String> {
    let mut sentences = vec![format!("process {creator} is creating it")];
    let children = children(creator).into_iter().filter_map(|pid| Process::new(pid).ok());
    sentences
        .extend(children.map(|child| {
            format!("process {creator} waits for process {}: {}", child.pid(), command(&child))
        }));
    sentences
}

fn children(pid: i32) -> Vec<i32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    listed.unwrap_or_default().split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn command(process: &Process) -> String {
    proc_files::args(process).join(" ")
}

/// Finds processes that cannot go on by themselves: signals have no effect on them, or another process
/// decides when they continue.
pub(super) fn of_processes(pids: &[i32]) -> Vec<String> {
    pids.iter().filter_map(|&pid| of_process(&Process::new(pid).ok()?)).collect()
}

fn of_process(process: &Process) -> Option<String> {
    let (stat, pid) = (proc_files::stat(process).ok()?, process.pid());
    let told = match stat.state().ok()? {
        ProcState::Waiting => {
            let function = process.wchan().ok().filter(|function| function != "0")?;
            format!("waits in the kernel, in {function}, and no signal ends that")
        }
        ProcState::Stopped => format!("is stopped by a signal: kill -CONT {pid}"),
        ProcState::Tracing => {
            let tracer = proc_files::status(process).ok()?.tracerpid;
            format!("is held by the debugger or tracer that is process {tracer}")
        }
        ProcState::Zombie => format!("has ended, and process {} has not asked for its status", stat.ppid),
        _ => return None,
    };
    Some(format!("process {pid} ({}) {told}", stat.comm))
}
