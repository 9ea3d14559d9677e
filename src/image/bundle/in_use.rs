//! Finds out whether a bundle is in use: by a process that has its root directory, its working directory or
//! its program there, or by a mount in any mount namespace. The kernel is asked, not the records of a
//! runtime: there are several runtimes, and each keeps its records where its caller says.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::readlink;

use super::opened::Bundle;
use super::traces::{MountUse, Traces};
use crate::error::{Context, Error, Kind, Result};
use crate::image::userns::namespace::Privilege;
use crate::sys::{errno_of, mountinfo};
use crate::{fail, log};

/// Fails if the bundle is in use.
///
/// # Errors
///
/// `Kind::State` if it is in use; an error for a process that cannot be looked at, for root.
pub(crate) fn refuse_if_in_use(bundle: &Bundle) -> Result<()> {
    Traces::of(bundle)?.refuse_if_in_use_now()
}

/// How often and how long a use that may be over in a moment is waited for.
const MOMENTS: usize = 5;
const MOMENT: Duration = Duration::from_millis(100);

impl Traces {
    /// Fails like the function of this name, but waits a moment for a use that may be over then. A process that
    /// begins in a mount namespace of its own has a copy of every mount until it lets go of them, as runtimes
    /// and our own views of layers do at once.
    pub(super) fn refuse_if_in_use(&self) -> Result<()> {
        for _ in 0..MOMENTS {
            match self.refuse_if_in_use_now() {
                Err(error) if error.kind() == Kind::State => std::thread::sleep(MOMENT),
                other => return other,
            }
        }
        self.refuse_if_in_use_now()
    }

    fn refuse_if_in_use_now(&self) -> Result<()> {
        let mut seen = HashSet::new();
        let mut hidden = Vec::new();
        for process in processes()? {
            let Err(error) = self.look_at(&process, &mut seen) else { continue };
            match error.errno() {
                // It has ended. The mounts of one that is ending are EINVAL.
                Some(Errno::ESRCH | Errno::ENOENT | Errno::EINVAL) => {}
                Some(Errno::EACCES | Errno::EPERM) => hidden.push(pid(&process)),
                Some(_) => {
                    return Err(error.context(format!("look whether process {} uses it", pid(&process))));
                }
                None => return Err(error),
            }
        }
        tell_hidden(hidden);
        Ok(())
    }

    /// Looks at one process or thread. `seen` has the mount namespaces that were looked at, each with the
    /// root that it was seen from: below another root a process has other mounts.
    fn look_at(&self, process: &Path, seen: &mut HashSet<(PathBuf, PathBuf)>) -> Result<()> {
        let mut looked = Ok(());
        // This process has mounts like any other, and looks at the bundle itself.
        if !is_this(process) {
            for (name, use_of_it) in USES {
                match self.has_link(process, name) {
                    Ok(true) => return Err(in_use(process, use_of_it)),
                    Ok(false) => {}
                    // Its mounts may still be told.
                    Err(error) => looked = Err(error),
                }
            }
        }
        let seen_from = link(process, "ns/mnt").and_then(|space| Ok((space, link(process, "root")?)));
        if seen_from.as_ref().is_ok_and(|place| seen.contains(place)) {
            return looked;
        }
        self.refuse_if_mounted(process)?;
        seen.extend(seen_from);
        looked
    }

    fn refuse_if_mounted(&self, process: &Path) -> Result<()> {
        for mount in mountinfo::read_of(process)? {
            let use_of_it = match self.use_by(&mount, process) {
                None => continue,
                Some(MountUse::Mounted) => "it is mounted at",
                Some(MountUse::OverlayOverIt) => "an overlay over it is mounted at",
            };
            let place = OsStr::from_bytes(mount.point.to_bytes()).display();
            return Err(in_use(process, &format!("{use_of_it} {place}, as this process sees it")));
        }
        Ok(())
    }

    /// Whether a link of the process in /proc leads into the bundle.
    fn has_link(&self, process: &Path, name: &str) -> Result<bool> {
        match link(process, name) {
            // A kernel thread has no program.
            Err(error) if name == "exe" && error.errno() == Some(Errno::ENOENT) => Ok(false),
            path => self.is_inside(process, name, &path?),
        }
    }
}

/// The links of a process in /proc, and what it is if they lead into the bundle.
const USES: [(&str, &str); 3] = [
    ("root", "a container runs in it"),
    ("cwd", "the working directory of a process is in it"),
    ("exe", "a program of it runs"),
];

fn in_use(process: &Path, use_of_it: &str) -> Error {
    let error = fail!(Kind::State, "{use_of_it}: process {}", pid(process));
    error.with_hint("stop and delete the container, or end the process, first")
}

/// Tells of processes that have more rights than this one, which may not look at them. None of its containers
/// is among them; a user's own processes are the only ones that can be in a bundle of that user.
fn tell_hidden(mut pids: Vec<String>) {
    pids.dedup();
    let Some(first) = pids.first() else { return };
    let text = match pids.len() {
        1 => format!("process {first} may not be looked at: it is not known whether it uses the bundle"),
        count => format!(
            "{count} processes may not be looked at (process {first} is the first): it is not known whether they use the bundle"
        ),
    };
    // A removal looks more than once.
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    match Privilege::detect() {
        _ if IS_TOLD.swap(true, Ordering::Relaxed) => {}
        Privilege::Root => log::warn(format_args!("{text}")),
        _ => log::debug(format_args!("{text}")),
    }
}

/// The number of the process that a directory in /proc belongs to.
fn pid(process: &Path) -> String {
    process.iter().nth(2).unwrap_or_default().to_string_lossy().into_owned()
}

fn link(process: &Path, name: &str) -> Result<PathBuf> {
    Ok(readlink(&process.join(name)).map(PathBuf::from)?)
}

fn is_this(process: &Path) -> bool {
    pid(process) == std::process::id().to_string()
}

/// The directories in /proc of all threads: each may have directories and mounts of its own.
fn processes() -> Result<Vec<PathBuf>> {
    let mut threads = Vec::new();
    for process in numbered(Path::new("/proc")).context("read /proc")? {
        match numbered(&process.join("task")) {
            // It has ended.
            Err(Errno::ENOENT | Errno::ESRCH) => {}
            found => threads.extend(found.with_context(|| format!("read {}/task", process.display()))?),
        }
    }
    Ok(threads)
}

/// The directories in `dir` whose names are numbers.
fn numbered(dir: &Path) -> std::result::Result<Vec<PathBuf>, Errno> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| errno_of(&error))? {
        let entry = entry.map_err(|error| errno_of(&error))?;
        if entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
