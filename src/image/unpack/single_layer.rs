//! One layer as a directory of its own, for an overlay: whiteouts become the kernel's marks, and what the layer takes
//! for granted of those below it is written down, because it is not known yet.
//!
//! A layer that takes nothing for granted is the same over any other. Those that tools write from a running
//! container are so: they have an entry for each directory on the way.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstatat, makedev, mknodat};

use crate::image::limits::DEBTS;
use crate::inroot::Result;
use crate::sys::xattr::fsetxattr;

/// The layer's marks and debts.
#[derive(Debug, Default)]
pub struct Alone {
    /// `user.overlay.` instead of `trusted.overlay.`: what a user namespace may set (mount option `userxattr`).
    pub userxattr: bool,
    /// Directories that had to be made without an entry, and whether an entry stands in them (else only marks do).
    pub dirs: BTreeMap<Vec<u8>, bool>,
    /// Hard links to files that this layer has not, by their path; the target's path.
    pub links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of paths in both.
    held: usize,
}

impl Alone {
    /// Whether nothing is taken for granted.
    pub fn is_complete(&self) -> bool {
        self.dirs.is_empty() && self.links.is_empty()
    }

    /// A directory had to be made.
    pub fn implied(&mut self, path: &[u8]) {
        self.held += path.len();
        self.dirs.insert(path.to_vec(), false);
    }

    /// A directory has its entry.
    pub fn explicit(&mut self, path: &[u8]) {
        self.dirs.remove(path);
    }

    /// An entry is about to be made: the directories above it are needed, and it takes the place of a link that was
    /// to be made there.
    pub fn placed(&mut self, path: &[u8]) {
        if !self.links.is_empty() {
            self.links.remove(path);
        }
        if self.dirs.is_empty() {
            return;
        }
        for (at, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            if let Some(holds_entry) = self.dirs.get_mut(&path[..at]) {
                *holds_entry = true;
            }
        }
    }

    /// A link whose target is not here. One to another such link is one to that one's target.
    pub fn link_later(&mut self, path: &[u8], target: Vec<u8>) {
        let target = self.links.get(&target).cloned().unwrap_or(target);
        self.held += path.len() + target.len();
        self.links.insert(path.to_vec(), target);
    }

    /// Whether it is more than a layer that tools make ever leaves open.
    pub fn is_too_much(&self) -> bool {
        self.held > DEBTS
    }

    /// Whether this layer has no such file. A whiteout is none.
    pub fn is_missing(&self, dir: BorrowedFd<'_>, name: &CStr) -> bool {
        match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => is_whiteout(&stat),
            Err(_) => true,
        }
    }

    /// Marks `name` as taken away, unless this layer has something there, which hides what is below by itself.
    pub fn white_out(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        match mknodat(dir, name, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)) {
            Err(Errno::EEXIST) => match crate::image::filesystem::dir::open_dir(dir, name) {
                Ok(dir) => self.make_opaque(std::os::fd::AsFd::as_fd(&dir)),
                Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => Ok(()),
                Err(errno) => Err(errno),
            },
            other => other,
        }
    }

    /// Marks an open directory as hiding all below it.
    pub fn make_opaque(&self, dir: BorrowedFd<'_>) -> Result<()> {
        fsetxattr(dir, self.opaque(), b"y")
    }

    fn opaque(&self) -> &'static CStr {
        if self.userxattr { c"user.overlay.opaque" } else { c"trusted.overlay.opaque" }
    }

    pub fn is_mark(&self, name: &CStr) -> bool {
        name == self.opaque()
    }

    /// An attribute that would be a mark of ours gets another name; the kernel shows it under its own again.
    /// KERNEL(6.7): before that it is not shown at all.
    pub fn escaped(&self, name: &[u8]) -> Vec<u8> {
        let prefix: &[u8] = if self.userxattr { b"user.overlay." } else { b"trusted.overlay." };
        match name.strip_prefix(prefix) {
            Some(rest) => [prefix, b"overlay.", rest].concat(),
            None => name.to_vec(),
        }
    }
}

/// The kernel's whiteout: a character device 0:0.
pub fn is_whiteout(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == makedev(0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_mark_gets_another_name() {
        let alone = Alone::default();
        assert_eq!(alone.escaped(b"trusted.overlay.opaque"), b"trusted.overlay.overlay.opaque");
        assert_eq!(alone.escaped(b"user.overlay.opaque"), b"user.overlay.opaque");
        let alone = Alone { userxattr: true, ..Alone::default() };
        assert_eq!(alone.escaped(b"user.overlay.opaque"), b"user.overlay.overlay.opaque");
    }

    #[test]
    fn only_directories_with_entries_are_needed() {
        let mut alone = Alone::default();
        alone.implied(b"a");
        alone.implied(b"a/b");
        alone.implied(b"c");
        alone.placed(b"a/x");
        alone.explicit(b"c");
        assert_eq!(alone.dirs, [(b"a".to_vec(), true), (b"a/b".to_vec(), false)].into());
        alone.link_later(b"l", b"t".to_vec());
        alone.link_later(b"m", b"l".to_vec());
        assert_eq!(alone.links[&b"m"[..]], b"t");
        alone.placed(b"l");
        assert_eq!(alone.links.len(), 1);
    }
}
