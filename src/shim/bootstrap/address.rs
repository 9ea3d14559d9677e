//! The shim's socket: its name, which containerd's own shim would give it as well, and who has it.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use ring::digest::{SHA256, digest};

use crate::error::{Context, Result};

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
    /// We do.
    Ours(UnixListener),
    /// A shim that lives.
    Taken,
}

/// Takes the socket, unless a living shim has it. A socket that nobody listens at is replaced.
///
/// Only one process at a time looks and replaces, and a socket gets its name when it listens already: otherwise two
/// containers of a pod that start at once could each get a shim.
pub(super) fn claim(path: &Path) -> Result<Claim> {
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(dir).with_context(|| format!("{}: making the directory", dir.display()))?;
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    let _lock = lock(dir)?;
    if UnixStream::connect(path).is_ok() {
        return Ok(Claim::Taken);
    }
    let new = dir.join(format!(".{}", std::process::id()));
    remove(&new);
    let listener =
        UnixListener::bind(&new).with_context(|| format!("{}: making the socket", new.display()))?;
    fs::set_permissions(&new, Permissions::from_mode(0o600)).context("setting the socket's mode")?;
    fs::rename(&new, path).with_context(|| format!("{}: naming the socket", path.display()))?;
    Ok(Claim::Ours(listener))
}

fn lock(dir: &Path) -> Result<Flock<File>> {
    let opened = File::open(dir).with_context(|| format!("opening {}", dir.display()))?;
    Flock::lock(opened, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("{}: locking the directory", dir.display()))
}

/// Removes a socket at which nobody listens any more. Returns whether nobody does.
pub(super) fn remove_if_dead(path: &Path) -> bool {
    let Some(Ok(_lock)) = path.parent().filter(|dir| dir.is_dir()).map(lock) else { return true };
    match UnixStream::connect(path) {
        Ok(_) => false,
        Err(error) => {
            if error.kind() == ErrorKind::ConnectionRefused {
                remove(path);
            }
            true
        }
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}
