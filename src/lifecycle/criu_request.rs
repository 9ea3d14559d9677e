//! What `checkpoint` and `restore` share: directories, options, and the objects outside of a container that
//! it uses.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::fcntl::OFlag;

use super::criu_directories::CriuDirectories;
use super::options::{CgroupsMode, Criu};
use crate::container::Record;
use crate::error::{Context, Result};
use crate::inroot::Root;
use crate::launch::criu::options::*;
use crate::launch::criu::wire::Message;
use crate::log;
use crate::plan::mounts::MountOperation;
use crate::plan::namespaces::Namespace;
use crate::plan::{Plan, annotations};

/// CRIU's settings for every container of this runtime, as with runc.
const CONFIG: &str = "/etc/criu/runc.conf";
const DEBUG: i32 = 4;

pub(super) fn warn_rootless(verb: &str) {
    if !nix::unistd::geteuid().is_root() {
        log::warn(format_args!("{verb}: CRIU needs more than the privileges of a user"));
    }
}

/// Sets the options of both verbs.
pub(super) fn options(
    options_of_verb: &Criu,
    directories: &CriuDirectories,
    log_file: &str,
    record: &Record,
) -> Message {
    let mode = match options_of_verb.manage_cgroups_mode {
        Some(CgroupsMode::Ignore) => 0,
        Some(CgroupsMode::Soft) => 3,
        Some(CgroupsMode::Full) => 4,
        Some(CgroupsMode::Strict) => 5,
        None => 6,
    };
    let mut options = Message::default()
        .number(LOG_LEVEL, DEBUG)
        .text(LOG_FILE, log_file)
        .switch(NOTIFY_SCRIPTS, true)
        .switch(MANAGE_CGROUPS, true)
        .number(MANAGE_CGROUPS_MODE, mode)
        // Engines set the network up again in their hooks: the other end of a veth is outside of the
        // container.
        .number(EMPTY_NS, Namespace::NETWORK.0)
        .switch(ORPHAN_PTS_MASTER, true)
        .switch(SHELL_JOB, options_of_verb.shell_job)
        .switch(TCP_ESTABLISHED, options_of_verb.tcp_established)
        .switch(EXT_UNIX_SK, options_of_verb.ext_unix_sk)
        .switch(FILE_LOCKS, options_of_verb.file_locks)
        .switch(AUTO_DEDUP, options_of_verb.auto_dedup)
        .switch(LAZY_PAGES, options_of_verb.lazy_pages);
    options = options.number(IMAGES_DIR_FD, directories.images.fd.as_raw_fd());
    if let Some(work) = &directories.work {
        options = options.number(WORK_DIR_FD, work.fd.as_raw_fd());
    }
    match config_file(record.annotations.get(annotations::CRIU_CONFIG).map(String::as_str)) {
        Some(path) => options.text(CONFIG_FILE, path),
        None => options,
    }
}

/// Returns CRIU's configuration file. CRIU ignores a missing one. An empty annotation means none.
fn config_file(annotation: Option<&str>) -> Option<&str> {
    annotation.or(Some(CONFIG)).filter(|path| !path.is_empty())
}

/// Adds a mount whose other end is not in the container: its place inside, and its source.
pub(super) fn external(field: u32, inside: &[u8], outside: &[u8], options: Message) -> Message {
    options.message(field, &Message::default().bytes(1, inside).bytes(2, outside))
}

/// Returns all such mounts: binds, and devices that may be binds.
pub(super) fn external_mounts(plan: &Plan) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let root = Root::open(Path::new(&*plan.rootfs.path.to_string_lossy())).context("open the rootfs")?;
    let binds = plan.mounts.iter().filter_map(|mount| match &mount.operation {
        MountOperation::Bind { path, .. } => {
            Some((real(&root, plan, &mount.target), path.to_bytes().to_vec()))
        }
        _ => None,
    });
    let nodes = plan.devices.nodes.iter().map(|node| node.path.to_bytes().to_vec());
    Ok(binds.chain(nodes.map(|path| (path.clone(), path))).collect())
}

/// Returns the place of a target as the kernel shows it, after its symlinks have been followed inside the
/// rootfs.
fn real(root: &Root, plan: &Plan, target: &CString) -> Vec<u8> {
    let rootfs = fs::canonicalize(&*plan.rootfs.path.to_string_lossy()).unwrap_or_default();
    let found = root.resolve(target, OFlag::O_PATH).ok();
    let path = found.and_then(|fd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok());
    let inside = path.and_then(|path| path.strip_prefix(&rootfs).map(Path::to_owned).ok());
    inside.map_or_else(
        || target.to_bytes().to_vec(),
        |inside| Path::new("/").join(inside).into_os_string().into_vec(),
    )
}

/// Returns CRIU's name for a namespace that stays when the container ends.
pub(super) fn key(namespace: Namespace) -> &'static str {
    if namespace == Namespace::NETWORK { "extRootNetNS" } else { "extRootPidNS" }
}

/// Whether CRIU uses namespaces of this kind as they are, by their inode.
pub(super) fn stays(namespace: Namespace) -> bool {
    namespace == Namespace::NETWORK || namespace == Namespace::PID
}

pub(super) fn path_of(path: &CString) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_criu_is_the_annotations() {
        assert_eq!(config_file(None), Some("/etc/criu/runc.conf"));
        assert_eq!(config_file(Some("/etc/own.conf")), Some("/etc/own.conf"));
        assert_eq!(config_file(Some("")), None);
    }
}
