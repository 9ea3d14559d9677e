//! The session of one process in the store: a directory that is locked as long as the process lives, and that lists the
//! layers it needs. A process that finds an unlocked session removes it.

use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};

use super::{LayerIds, Store};
use crate::error::{Context, Kind, Result};
use crate::image::filesystem::{overlay, remove};
use crate::inroot::c_string;
use crate::{fail, log};

/// Extension of the mount points of lower layers.
pub(super) const VIEW: &str = "below";

/// The file in a session that lists the layers the process needs.
const NEEDED: &str = "needed";

/// This process's session. While it lives, `prune` keeps the layers it names. When it is dropped, its directory is
/// removed.
#[derive(Debug)]
pub(super) struct Session {
    path: PathBuf,
    tmp: OwnedFd,
    _lock: Flock<OwnedFd>,
}

impl Session {
    /// Makes a session that needs these layers. From then on none of them is pruned.
    pub(super) fn begin(store: &Store, needed: &[LayerIds]) -> Result<Self> {
        // Under the lock: no prune decides meanwhile which layers are unused, and nobody takes this directory for a dead
        // session before it is locked.
        let _lock = store.lock()?;
        remove_dead_sessions(store)?;
        let tmp = store.path.join("tmp");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = tmp.join(format!("{}-{}", std::process::id(), now.as_nanos()));
        let making = || format!("make {}", path.display());
        DirBuilder::new().mode(0o700).create(&path).with_context(making)?;
        let lock = try_lock(&path)
            .with_context(making)?
            .ok_or_else(|| fail!(Kind::Exists, "{} is locked by another process", path.display()))?;
        let text = serde_json::to_vec(needed).map_err(|e| fail!(Kind::Spec, "{e}"))?;
        fs::write(path.join(NEEDED), text).with_context(making)?;
        let tmp = fs::File::open(&tmp).with_context(making)?.into();
        Ok(Self { path, tmp, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A session whose process lives.
pub(super) struct ActiveSession {
    pub(super) name: String,
    pub(super) needed: Vec<LayerIds>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let name = self.path.file_name().unwrap_or_default();
        if let Ok(name) = c_string(name.as_bytes())
            && let Err(errno) = remove::tree(self.tmp.as_fd(), &name)
        {
            log::warn(format_args!("remove {}: {}", self.path.display(), errno.desc()));
        }
    }
}

/// Locks a session; None if its process lives and holds the lock.
fn try_lock(path: &Path) -> Result<Option<Flock<OwnedFd>>> {
    match Flock::lock(OwnedFd::from(fs::File::open(path)?), FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Unmounts the overlays that a killed process left in its session. Only kernels without the mount API need such a
/// mount point, and only for a moment.
fn detach_views(path: &Path) -> Result<()> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for view in entries.filter(|path| path.extension().is_some_and(|end| end == VIEW)) {
        overlay::detach(&c_string(view.as_os_str().as_bytes())?)?;
    }
    Ok(())
}

/// Removes the sessions of processes that have ended. Returns the active ones. The caller holds the store's lock.
pub(super) fn remove_dead_sessions(store: &Store) -> Result<Vec<ActiveSession>> {
    let tmp = store.path.join("tmp");
    let place = || format!("{}", tmp.display());
    let dir = OwnedFd::from(fs::File::open(&tmp).with_context(place)?);
    let mut active = Vec::new();
    for entry in fs::read_dir(&tmp).with_context(place)? {
        let path = entry.with_context(place)?.path();
        let lock = match try_lock(&path) {
            // Another process removed it meanwhile.
            Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => continue,
            lock => lock.with_context(|| format!("lock {}", path.display()))?,
        };
        if lock.is_some() {
            log::debug(format_args!("{}: left by a process that ended", path.display()));
            let name = c_string(path.file_name().unwrap_or_default().as_bytes())?;
            detach_views(&path)?;
            remove::tree(dir.as_fd(), &name).with_context(|| format!("remove {}", path.display()))?;
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read(path.join(NEEDED)).unwrap_or_default();
            active.push(ActiveSession { name, needed: serde_json::from_slice(&text).unwrap_or_default() });
        }
    }
    Ok(active)
}
