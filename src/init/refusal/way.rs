//! Follows the path of a program, one directory or symlink after the other, to its end or to the first one
//! that stops it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::sys::stat::{FileStat, lstat};
use nix::unistd::geteuid;

use super::text::{mode, show};
use crate::inroot::MAX_SYMLINKS;

/// The reason why the path cannot be followed to its end.
pub(super) enum Stop {
    /// A missing file, and the symlink that leads to it, if there is one, with its target.
    Missing {
        missing: PathBuf,
        link: Option<(PathBuf, PathBuf)>,
    },
    /// A file that the path uses as a directory.
    NoDirectory(PathBuf),
    /// A directory that this user may not enter.
    Closed(PathBuf),
    /// The symlink at which the limit of symlinks was exceeded.
    Circle(PathBuf),
    Other,
}

/// Follows `path`, from `/` or from the working directory. Returns the path without symlinks.
pub(super) fn walk(path: &Path) -> Result<PathBuf, Stop> {
    let mut here = if path.is_absolute() { PathBuf::from("/") } else { PathBuf::from(".") };
    let mut ahead: VecDeque<OsString> = names(path).collect();
    let (mut link, mut links) = (None, 0);
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            up(&mut here);
            continue;
        }
        let next = here.join(&name);
        let stat = lstat(&next).map_err(|errno| stop(errno, &here, &next, link.take()))?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK => {
                links += 1;
                if links > MAX_SYMLINKS {
                    return Err(Stop::Circle(next));
                }
                let target = PathBuf::from(readlink(&next).map_err(|_| Stop::Other)?);
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(name);
                }
                link = Some((next, target));
            }
            libc::S_IFDIR => here = next,
            _ if ahead.is_empty() => here = next,
            _ => return Err(Stop::NoDirectory(next)),
        }
    }
    Ok(here)
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// Goes to the parent of `here`, which contains no symlinks. Above the working directory there is no name to
/// remove, so `..` is added.
fn up(here: &mut PathBuf) {
    match here.file_name() {
        Some(_) => drop(here.pop()),
        None if here.is_absolute() => {}
        None => here.push(".."),
    }
}

fn stop(errno: Errno, here: &Path, next: &Path, link: Option<(PathBuf, PathBuf)>) -> Stop {
    match errno {
        Errno::ENOENT => Stop::Missing { missing: next.into(), link },
        Errno::ENOTDIR => Stop::NoDirectory(here.into()),
        Errno::EACCES => Stop::Closed(here.into()),
        _ => Stop::Other,
    }
}

impl Stop {
    /// Whether `path` itself is missing, and there is nothing to add.
    fn is_missing(&self, path: &Path) -> bool {
        matches!(self, Self::Missing { missing, link: None } if missing == path)
    }

    /// Returns the reason as text that follows the kernel's answer about `path`. Returns `None` if it would
    /// only repeat that answer.
    pub(super) fn told(&self, path: &Path) -> Option<String> {
        match self {
            Self::Missing { missing, link: Some((link, target)) } => Some(told_link(link, target, missing)),
            Self::Missing { .. } if self.is_missing(path) => None,
            Self::Missing { missing, link: None } if is_last(missing, path) => None,
            Self::Missing { missing, link: None } => Some(format!("there is no directory {}", show(missing))),
            Self::NoDirectory(file) => Some(format!("{} is no directory", show(file))),
            Self::Closed(directory) => Some(told_closed(directory, lstat(directory).ok())),
            Self::Circle(link) => Some(format!("symlinks lead in a circle at {}", show(link))),
            Self::Other => None,
        }
    }
}

/// Whether the missing name is the last one of the path.
fn is_last(missing: &Path, path: &Path) -> bool {
    missing.file_name() == path.file_name() && missing.components().count() >= path.components().count()
}

fn told_link(link: &Path, target: &Path, missing: &Path) -> String {
    let (link, target) = (show(link), show(target));
    let missing = show(missing);
    match missing == target {
        true => format!("{link} is a symlink to {target}, which is not in the root file system"),
        false => format!("{link} is a symlink to {target}, and {missing} is not in the root file system"),
    }
}

fn told_closed(directory: &Path, stat: Option<FileStat>) -> String {
    let stat = stat.map_or(String::new(), |stat| format!(" ({} of user {})", mode(&stat), stat.st_uid));
    format!("user {} may not enter {}{stat}", geteuid(), show(directory))
}
