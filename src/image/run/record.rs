//! What is known of a container between commands: `container.json` in its directory, `STORE/containers/NAME`.
//!
//! The process that runs the container holds a lock on the directory as long as it lives. A directory without
//! that lock is a container that has ended, which `exit` tells, or one whose process was killed: what it has
//! left is removed by the next command (`finish`).

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use serde::{Deserialize, Serialize};

use super::network::{self, Attachment};
use super::runtime::{Runtime, Target};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::document::manifest;
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::lock::Lock;
use crate::image::limits::MAX_CONFIG;
use crate::image::store::Store;

/// The file with the record.
const RECORD: &str = "container.json";
/// The largest record in bytes. A command line may be as long as the configuration of an image, and a network's list and
/// what its plugins have answered have a mebibyte each: what was written is read again, whatever they are.
const MAX_RECORD: u64 = 32 << 20;
const _: () = assert!(MAX_RECORD > 3 * MAX_CONFIG);

/// The content of `container.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) id: ContainerId,
    /// The reference of its image.
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    /// When it was made, as RFC 3339 writes it.
    pub(crate) created: String,
    pub(crate) runtime: Runtime,
    /// Whether it is removed when it has ended.
    pub(crate) remove: bool,
    /// Whether its output is in its log.
    pub(crate) detached: bool,
    /// What plugins have made of its network, or are making.
    pub(crate) attachment: Option<Attachment>,
    /// How it has ended.
    pub(crate) exit: Option<Exit>,
}

/// How a container has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exit {
    /// Its exit code; None if the process that waited for it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) finished: String,
}

/// The directory of a container, locked by this process.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(super) store: Store,
    pub(super) containers: Directory,
    pub(super) name: String,
    pub(super) dir: Directory,
    _lock: Lock<OwnedFd>,
}

impl Owned {
    /// Makes the directory of a new container.
    ///
    /// # Errors
    ///
    /// `Kind::Exists` if there is a container of this name.
    pub(super) fn create(store: &Store, id: &ContainerId) -> Result<Self> {
        let containers = store.containers()?;
        loop {
            match mkdirat(&containers, id.as_str(), Mode::S_IRWXU) {
                Err(Errno::EEXIST) => return Err(taken(id)),
                made => {
                    made.with_context(|| format!("make {}", containers.path_of(id.as_str()).display()))?;
                }
            }
            // A command that finds the directory before it is locked removes it.
            if let Some(owned) = Self::lock(store, id.as_str(), true)? {
                return Ok(owned);
            }
        }
    }

    /// Locks the directory of a container; None if it is gone, or if its process lives and `wait` is false.
    pub(super) fn lock(store: &Store, name: &str, wait: bool) -> Result<Option<Self>> {
        let containers = store.containers()?;
        let dir = match containers.below(name) {
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => return Ok(None),
            dir => dir?,
        };
        let fd = dir.as_fd().try_clone_to_owned()?;
        let lock = match if wait { Lock::wait(fd) } else { Lock::try_now(fd) } {
            Err(Errno::EWOULDBLOCK) => return Ok(None),
            lock => lock.with_context(|| format!("lock {}", containers.path_of(name).display()))?,
        };
        // Another process may have removed it before it was locked.
        let found = dir.stat()?;
        let now = containers.stat_of(name)?;
        if now.is_none_or(|now| (now.st_dev, now.st_ino) != (found.st_dev, found.st_ino)) {
            return Ok(None);
        }
        Ok(Some(Self { store: store.clone(), containers, name: name.into(), dir, _lock: lock }))
    }

    /// The absolute path of a file in the directory.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        path(&self.store, &self.name).join(name)
    }

    /// The container as the runtime is told of it.
    pub(super) fn target(&self) -> Target<'_> {
        Target { id: &self.name, dir: &self.dir, path: self.path_of("") }
    }

    /// The path of the network namespace.
    pub(super) fn namespace(&self) -> PathBuf {
        network::namespace_path(&self.path_of(""))
    }

    pub(super) fn bundle(&self) -> PathBuf {
        self.path_of("bundle")
    }

    pub(super) fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|e| fail!(Kind::Spec, "{RECORD}: {e}"))?;
        self.dir.replace(RECORD, &text, 0o600)
    }

    pub(super) fn read(&self) -> Result<Option<Record>> {
        read_in(&self.dir)
    }
}

/// A container as the runtime is told of it, whoever has locked it.
pub(super) fn target<'a>(dir: &'a Directory, store: &Store, name: &'a str) -> Target<'a> {
    Target { id: name, dir, path: path(store, name) }
}

/// This moment, as RFC 3339 writes it.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// The directory of a container.
fn path(store: &Store, name: &str) -> PathBuf {
    store.path().join("containers").join(name)
}

fn read_in(dir: &Directory) -> Result<Option<Record>> {
    let Some(text) = dir.read_small(RECORD, MAX_RECORD)? else { return Ok(None) };
    manifest::parse_json(&text).map(Some).with_context(|| dir.path_of(RECORD).display().to_string())
}

/// Reads the record of a container; None if there is no such container, or it is only being made.
pub(super) fn read(store: &Store, name: &str) -> Result<Option<Record>> {
    match store.containers()?.below(name) {
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => Ok(None),
        dir => read_in(&dir?),
    }
}

/// Whether the process of a container lives.
pub(super) fn is_locked(store: &Store, name: &str) -> Result<bool> {
    match store.containers()?.below(name) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
        dir => Ok(Lock::try_now_shared(dir?.as_fd().try_clone_to_owned()?) == Err(Errno::EWOULDBLOCK)),
    }
}

/// The names of all containers.
pub(super) fn names(store: &Store) -> Result<Vec<String>> {
    let mut names = store.containers()?.names()?;
    names.retain(|name| ContainerId::parse(name).is_ok());
    Ok(names)
}

pub(super) fn taken(id: &ContainerId) -> Error {
    let error = fail!(Kind::Exists, "the name {:?} is taken by another container", id.as_str());
    error.with_hint(format!("`tare-image remove {id}` removes it, with --force even while it runs"))
}
