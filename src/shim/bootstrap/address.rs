//! The shim's socket: its name, which containerd's own shim would give it as well, and who has it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use ring::digest::{SHA256, digest};

use crate::error::{Context, Result};
use crate::sys::socket::connect_now;

/// Where containerd looks for sockets of shims.
const DIRECTORY: &str = "/run/containerd/s";

/// Returns the path of the socket of a group of containers.
pub(super) fn socket_path(dir: Option<&str>, containerd: &str, namespace: &str, group: &str) -> PathBuf {
    let name = clean(&format!("{containerd}/{namespace}/{group}"));
    let hash: String =
        digest(&SHA256, name.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(dir.unwrap_or(DIRECTORY)).join(hash)
}

/// Go's filepath.Join: no empty part, no `.`, and `..` takes a part away.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let rooted = if path.starts_with('/') { "/" } else { "" };
    format!("{rooted}{}", parts.join("/"))
}

/// Who answers at a socket.
pub(super) enum Claim {
    /// Nobody; and nobody else looks while this is held.
    Free(Flock<File>),
    /// A shim that lives.
    Taken,
}

/// Claims the name of a socket, unless a living shim has it. A socket that nobody listens at is removed.
///
/// Only one process at a time looks and replaces: otherwise two containers of a pod that start at once could each get a
/// shim.
pub(super) fn claim(path: &Path) -> Result<Claim> {
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(dir).with_context(|| format!("{}: making the directory", dir.display()))?;
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    let lock = lock(dir)?;
    if is_served(path)? {
        return Ok(Claim::Taken);
    }
    remove(path);
    Ok(Claim::Free(lock))
}

/// Makes the socket, for the process that serves there.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    let listener =
        UnixListener::bind(path).with_context(|| format!("{}: making the socket", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).context("setting the socket's mode")?;
    Ok(listener)
}

fn lock(dir: &Path) -> Result<Flock<File>> {
    let opened = File::open(dir).with_context(|| format!("opening {}", dir.display()))?;
    Flock::lock(opened, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("{}: locking the directory", dir.display()))
}

/// Whether somebody listens at a socket. Only one that is not there, or refuses, is dead: for every other reason why we
/// cannot connect, a shim may live there.
///
/// Nobody is waited for: a shim that stands still may have no room for a further caller, and every other `start` would wait
/// behind us, at the lock.
fn is_served(path: &Path) -> Result<bool> {
    match connect_now(path) {
        Ok(_) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno).with_context(|| format!("{}: looking who listens", path.display())),
    }
}

/// Removes a socket at which nobody listens any more. Returns whether nobody does.
pub(super) fn remove_if_dead(path: &Path) -> Result<bool> {
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    if !dir.try_exists().with_context(|| format!("looking at {}", dir.display()))? {
        return Ok(true);
    }
    let _lock = lock(dir)?;
    let served = is_served(path)?;
    if !served {
        remove(path);
    }
    Ok(!served)
}

/// Removes a socket, and nothing else: to connect to any file is refused as to a socket that nobody listens at.
fn remove(path: &Path) {
    use std::os::unix::fs::FileTypeExt;
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_replaced_only_where_nobody_listens() {
        let dir = nix::unistd::mkdtemp("/tmp/tare-shim-claim-XXXXXX").expect("a directory");
        let path = dir.join("socket");
        assert!(remove_if_dead(&path).expect("none"), "nothing there");
        let Ok(Claim::Free(lock)) = claim(&path) else { panic!("the first claim") };
        let listener = bind(&path).expect("a socket");
        drop(lock);
        assert!(matches!(claim(&path), Ok(Claim::Taken)));
        assert!(!remove_if_dead(&path).expect("served"));
        drop(listener);
        assert!(remove_if_dead(&path).expect("dead") && !path.exists());
        // What is no socket: nobody has said that it is dead.
        std::os::unix::fs::symlink("socket", &path).expect("a link to itself");
        assert!(claim(&path).is_err() && remove_if_dead(&path).is_err());
        assert!(fs::symlink_metadata(&path).is_ok(), "it is left alone");
        fs::remove_dir_all(dir).expect("removing the directory");
    }
}
