//! Runs the program again in a user namespace, as its root, for users without privileges.
//!
//! The second process makes the namespace and stops itself. The first one has the ids of /etc/subuid and
//! /etc/subgid mapped by newuidmap(1) and newgidmap(1), continues it, and returns its exit code. Without such
//! ids the second process maps the user's own id only.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};
use serde::{Deserialize, Serialize};

use super::mapping::{IdMapping, IdRange};
use crate::error::{Context, Kind, Result};
use crate::sys::process::parent_death_signal;
use crate::{fail, log};

/// The environment variable that tells a process that it is the second one, and tells which ids to map.
pub(crate) const STAGE_VARIABLE: &str = "TARE_IMAGE_NAMESPACE";

/// Which ids the namespace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MappedIds {
    /// Only root, which is the user outside.
    Single,
    /// The user's subordinate ids too (subuid(5)).
    Ranges,
}

impl MappedIds {
    fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Ranges => "ranges",
        }
    }
}

/// The privileges of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// Root of the host.
    Root,
    /// A user without privileges.
    User,
    /// Root of a namespace that this program made for such a user.
    OwnNamespace(MappedIds),
    /// Root of a namespace that somebody else made.
    ForeignNamespace,
}

/// Whether this is the host's own user namespace. It is asked for often, and a process of root enters no other.
static IS_INITIAL: OnceLock<bool> = OnceLock::new();

fn is_initial() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<&str> = map.split_whitespace().collect();
    // KERNEL(3.8): before it there are no user namespaces.
    words.is_empty() || words == ["0", "0", "4294967295"]
}

impl Privilege {
    /// Finds out from the environment, the user id and /proc/self/uid_map.
    pub(crate) fn detect() -> Self {
        match std::env::var(STAGE_VARIABLE).ok().as_deref() {
            Some("single") => return Self::OwnNamespace(MappedIds::Single),
            Some("ranges") => return Self::OwnNamespace(MappedIds::Ranges),
            _ => {}
        }
        if !geteuid().is_root() {
            return Self::User;
        }
        if *IS_INITIAL.get_or_init(is_initial) { Self::Root } else { Self::ForeignNamespace }
    }

    /// Whether the process is in a user namespace, where it cannot make device nodes and `trusted.*`
    /// attributes.
    pub(crate) fn is_confined(self) -> bool {
        matches!(self, Self::OwnNamespace(_) | Self::ForeignNamespace)
    }
}

/// Makes the namespace, in the second process; does nothing in any other. Called first of all, because
/// unshare(2) of a user namespace needs a process with one thread.
pub(crate) fn enter_if_second() -> Result<()> {
    let Some(mark) = std::env::var_os(STAGE_VARIABLE) else { return Ok(()) };
    let (user, group) = (geteuid(), getegid());
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    unshare(flags).map_err(|errno| {
        let error = crate::error::Error::from(errno).context("make a user namespace");
        if errno == Errno::EPERM || errno == Errno::ENOSPC || errno == Errno::EUSERS {
            error.with_hint("the host forbids it to users: see kernel.unprivileged_userns_clone, user.max_user_namespaces, AppArmor")
        } else {
            error
        }
    })?;
    if mark == OsStr::new("single") {
        let write = |name: &str, text: String| {
            fs::write(format!("/proc/self/{name}"), text).with_context(|| format!("write {name}"))
        };
        write("setgroups", "deny".into())?;
        write("uid_map", format!("0 {user} 1"))?;
        return write("gid_map", format!("0 {group} 1"));
    }
    raise(Signal::SIGSTOP).context("wait for the ids of the user namespace")?;
    if mark == OsStr::new("hold") {
        // Only the namespace was wanted, and it is known by now.
        std::process::exit(0);
    }
    parent_death_signal(libc::SIGTERM).context("set the signal for the parent's end")
}

/// Runs this program again in a namespace of its own and returns its exit code. `requested` are the ids to
/// map; None maps as many as possible. `meanwhile` is called once the other process is on its way.
pub(crate) fn run_in_namespace(
    requested: Option<MappedIds>,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<i32> {
    let found = match requested {
        Some(MappedIds::Single) => None,
        _ => subordinate_mapping()?,
    };
    let mapping = match (found, requested) {
        (None, Some(MappedIds::Ranges)) => {
            let error = fail!(Kind::NotFound, "the user has no subordinate ids");
            return Err(error.with_hint("root gives some: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER; newuidmap is of Debian's package uidmap"));
        }
        (found, _) => found,
    };
    let Some(mapping) = mapping else {
        log::debug(format_args!("one id only: other owners are kept in attributes"));
        let mut child = spawn_self(MappedIds::Single.word())?;
        meanwhile()?;
        return Ok(exit_code(child.wait().context("wait for the second process")?));
    };
    let child = spawn_self(MappedIds::Ranges.word())?;
    let pid = wait_until_stopped(&child)?;
    let mapped = run_mapping_helper("newuidmap", pid, &mapping.uids)
        .and_then(|()| run_mapping_helper("newgidmap", pid, &mapping.gids));
    continue_and_wait(child, pid, mapped, meanwhile)
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn continue_and_wait(
    mut child: Child,
    pid: Pid,
    mapped: Result<()>,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<i32> {
    if let Err(error) = mapped {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    kill(pid, Signal::SIGCONT).context("let the second process go on")?;
    meanwhile()?;
    Ok(exit_code(child.wait().context("wait for the second process")?))
}

fn spawn_self(mark: &str) -> Result<Child> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(words).env(STAGE_VARIABLE, mark);
    if mark == "hold" {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    command.spawn().context("start tare-image again")
}

/// Waits until the second process has stopped itself in its namespace.
///
/// # Errors
///
/// `Kind::Denied` if the second process has ended; it has reported the reason itself.
fn wait_until_stopped(child: &Child) -> Result<Pid> {
    let pid = Pid::from_raw(child.id().cast_signed());
    match waitpid(pid, Some(WaitPidFlag::WUNTRACED)).context("wait for the second process")? {
        WaitStatus::Stopped(..) => Ok(pid),
        _ => Err(fail!(Kind::Denied, "there is no user namespace to unpack in")),
    }
}

fn run_mapping_helper(program: &str, pid: Pid, ranges: &[IdRange]) -> Result<()> {
    let numbers = ranges.iter().flat_map(|range| [range.inner, range.host, range.size]);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .output()
        .with_context(|| format!("run {program}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(fail!(Kind::Denied, "{words}"))
        }
    }
}

/// Returns the mapping of the user to root and of all subordinate ids to the ids after root; None if there
/// are no subordinate ids, or no newuidmap(1).
fn subordinate_mapping() -> Result<Option<IdMapping>> {
    let is_there = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
    };
    if !is_there("newuidmap") || !is_there("newgidmap") {
        return Ok(None);
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let name = user_name(uid);
    let ranges = |file: &str, own: u32| -> Result<Vec<IdRange>> {
        match fs::read_to_string(file) {
            Ok(text) => Ok(parse_subordinate_ids(&text, uid, name.as_deref(), own)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("read {file}")),
        }
    };
    let mapping = IdMapping { uids: ranges("/etc/subuid", uid)?, gids: ranges("/etc/subgid", gid)? };
    Ok((mapping.uids.len() > 1 && mapping.gids.len() > 1).then_some(mapping))
}

/// The user's name in /etc/passwd. An account that is not in the file is found by its number.
fn user_name(uid: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn parse_subordinate_ids(text: &str, uid: u32, name: Option<&str>, own: u32) -> Vec<IdRange> {
    let mut ranges = vec![IdRange { inner: 0, host: own, size: 1 }];
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let is_own = fields.next().is_some_and(|owner| Some(owner) == name || owner == uid.to_string());
        let mut number = || fields.next().and_then(|text| text.parse::<u32>().ok());
        if let (true, Some(host), Some(size @ 1..)) = (is_own, number(), number()) {
            let inner = ranges.last().map_or(0, |last| last.inner + last.size);
            ranges.push(IdRange { inner, host, size });
        }
    }
    ranges
}

/// The mapping of the namespace that this process is in.
pub(crate) fn current_mapping() -> Result<IdMapping> {
    let read = |file: &str| -> Result<Vec<IdRange>> {
        let text = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
            let mut next = || numbers.next().flatten();
            Some(IdRange { inner: next()?, host: next()?, size: next()? })
        };
        Ok(text.lines().filter_map(range).collect())
    };
    Ok(IdMapping { uids: read("/proc/self/uid_map")?, gids: read("/proc/self/gid_map")? })
}

/// Makes a user namespace with this mapping, for idmapped mounts, and returns its descriptor. Root only; no
/// process stays in it.
pub(crate) fn create(mapping: &IdMapping) -> Result<OwnedFd> {
    let mut child = spawn_self("hold")?;
    let pid = wait_until_stopped(&child)?;
    let made = || -> Result<OwnedFd> {
        for (file, ranges) in [("uid_map", &mapping.uids), ("gid_map", &mapping.gids)] {
            let line = |range: &IdRange| format!("{} {} {}\n", range.inner, range.host, range.size);
            let path = format!("/proc/{pid}/{file}");
            fs::write(&path, ranges.iter().map(line).collect::<String>())
                .with_context(|| format!("write {path}"))?;
        }
        let path = format!("/proc/{pid}/ns/user");
        Ok(fs::File::open(&path).with_context(|| format!("open {path}"))?.into())
    };
    let made = made().context("make a user namespace for the mapping");
    let _ = child.kill();
    let _ = child.wait();
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_follow_the_users_own() {
        let text = "root:1:2\nann:100000:65536\n1000:300000:10\nbroken\nann:x:5\n";
        let range = |inner, host, size| IdRange { inner, host, size };
        let expected = [range(0, 1000, 1), range(1, 100_000, 65536), range(65537, 300_000, 10)];
        assert_eq!(parse_subordinate_ids(text, 1000, Some("ann"), 1000), expected);
        assert_eq!(parse_subordinate_ids(text, 7, None, 7), [range(0, 7, 1)]);
    }
}
