//! `Target`: the first process of a container, opened so that it cannot become another one, with its
//! namespaces and its control group.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::stat;

use super::foreign::ForeignRecord;
use crate::cgroup::{Group, Record};
use crate::container::Status;
use crate::container::record::ProcessIdentity;
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::fail;
use crate::host::cgroup::Layout;
use crate::lifecycle::load::LoadedContainer;
use crate::lifecycle::verbs::exec;
use crate::plan::namespaces::Namespace;
use crate::sys::process::{namespace_owner, pidfd_open, pidfd_send_signal};

/// The names of namespaces in /proc/PID/ns.
const NAMESPACES: [(&str, Namespace); 8] = [
    ("user", Namespace::USER),
    ("mnt", Namespace::MOUNT),
    ("pid", Namespace::PID),
    ("net", Namespace::NETWORK),
    ("ipc", Namespace::IPC),
    ("uts", Namespace::UTS),
    ("cgroup", Namespace::CGROUP),
    ("time", Namespace::TIME),
];

/// A container to debug.
#[derive(Debug)]
pub(super) struct Target {
    pub id: ContainerId,
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// The namespaces that it has and we have not, as CLONE_NEW* flags.
    pub namespaces: i32,
    /// `None` if it has no control group of its own.
    pub group: Option<Group>,
    pub config: ConfigSource,
    paused: bool,
}

/// Where the container's configuration is.
#[derive(Debug)]
pub(super) enum ConfigSource {
    /// The bytes of the copy that we keep.
    Kept(Vec<u8>),
    /// The bundle of another runtime.
    Bundle(PathBuf),
    Unknown,
}

impl Target {
    /// A container of ours, whose directory belongs to user `owner`.
    pub(super) fn own(container: &LoadedContainer, owner: u32) -> Result<Self> {
        match container.status {
            Status::Stopped => return Err(Error::new(Kind::State, matched::NOT_RUNNING)),
            Status::Creating => {
                return Err(fail!(Kind::State, "cannot debug a container that is being created"));
            }
            Status::Running | Status::Created | Status::Paused => {}
        }
        let (pid, pidfd) = (container.pid()?, container.pidfd()?);
        check_owner(pid, owner)?;
        Ok(Self {
            id: container.record.id.clone(),
            pid,
            namespaces: namespaces(pid, &pidfd)?,
            pidfd,
            group: container.record.cgroup.as_ref().map(|_| exec::default_group(container)).transpose()?,
            config: ConfigSource::Kept(container.entry.config()?),
            paused: container.status == Status::Paused,
        })
    }

    /// A container of another runtime.
    pub(super) fn foreign(id: &ContainerId, record: &ForeignRecord) -> Result<Self> {
        let pid = record.init.pid;
        let pidfd = open(record.init)?;
        check_owner(pid, record.owner)?;
        let group = group(pid)?;
        let paused = match group.is_frozen() {
            Err(error) if error.kind() == Kind::Unsupported || error.errno() == Some(Errno::ENOENT) => false,
            other => other?,
        };
        Ok(Self {
            id: id.clone(),
            pid,
            namespaces: namespaces(pid, &pidfd)?,
            pidfd,
            group: Some(group),
            config: record.bundle.clone().map_or(ConfigSource::Unknown, ConfigSource::Bundle),
            paused,
        })
    }

    /// Refuses what nobody can debug now.
    pub(super) fn check(&self) -> Result<()> {
        if self.paused {
            let error = fail!(Kind::State, "container {} is paused: a process in it would wait too", self.id);
            return Err(error.with_hint("`tare resume`, or the engine's `unpause`, lets it go on"));
        }
        if self.namespaces & Namespace::MOUNT.0 == 0 {
            let why = "has no mount namespace of its own: its processes see this host's files";
            return Err(fail!(Kind::Unsupported, "container {} {why}", self.id));
        }
        Ok(())
    }
}

/// Opens the process, if it is still the one that the record names.
fn open(init: ProcessIdentity) -> Result<OwnedFd> {
    let ended = || Error::new(Kind::State, matched::NOT_RUNNING);
    // Before the comparison: later, the pid could have become another process's.
    let pidfd = match pidfd_open(init.pid) {
        Err(Errno::ESRCH | Errno::EINVAL) => return Err(ended()),
        other => other.with_context(|| format!("open process {}", init.pid))?,
    };
    if init.is_alive()? { Ok(pidfd) } else { Err(ended()) }
}

/// Refuses a record that a user could write, and that names a process in which this user is not root anyway:
/// it could lead root to a process of the host.
fn check_owner(pid: i32, owner: u32) -> Result<()> {
    let us = nix::unistd::geteuid().as_raw();
    if owner == us || owner == 0 {
        return Ok(());
    }
    let path = format!("/proc/{pid}/ns/user");
    let users = File::open(&path).with_context(|| format!("open {path}"))?;
    let theirs = namespace_owner(users.as_fd()).with_context(|| format!("{path}: ask for the owner"))?;
    let ours = is_ours("user", pid)?;
    if theirs == owner && !ours {
        return Ok(());
    }
    let why =
        format!("the record of user {owner} names process {pid}, whose user namespace is not that user's");
    Err(Error::new(Kind::Denied, why))
}

/// Returns the namespaces of the process that are not ours.
fn namespaces(pid: i32, pidfd: &OwnedFd) -> Result<i32> {
    let mut flags = 0;
    for (name, namespace) in NAMESPACES {
        if !is_ours(name, pid)? {
            flags |= namespace.0;
        }
    }
    // All of that was this process's, because it is still there.
    match pidfd_send_signal(pidfd.as_fd(), 0) {
        Err(Errno::ESRCH) => Err(Error::new(Kind::State, matched::NOT_RUNNING)),
        other => other.with_context(|| format!("look at process {pid}")).map(|()| flags),
    }
}

/// Whether the process is in our namespace of this name, or the kernel has none.
fn is_ours(name: &str, pid: i32) -> Result<bool> {
    let look = |path: String| match stat(&*path) {
        Err(Errno::ENOENT) => Ok(None),
        other => other.map(|stat| Some((stat.st_dev, stat.st_ino))).with_context(|| format!("stat {path}")),
    };
    let Some(ours) = look(format!("/proc/self/ns/{name}"))? else { return Ok(true) };
    let theirs = look(format!("/proc/{pid}/ns/{name}"))?;
    theirs.map(|theirs| theirs == ours).ok_or_else(|| Error::new(Kind::State, matched::NOT_RUNNING))
}

/// Returns the control group that the process is in.
fn group(pid: i32) -> Result<Group> {
    let read = |path: &str| -> Result<String> {
        let text = crate::sys::file::read_small_at(path).with_context(|| format!("read {path}"))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read(&format!("/proc/{pid}/cgroup"))?;
    let layout = Layout::parse(&text, &read("/proc/self/mountinfo")?);
    Ok(Group::from_record(&Record::of_members(&layout)?))
}
