//! Writes the id maps of a new user namespace, directly or through newuidmap and newgidmap.

use std::process::Command;

use nix::errno::Errno;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::plan::namespaces::{IdMap, IdMaps};

/// Writes both maps of the process `pid`, which waits for them in its new user namespace.
pub(crate) fn write_id_maps(pid: i32, maps: &IdMaps) -> Result<()> {
    let privileged = nix::unistd::geteuid().is_root();
    if !privileged && maps.gid.iter().all(|map| map.size == 1) && maps.gid.len() <= 1 {
        // user_namespaces(7): without privilege, gids can be mapped only after setgroups is denied.
        let path = format!("/proc/{pid}/setgroups");
        std::fs::write(&path, "deny").with_context(|| format!("write {path}"))?;
    }
    write_map(pid, "uid_map", "newuidmap", &maps.uid, "/linux/uidMappings")?;
    write_map(pid, "gid_map", "newgidmap", &maps.gid, "/linux/gidMappings")
}

fn write_map(pid: i32, file: &str, program: &str, maps: &[IdMap], pointer: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    let line = |map: &IdMap| format!("{} {} {}\n", map.inner, map.host, map.size);
    let text: String = maps.iter().map(line).collect();
    match std::fs::write(&path, &text) {
        // Without privilege only our own id can be mapped directly; more needs the setuid helpers.
        Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
            run_setuid_helper(pid, program, maps).with_context(|| pointer.to_owned())
        }
        other => other.with_context(|| format!("write {path}")).context(pointer.to_owned()),
    }
}

fn run_setuid_helper(pid: i32, program: &str, maps: &[IdMap]) -> Result<()> {
    let numbers =
        maps.iter().flat_map(|map| [map.inner, map.host, map.size]).map(|number| number.to_string());
    let output = Command::new(program).arg(pid.to_string()).args(numbers).output();
    let output = output.with_context(|| format!("run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(fail!(Kind::Denied, "{program}: {}", stderr.trim())
        .with_hint("the ids must be in the caller's ranges in /etc/subuid and /etc/subgid"))
}
