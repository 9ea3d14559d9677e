//! Paths resolved inside a root we do not trust, by descriptor and never by string.
//!
//! A rootfs belongs to its image: any component may be a symlink that points at the host. Every lookup here is one
//! openat2 with RESOLVE_IN_ROOT, so the kernel treats the root as `/` and no swap between look and use can leave it.

mod walk;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::sys::file::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2};

pub type Result<T> = std::result::Result<T, Errno>;

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

const IN_ROOT: u64 = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

/// A directory that stands for `/` in every lookup made through it.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Root {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl Root {
    /// Opens a directory of the host as a root.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty()).map(Self)
    }

    /// Opens what `path` leads to, symlinks followed inside the root. `flags` are open(2)'s.
    pub fn resolve(&self, path: &CStr, flags: OFlag) -> Result<OwnedFd> {
        self.create(path, flags, 0)
    }

    /// As `resolve`, with the mode that O_CREAT uses.
    pub fn create(&self, path: &CStr, flags: OFlag, mode: u32) -> Result<OwnedFd> {
        // A path of "" or "/" is the root itself, which openat2 wants spelled ".".
        let path = if path.is_empty() || path.to_bytes() == b"/" { c"." } else { path };
        match openat2(self.0.as_fd(), path, flags.bits(), mode, IN_ROOT) {
            // KERNEL(5.6): before it there is no openat2.
            Err(Errno::ENOSYS) => walk::open(self.0.as_fd(), path, flags, Mode::from_bits_truncate(mode)),
            other => other,
        }
    }

    /// Opens the directory `path`, making each missing component with `mode` (before umask).
    ///
    /// Each component is made below a descriptor of its parent, so a symlink swapped in meanwhile cannot place a
    /// directory outside (CVE-2024-45310). Where a component is a symlink that dangles (`/var/run -> /run` in an image
    /// without /run), the directory is made where it leads, inside the root.
    pub fn mkdir_all(&self, path: &CStr, mode: u32) -> Result<OwnedFd> {
        self.mkdir_following(path, mode, MOST_LINKS)
    }

    fn mkdir_following(&self, path: &CStr, mode: u32, links: u32) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match self.resolve(path, flags) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let mut done = Vec::with_capacity(path.count_bytes() + 1);
        let mut parent = self.resolve(c".", flags)?;
        for name in path.to_bytes().split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            done.push(b'/');
            done.extend_from_slice(name);
            let so_far = c_string(&done)?;
            parent = match self.resolve(&so_far, flags) {
                Err(Errno::ENOENT) => {
                    self.mkdir_in(&parent, &c_string(name)?, mode)?;
                    match self.resolve(&so_far, flags) {
                        Err(Errno::ENOENT) => {
                            let links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                            let target = link_target(&parent, &done, name)?;
                            self.mkdir_following(&target, mode, links)?
                        }
                        other => other?,
                    }
                }
                other => other?,
            };
        }
        Ok(parent)
    }

    fn mkdir_in(&self, parent: &OwnedFd, name: &CStr, mode: u32) -> Result<()> {
        match nix::sys::stat::mkdirat(parent, name, Mode::from_bits_truncate(mode)) {
            // Somebody was faster; what it made is looked at by the lookup that follows.
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// The directory that holds the last component of `path` (made if missing), and that component's name.
    pub fn parent(&self, path: &CStr, mode: u32) -> Result<(OwnedFd, CString)> {
        let bytes = path.to_bytes();
        let end = bytes.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
        let start = bytes[..end].iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
        let name = c_string(&bytes[start..end])?;
        if name.is_empty() || name.to_bytes() == b"." || name.to_bytes() == b".." {
            return Err(Errno::EINVAL);
        }
        Ok((self.mkdir_all(&c_string(&bytes[..start])?, mode)?, name))
    }
}

/// Where the link `name` in `parent` leads, as a path from the root; `path` is its own.
fn link_target(parent: &OwnedFd, path: &[u8], name: &[u8]) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    let target = nix::fcntl::readlinkat(parent, c_string(name)?.as_c_str())?;
    if target.as_bytes().starts_with(b"/") {
        return c_string(target.as_bytes());
    }
    c_string(&[&path[..path.len() - name.len()], target.as_bytes()].concat())
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("tare-inroot-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("root")).unwrap();
        dir
    }

    #[test]
    fn an_absolute_symlink_stays_inside() {
        let dir = scratch("absolute");
        symlink("/outside", dir.join("root/link")).unwrap();
        let root = Root::open(&dir.join("root")).unwrap();
        root.mkdir_all(c"/outside/deep", 0o755).unwrap();
        root.mkdir_all(c"/link/more/still", 0o755).unwrap();
        assert!(dir.join("root/outside/more/still").is_dir());
        assert!(!Path::new("/outside").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_directory_below_a_dangling_link_is_made_where_it_leads() {
        let dir = scratch("dangling");
        fs::create_dir(dir.join("root/var")).unwrap();
        symlink("/run", dir.join("root/var/run")).unwrap();
        symlink("../lib64", dir.join("root/var/lib")).unwrap();
        symlink("loop", dir.join("root/loop")).unwrap();
        let root = Root::open(&dir.join("root")).unwrap();
        root.mkdir_all(c"/var/run/secrets", 0o755).unwrap();
        root.mkdir_all(c"/var/lib/x", 0o755).unwrap();
        assert!(dir.join("root/run/secrets").is_dir());
        assert!(dir.join("root/lib64/x").is_dir());
        assert_eq!(root.mkdir_all(c"/loop/x", 0o755).unwrap_err(), Errno::ELOOP);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn dots_do_not_climb_out() {
        let dir = scratch("dots");
        let root = Root::open(&dir.join("root")).unwrap();
        root.mkdir_all(c"../../x", 0o755).unwrap();
        assert!(dir.join("root/x").is_dir());
        let (_, name) = root.parent(c"/a/b/c/", 0o755).unwrap();
        assert_eq!(name.as_c_str(), c"c");
        assert!(dir.join("root/a/b").is_dir());
        fs::remove_dir_all(dir).unwrap();
    }
}
