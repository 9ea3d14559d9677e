//! Resolves paths inside a root that is not trusted, by descriptor and never by string.
//!
//! A rootfs belongs to its image: any component may be a symlink that points at the host. A lookup is an
//! openat2(2) with RESOLVE_IN_ROOT (`find` may need two, `mkdir_all` needs several), so the kernel treats the
//! root as `/`, and no swap between check and use can lead out of it. Kernels before 5.6 have no openat2(2):
//! `walk` does the same step by step.

pub(crate) mod walk;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::sys::file::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2};
use crate::weak::{Defence, stands};

pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// The kernel follows this many symlinks in one path (path_resolution(7)); one more is ELOOP.
pub(crate) const MAX_SYMLINKS: u32 = 40;

const IN_ROOT: u64 = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

/// A directory that stands for `/` in every lookup made through it.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Root> for OwnedFd {
    fn from(root: Root) -> Self {
        root.0
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

    /// Opens the file at `path`; symlinks are followed inside the root. `flags` are those of open(2).
    pub fn resolve(&self, path: &CStr, flags: OFlag) -> Result<OwnedFd> {
        self.open_with_mode(path, flags, 0)
    }

    /// Resolves like `resolve`, but fails with ELOOP if a symlink is on the way: the result is really at
    /// `path`. The last component may be a symlink with O_PATH and O_NOFOLLOW. ENOSYS before KERNEL(5.6).
    pub fn resolve_without_symlinks(&self, path: &CStr, flags: OFlag) -> Result<OwnedFd> {
        if !stands(Defence::InRoot) {
            return self.resolve_by_name(path, flags, 0);
        }
        openat2(self.0.as_fd(), path, flags.bits(), 0, IN_ROOT | RESOLVE_NO_SYMLINKS)
    }

    /// Finds the file at `path`. Also returns whether it is really there: no symlink and no `..` was on the
    /// way. If false, the file must not be judged by its name.
    pub fn find(&self, path: &CStr, flags: OFlag) -> (Result<OwnedFd>, bool) {
        match self.resolve_without_symlinks(path, flags) {
            Err(Errno::ELOOP | Errno::ENOSYS) => (self.resolve(path, flags), false),
            found => (found, is_plain(path)),
        }
    }

    /// Whether the file is this root itself, or the same directory seen through another mount.
    pub fn is(&self, found: impl AsFd) -> Result<bool> {
        is_same(&self.0, found)
    }

    /// Resolves like `resolve`, with the mode for O_CREAT.
    pub fn open_with_mode(&self, path: &CStr, flags: OFlag, mode: u32) -> Result<OwnedFd> {
        // A path of "" or "/" is the root itself, which openat2 calls ".".
        let path = if path.is_empty() || path.to_bytes() == b"/" { c"." } else { path };
        if !stands(Defence::InRoot) {
            return self.resolve_by_name(path, flags, mode);
        }
        match openat2(self.0.as_fd(), path, flags.bits(), mode, IN_ROOT) {
            // KERNEL(5.6): older kernels have no openat2.
            Err(Errno::ENOSYS) => walk::open(self.0.as_fd(), path, flags, Mode::from_bits_truncate(mode)),
            other => other,
        }
    }

    /// What all this is there to prevent: symlinks lead where they say, and dots climb out.
    fn resolve_by_name(&self, path: &CStr, flags: OFlag, mode: u32) -> Result<OwnedFd> {
        let path = path.to_bytes();
        let below = &path[path.iter().position(|&byte| byte != b'/').unwrap_or(path.len())..];
        let below = if below.is_empty() { c".".to_owned() } else { c_string(below)? };
        let flags = flags | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&self.0, below.as_c_str(), flags, Mode::from_bits_truncate(mode))
    }

    /// Opens the directory `path`, and makes each missing component with `mode` (before umask).
    ///
    /// Each component is made below a descriptor of its parent, so a swapped symlink cannot place a directory
    /// outside (CVE-2024-45310). If a component is a dangling symlink (`/var/run -> /run` in an image without
    /// /run), the directory is made at its target, inside the root.
    pub fn mkdir_all(&self, path: &CStr, mode: u32) -> Result<OwnedFd> {
        self.mkdir_following(path, mode, MAX_SYMLINKS)
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
                Err(Errno::ENOENT) => self.mkdir_component(&parent, &done, name, mode, links)?,
                other => other?,
            };
        }
        Ok(parent)
    }

    /// Makes the directory `name` in `parent`, which is `path` from the root. If the name is a dangling
    /// symlink, makes its target.
    fn mkdir_component(
        &self,
        parent: &OwnedFd,
        path: &[u8],
        name: &[u8],
        mode: u32,
        links: u32,
    ) -> Result<OwnedFd> {
        self.mkdir_in(parent, &c_string(name)?, mode)?;
        match self.resolve(&c_string(path)?, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => {
                let links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                self.mkdir_following(&read_link_target(parent, path, name)?, mode, links)
            }
            other => other,
        }
    }

    fn mkdir_in(&self, parent: &OwnedFd, name: &CStr, mode: u32) -> Result<()> {
        match nix::sys::stat::mkdirat(parent, name, Mode::from_bits_truncate(mode)) {
            // Somebody else has made it; the following lookup checks what it is.
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Opens the directory `path`. If it is missing, makes it with `mode` (before umask), and the directories
    /// above it with 0755. Faster than `mkdir_all` for a missing path, because it does not look first.
    pub fn open_or_make_dir(&self, path: &CStr, mode: u32) -> Result<OwnedFd> {
        let (parent, name) = self.open_or_make_parent(path, 0o755)?;
        match nix::sys::stat::mkdirat(&parent, name.as_c_str(), Mode::from_bits_truncate(mode)) {
            Ok(()) => {}
            // The name is a dangling symlink: the directory is made at its target.
            Err(Errno::EEXIST) => return self.mkdir_all(path, mode),
            Err(errno) => return Err(errno),
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&parent, name.as_c_str(), flags, Mode::empty())
    }

    /// Opens the file `path`. If it is missing, makes it with `mode` (before umask), and the directories
    /// above it with 0755.
    ///
    /// An existing file is opened with O_PATH, because a FIFO that is opened for reading waits for ever; it
    /// is no symlink. If the name is a dangling symlink, the file is made at its target, inside the root.
    pub fn open_or_make_file(&self, path: &CStr, mode: u32) -> Result<OwnedFd> {
        let (parent, name) = self.open_or_make_parent(path, 0o755)?;
        match make_file_in(&parent, &name, mode) {
            Err(Errno::ELOOP) => {}
            other => return other,
        }
        let (parent, name) = self.open_or_make_followed_parent(path, 0o755)?;
        make_file_in(&parent, &name, mode)
    }

    /// Opens the directory of the file that `path` leads to, like
    /// [`open_or_make_parent`](Self::open_or_make_parent): symlinks in the last component are followed inside
    /// the root, even dangling ones. The returned name is not a symlink's.
    pub fn open_or_make_followed_parent(&self, path: &CStr, mode: u32) -> Result<(OwnedFd, CString)> {
        let mut path = path.to_owned();
        for _ in 0..MAX_SYMLINKS {
            let (parent, name) = self.open_or_make_parent(&path, mode)?;
            let end = path.to_bytes().iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
            match read_link_target(&parent, &path.to_bytes()[..end], name.to_bytes()) {
                // EINVAL: this is no symlink. ENOENT: nothing has the name yet.
                Err(_) => return Ok((parent, name)),
                Ok(target) => path = target,
            }
        }
        Err(Errno::ELOOP)
    }

    /// Opens the directory that contains the last component of `path`, made with `mode` if it is missing.
    /// Also returns the last component.
    pub fn open_or_make_parent(&self, path: &CStr, mode: u32) -> Result<(OwnedFd, CString)> {
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

/// Makes the file `name` in `parent`, or opens the existing one; ELOOP for a symlink.
fn make_file_in(parent: &OwnedFd, name: &CStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match nix::fcntl::openat(parent, name, flags, Mode::from_bits_truncate(mode)) {
        Err(Errno::EEXIST) => {}
        other => return other,
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let existing = nix::fcntl::openat(parent, name, flags, Mode::empty())?;
    match nix::sys::stat::fstat(&existing)?.st_mode & libc::S_IFMT {
        libc::S_IFLNK => Err(Errno::ELOOP),
        _ => Ok(existing),
    }
}

/// Whether two descriptors refer to one file.
pub(crate) fn is_same(one: impl AsFd, other: impl AsFd) -> Result<bool> {
    let (one, other) = (nix::sys::stat::fstat(one)?, nix::sys::stat::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Whether a path has a component, and no `..`.
fn is_plain(path: &CStr) -> bool {
    let mut parts =
        path.to_bytes().split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b".")).peekable();
    parts.peek().is_some() && parts.all(|part| part != b"..")
}

/// Reads the target of the link `name` in `parent`, as a path from the root. `path` is the link's own path.
fn read_link_target(parent: &OwnedFd, path: &[u8], name: &[u8]) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    let target = nix::fcntl::readlinkat(parent, c_string(name)?.as_c_str())?;
    if target.as_bytes().starts_with(b"/") {
        return c_string(target.as_bytes());
    }
    c_string(&[&path[..path.len() - name.len()], target.as_bytes()].concat())
}

/// Makes a C string for a system call; EINVAL if `bytes` contains a NUL.
pub(crate) fn c_string(bytes: &[u8]) -> Result<CString> {
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
    fn a_file_is_made_where_a_dangling_link_leads() {
        let dir = scratch("file");
        fs::create_dir(dir.join("root/etc")).unwrap();
        symlink("/run/deep/resolv", dir.join("root/etc/absolute")).unwrap();
        symlink("../run/relative", dir.join("root/etc/relative")).unwrap();
        symlink("loop", dir.join("root/etc/loop")).unwrap();
        let root = Root::open(&dir.join("root")).unwrap();
        root.open_or_make_file(c"/etc/absolute", 0o644).unwrap();
        root.open_or_make_file(c"/etc/relative", 0o644).unwrap();
        root.open_or_make_file(c"/new/plain", 0o644).unwrap();
        for made in ["run/deep/resolv", "run/relative", "new/plain"] {
            assert!(dir.join("root").join(made).is_file(), "{made}");
        }
        assert_eq!(root.open_or_make_file(c"/etc/loop", 0o644).unwrap_err(), Errno::ELOOP);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_fifo_that_takes_the_place_of_a_file_does_not_block() {
        let dir = scratch("fifo");
        nix::unistd::mkfifo(&dir.join("root/fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        let root = Root::open(&dir.join("root")).unwrap();
        let found = root.open_or_make_file(c"/fifo", 0o644).unwrap();
        let stat = nix::sys::stat::fstat(&found).unwrap();
        assert_eq!(stat.st_mode & libc::S_IFMT, libc::S_IFIFO);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn dots_do_not_climb_out() {
        let dir = scratch("dots");
        let root = Root::open(&dir.join("root")).unwrap();
        root.mkdir_all(c"../../x", 0o755).unwrap();
        assert!(dir.join("root/x").is_dir());
        let (_, name) = root.open_or_make_parent(c"/a/b/c/", 0o755).unwrap();
        assert_eq!(name.as_c_str(), c"c");
        assert!(dir.join("root/a/b").is_dir());
        fs::remove_dir_all(dir).unwrap();
    }
}
