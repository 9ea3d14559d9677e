//! The directories of a checkpoint: its images, and CRIU's work. They may have come from a stranger, by an archive for
//! example. CRIU writes its log and its figures there and follows links, so that a link of the stranger's would have root
//! write to any file of the host; and what we read there ourselves may be a pipe, or have no end.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::options::Criu;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::launch::criu::log_errors_of;

/// The file beside the images that names the standard streams of the first process. The name is runc's.
const DESCRIPTORS: &str = "descriptors.json";
/// The link to the images of an earlier dump, which CRIU makes itself and only reads.
const PARENT: &[u8] = b"parent";
/// What CRIU opens in a directory of its work, besides its log, which is removed first.
const OF_WORK: [&[u8]; 4] = [b"stats-dump", b"stats-restore", b"irmap-cache", b"pidfile"];
/// Most of what is read of a file.
const LARGEST: u64 = 16 << 20;

/// An open directory, and its path for messages.
pub(super) struct CriuDirectory {
    pub fd: File,
    pub path: PathBuf,
}

/// The directories of the images and of CRIU's work. They stay open as long as CRIU may need them.
pub(super) struct CriuDirectories {
    pub images: CriuDirectory,
    /// None if CRIU is to work in that of the images.
    pub work: Option<CriuDirectory>,
    log: &'static str,
}

impl CriuDirectories {
    /// Opens the directories, makes those that are missing, and makes sure that CRIU finds no link, pipe or device to
    /// write to.
    pub(super) fn open(options_of_verb: &Criu, log: &'static str) -> Result<Self> {
        let images = options_of_verb.image_path.as_deref().unwrap_or_else(|| Path::new("checkpoint"));
        let images = CriuDirectory::open(images)?;
        images.check(|_| true)?;
        let work = options_of_verb.work_path.as_deref().map(CriuDirectory::open).transpose()?;
        if let Some(work) = &work {
            // It may be a directory of the engine's, with pipes of its own: Podman names that of the container.
            work.check(|name| OF_WORK.contains(&name))?;
        }
        let directories = Self { images, work, log };
        // CRIU would go on in a file that has another name elsewhere.
        directories.of_work().remove(log)?;
        Ok(directories)
    }

    fn of_work(&self) -> &CriuDirectory {
        self.work.as_ref().unwrap_or(&self.images)
    }

    /// Copies the errors in CRIU's log into ours, if there is one.
    pub(super) fn tell_errors(&self) {
        let work = self.of_work();
        if let Ok(text) = work.read(self.log) {
            log_errors_of(&text, &work.path.join(self.log));
        }
    }

    pub(super) fn write_descriptors(&self, names: &[u8]) -> Result<()> {
        self.images.remove(DESCRIPTORS)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = openat(&self.images.fd, DESCRIPTORS, flags, Mode::from_bits_truncate(0o600));
        let doing = || format!("write {}", self.images.path.join(DESCRIPTORS).display());
        File::from(made.with_context(doing)?).write_all(names).with_context(doing)
    }

    pub(super) fn read_descriptors(&self) -> Result<Vec<u8>> {
        self.images.read(DESCRIPTORS)
    }
}

impl CriuDirectory {
    fn open(path: &Path) -> Result<Self> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
        let opened = made.and_then(|()| File::open(path));
        let fd = opened.with_context(|| format!("open directory {}", path.display()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Refuses what CRIU would follow, or wait for, among the names that it uses here. A socket is that of a server of
    /// pages, which it connects to.
    fn check(&self, is_used: impl Fn(&[u8]) -> bool) -> Result<()> {
        let doing = || format!("list {}", self.path.display());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut entries = Dir::openat(self.fd.as_fd(), ".", flags, Mode::empty()).with_context(doing)?;
        for entry in entries.iter() {
            let entry = entry.with_context(doing)?;
            let name = entry.file_name();
            if !is_used(name.to_bytes()) {
                continue;
            }
            let stat = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).with_context(doing)?;
            let what = match SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT) {
                SFlag::S_IFREG | SFlag::S_IFDIR | SFlag::S_IFSOCK => continue,
                SFlag::S_IFLNK if name.to_bytes() == PARENT => continue,
                SFlag::S_IFLNK => "a symlink",
                SFlag::S_IFIFO => "a fifo",
                _ => "a device",
            };
            let path = self.path.join(&*name.to_string_lossy());
            return Err(fail!(Kind::Denied, "{}: is {what}, which no checkpoint has", path.display()));
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).with_context(|| format!("remove {}", self.path.join(name).display())),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let doing = || format!("read {}", self.path.join(name).display());
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, Mode::empty()).with_context(doing)?);
        if !file.metadata().with_context(doing)?.is_file() {
            return Err(fail!(Kind::Denied, "not a regular file").context(doing()));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).with_context(doing)?;
        Ok(bytes)
    }
}
