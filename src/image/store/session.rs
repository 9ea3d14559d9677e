//! The session of one process in the store: a directory that is locked as long as the process lives, and that
//! lists the layers it needs. A process that finds an unlocked session removes it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};

use super::directories::Directories;
use super::{LayerIds, MAX_RECORD, Store, names};
use crate::error::{Context, Error, Kind, Result};
use crate::image::document::manifest;
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::lock::Lock;
use crate::image::filesystem::remove;
use crate::inroot::c_string;
use crate::{fail, log};

/// The file in a session that lists the layers the process needs.
const NEEDED: &str = "needed";

/// This process's session. While it lives, `prune` keeps the layers it names. When it is dropped, its
/// directory is removed.
#[derive(Debug)]
pub(super) struct Session {
    path: PathBuf,
    name: String,
    dirs: Arc<Directories>,
    _lock: Lock<OwnedFd>,
}

impl Session {
    /// Makes a session that needs these layers. From then on none of them is pruned.
    pub(super) fn begin(store: &Store, needed: &[LayerIds]) -> Result<Self> {
        // Under the lock: no prune decides meanwhile which layers are unused, and nobody takes this directory
        // for a dead session before it is locked.
        let _lock = store.dirs.lock()?;
        remove_dead_sessions(store)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{}-{}", std::process::id(), now.as_nanos());
        let path = store.fd_path().join("tmp").join(&name);
        let making = || format!("make {}", store.shown(&path).display());
        mkdirat(&store.dirs.tmp, name.as_str(), Mode::S_IRWXU).with_context(making)?;
        let dir = store.dirs.tmp.below(&name)?;
        let lock = try_lock(&dir)
            .with_context(making)?
            .ok_or_else(|| fail!(Kind::Exists, "it is locked by another process"))
            .with_context(making)?;
        let text = serde_json::to_vec(needed).map_err(|e| fail!(Kind::Spec, "{e}"))?;
        dir.replace_for_now(NEEDED, &text, 0o600).with_context(making)?;
        Ok(Self { path, name, dirs: Arc::clone(&store.dirs), _lock: lock })
    }

    /// The path of the session's directory for system calls.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }
}

/// A session whose process lives.
pub(super) struct ActiveSession {
    pub(super) name: String,
    pub(super) needed: Vec<LayerIds>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(name) = c_string(self.name.as_bytes())
            && let Err(errno) = remove::tree(self.dirs.tmp.as_fd(), &name)
        {
            log::warn(format_args!(
                "remove {}: {}",
                self.dirs.tmp.path_of(&self.name).display(),
                errno.desc()
            ));
        }
    }
}

/// Locks a session; None if its process lives and holds the lock.
fn try_lock(dir: &Directory) -> Result<Option<Lock<OwnedFd>>> {
    match Lock::try_now(dir.as_fd().try_clone_to_owned()?) {
        Ok(lock) => Ok(Some(lock)),
        Err(Errno::EWOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes the sessions of processes that have ended, and the layers that a killed prune was removing.
/// Returns the active sessions. What has another name stays as it is. The caller holds the store's lock.
pub(super) fn remove_dead_sessions(store: &Store) -> Result<Vec<ActiveSession>> {
    let tmp = &store.dirs.tmp;
    store.dirs.remove_abandoned_records()?;
    let mut active = Vec::new();
    for name in tmp.names()? {
        if names::is_session(&name) {
            active.extend(look_at_session(tmp, &name)?);
        } else if names::is_layer(&name) {
            remove_tree(tmp, &name)?;
        }
    }
    Ok(active)
}

/// Removes a session of a process that has ended; returns it if its process lives.
fn look_at_session(tmp: &Directory, name: &str) -> Result<Option<ActiveSession>> {
    let path = tmp.path_of(name);
    let dir = match tmp.below(name) {
        // Another process removed it meanwhile.
        Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(None),
        // We have not made this.
        Err(error) if error.kind() == Kind::Denied || error.errno() == Some(Errno::ENOTDIR) => {
            return Ok(None);
        }
        dir => dir?,
    };
    if try_lock(&dir).with_context(|| format!("lock {}", path.display()))?.is_some() {
        log::debug(format_args!("{}: left by a process that ended", path.display()));
        remove_tree(tmp, name)?;
        return Ok(None);
    }
    let needed = match dir.read_small(NEEDED, MAX_RECORD)? {
        Some(text) => manifest::parse_json(&text).with_context(|| path.join(NEEDED).display().to_string())?,
        // Its process is just removing it.
        None => Vec::new(),
    };
    Ok(Some(ActiveSession { name: name.to_owned(), needed }))
}

fn remove_tree(dir: &Directory, name: &str) -> Result<()> {
    let removed = c_string(name.as_bytes()).and_then(|name| remove::tree(dir.as_fd(), &name));
    removed.map_err(Error::from).with_context(|| format!("remove {}", dir.path_of(name).display()))
}
