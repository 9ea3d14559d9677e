//! The ids and rights of a container's processes, according to /proc.

use std::collections::BTreeMap;

use caps::Capability;
use procfs::process::{Process, Status};
use serde::Serialize;

use super::proc_files;
use crate::error::{Error, Kind, Result};
use crate::fail;

/// A process, as /proc/PID/status shows it (proc_pid_status(5)).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessSeen {
    pub pid: i32,
    pub args: Vec<String>,
    /// The effective ids, in the host's numbers.
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// The five sets of capabilities(7), under their names in config.json.
    pub capabilities: BTreeMap<&'static str, Vec<String>>,
    pub no_new_privileges: bool,
    /// `disabled`, `strict` or `filter`.
    pub seccomp: &'static str,
    /// The AppArmor profile or SELinux label; `None` if no security module has one.
    pub label: Option<String>,
    pub oom_score_adj: i16,
    /// The path inside the container.
    pub cwd: String,
}

/// The first process of an `exec` session.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub pid: i32,
    pub args: Vec<String>,
    /// The process that started it, or that took it over after its parent's end.
    pub parent: i32,
}

/// Looks at process `pid`.
pub(super) fn of_process(pid: i32) -> Result<ProcessSeen> {
    let process = Process::new(pid).map_err(|error| unreadable(pid, &error))?;
    let status = proc_files::status(&process).map_err(|error| unreadable(pid, &error))?;
    Ok(ProcessSeen {
        pid,
        args: proc_files::args(&process),
        uid: status.euid,
        gid: status.egid,
        capabilities: capabilities(&status),
        no_new_privileges: status.nonewprivs == Some(1),
        seccomp: seccomp_mode(status.seccomp),
        label: label(&process),
        oom_score_adj: process.oom_score_adj().map_err(|error| unreadable(pid, &error))?,
        cwd: process.cwd().map(|path| path.display().to_string()).unwrap_or_default(),
        additional_gids: status.groups,
    })
}

fn unreadable(pid: i32, error: &procfs::ProcError) -> Error {
    fail!(Kind::State, "read /proc/{pid}: {error}")
}

fn seccomp_mode(mode: Option<u32>) -> &'static str {
    match mode {
        Some(1) => "strict",
        Some(2) => "filter",
        _ => "disabled",
    }
}

/// Reads the label. Without a security module that has labels, the file is empty, or reading it fails with
/// EINVAL.
fn label(process: &Process) -> Option<String> {
    let mut file = process.open_relative("attr/current").ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).ok()?;
    let label = text.trim_end_matches(['\0', '\n']);
    (!label.is_empty()).then(|| label.to_owned())
}

fn capabilities(status: &Status) -> BTreeMap<&'static str, Vec<String>> {
    [
        ("ambient", status.capamb.unwrap_or_default()),
        ("bounding", status.capbnd.unwrap_or_default()),
        ("effective", status.capeff),
        ("inheritable", status.capinh),
        ("permitted", status.capprm),
    ]
    .map(|(set, bits)| (set, names(bits)))
    .into()
}

/// Returns the names. A capability that is newer than our list is shown by its number.
fn names(bits: u64) -> Vec<String> {
    let name = |number: u64| {
        let known = caps::all().into_iter().find(|known: &Capability| u64::from(known.index()) == number);
        known.map_or_else(|| format!("CAP_{number}"), |known| known.to_string())
    };
    (0..64).filter(|number| bits >> number & 1 == 1).map(name).collect()
}

/// Returns the processes among `members` that descend neither from `init` nor from another of these.
pub(super) fn exec_sessions(members: &[i32], init: i32) -> Vec<Session> {
    let parents: BTreeMap<i32, i32> = members
        .iter()
        .filter_map(|&pid| Some((pid, proc_files::stat(&Process::new(pid).ok()?).ok()?.ppid)))
        .collect();
    let starts_session = |pid: i32, parent: i32| pid != init && !parents.contains_key(&parent);
    let sessions = parents.iter().filter(|&(&pid, &parent)| starts_session(pid, parent));
    let session = |(&pid, &parent): (&i32, &i32)| {
        let args = Process::new(pid).map(|process| proc_files::args(&process)).unwrap_or_default();
        Session { pid, args, parent }
    };
    sessions.map(session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_names_and_unknown_ones_numbers() {
        assert_eq!(names(1 | 1 << 21), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        assert_eq!(names(1 << 63), ["CAP_63"]);
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let seen = of_process(std::process::id().cast_signed()).unwrap();
        assert_eq!(seen.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(seen.cwd, std::env::current_dir().unwrap().display().to_string());
    }
}
