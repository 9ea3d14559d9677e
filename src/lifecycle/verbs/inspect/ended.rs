//! How a container has ended. Its exit status belongs to the parent of its first process, so it is known only as
//! long as that parent has not asked for it; kills for lack of memory are counted by its control group.

use procfs::process::Process;
use serde::Serialize;

use super::proc_files;
use crate::lifecycle::load::LoadedContainer;
use crate::lifecycle::out_of_memory::OutOfMemory;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    /// In a shell's numbers; `None` if the parent of the first process has been told it.
    pub exit_status: Option<i32>,
    /// `None` if no process was killed for lack of memory.
    pub out_of_memory: Option<OutOfMemory>,
    /// The same for a person.
    pub reasons: Vec<String>,
}

pub(super) fn of_container(container: &LoadedContainer) -> Ended {
    let exit_status = exit_status(container);
    let out_of_memory = container.group().ok().and_then(|group| OutOfMemory::in_group(&group));
    let status = match exit_status {
        Some(status) if status > 128 => format!("exit status {status}: ended by signal {}", status - 128),
        Some(status) => format!("exit status {status}"),
        None => String::from("its exit status is known to the process that started it, and to nobody else"),
    };
    let killed = out_of_memory.as_ref().map(OutOfMemory::sentence);
    Ended { exit_status, reasons: std::iter::once(status).chain(killed).collect(), out_of_memory }
}

/// Returns the exit status of the first process while it is a zombie. The kernel shows 0 to those who may not
/// trace it, so a 0 counts only for root.
fn exit_status(container: &LoadedContainer) -> Option<i32> {
    let init = container.record.init?;
    let stat = proc_files::stat(&Process::new(init.pid).ok()?).ok()?;
    if stat.starttime != init.start || stat.state != 'Z' {
        return None;
    }
    let code = stat.exit_code.filter(|&code| code != 0 || nix::unistd::geteuid().is_root())?;
    Some(if code & 0x7f != 0 { 128 + (code & 0x7f) } else { code >> 8 & 0xff })
}
