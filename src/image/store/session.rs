//! The workplace of one process in the store: locked as long as it lives, taken away by whoever finds it unlocked.

use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};

use super::{Keys, Store};
use crate::error::{Context, Kind, Result};
use crate::image::filesystem::dir::c_string;
use crate::image::filesystem::{overlay, remove};
use crate::{fail, log};

/// How the directory ends that layers are looked at in.
pub const VIEW: &str = "below";

#[derive(Debug)]
pub struct Session {
    path: PathBuf,
    tmp: OwnedFd,
    _lock: Flock<OwnedFd>,
}

impl Session {
    /// Makes a workplace and says in it which layers are wanted. From then on none of them is pruned.
    pub fn begin(store: &Store, wanted: &[Keys]) -> Result<Self> {
        // Alone: nobody decides now what nothing uses, or takes a workplace for left that is not locked yet.
        let _alone = store.lock()?;
        clean(store)?;
        let tmp = store.path.join("tmp");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = tmp.join(format!("{}-{}", std::process::id(), now.as_nanos()));
        let making = || format!("make {}", path.display());
        DirBuilder::new().mode(0o700).create(&path).with_context(making)?;
        let lock = lock(&path)
            .with_context(making)?
            .ok_or_else(|| fail!(Kind::Exists, "{} is taken", path.display()))?;
        let text = serde_json::to_vec(wanted).map_err(|e| fail!(Kind::Spec, "{e}"))?;
        fs::write(path.join("wanted"), text).with_context(making)?;
        let tmp = fs::File::open(&tmp).with_context(making)?.into();
        Ok(Self { path, tmp, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A workplace whose process lives.
pub struct Living {
    pub name: String,
    pub wanted: Vec<Keys>,
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

/// The lock of a workplace; None where its process lives.
fn lock(path: &Path) -> Result<Option<Flock<OwnedFd>>> {
    match Flock::lock(OwnedFd::from(fs::File::open(path)?), FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// An old kernel shows layers over each other only at a directory, for a moment.
fn detach_views(path: &Path) -> Result<()> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for view in entries.filter(|path| path.extension().is_some_and(|end| end == VIEW)) {
        overlay::detach(&c_string(view.as_os_str().as_bytes())?)?;
    }
    Ok(())
}

/// Takes away what killed processes left. Returns the living ones.
pub fn clean(store: &Store) -> Result<Vec<Living>> {
    let tmp = store.path.join("tmp");
    let place = || format!("{}", tmp.display());
    let dir = OwnedFd::from(fs::File::open(&tmp).with_context(place)?);
    let mut living = Vec::new();
    for entry in fs::read_dir(&tmp).with_context(place)? {
        let path = entry.with_context(place)?.path();
        let lock = match lock(&path) {
            // It went away while we looked.
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
            let text = fs::read(path.join("wanted")).unwrap_or_default();
            living.push(Living { name, wanted: serde_json::from_slice(&text).unwrap_or_default() });
        }
    }
    Ok(living)
}
