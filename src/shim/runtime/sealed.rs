//! The runtime's program on a read-only mount, opened once for all commands that put a process into a container.
//!
//! Such a command first executes itself again from a read-only clone of its mount (`launch::seal` says why, and looks
//! whether it has been done). Executed from one it has nothing to do: one execve(2), one mount and its end are saved.
//!
//! The clone is let go at once, and its root kept: a mount that still is in a mount namespace, be it one without a name,
//! could be made writable again by who reaches it through /proc, as a container's root may.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::stat;

use crate::sys::shielded::{clone_read_only, open_cloned};

/// Our runtime's name. Another one gets its own file: it may look for it by its path.
const OURS: &str = "tare";

/// The program that was opened last.
#[derive(Default)]
pub(crate) struct SealedProgram {
    held: Option<Held>,
    /// Whether this was refused once: without the right to mount, the runtime finds another way itself.
    refused: bool,
}

struct Held {
    path: CString,
    /// Device and inode: another file that has the name now is another version.
    file: (u64, u64),
    root: OwnedFd,
}

impl SealedProgram {
    /// The program at `path`; none where it is to be executed by its path.
    pub(crate) fn at(&mut self, path: &CStr) -> Option<BorrowedFd<'_>> {
        if self.refused || Path::new(OsStr::from_bytes(path.to_bytes())).file_name() != Some(OURS.as_ref()) {
            return None;
        }
        let found = stat(path).ok()?;
        let file = (found.st_dev, found.st_ino);
        if !self.held.as_ref().is_some_and(|held| held.path.as_c_str() == path && held.file == file) {
            let root = read_only_root(path);
            self.refused = root.is_err();
            self.held = root.ok().map(|root| Held { path: path.to_owned(), file, root });
        }
        self.held.as_ref().map(|held| held.root.as_fd())
    }
}

fn read_only_root(path: &CStr) -> Result<OwnedFd, Errno> {
    open_cloned(&clone_read_only(AT_FDCWD.as_fd(), path)?, OFlag::O_PATH)
}
