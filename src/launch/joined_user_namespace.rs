//! Checks the mappings of a joined user namespace: it already has mappings, and those of the configuration
//! must be the same.

use std::os::fd::{AsFd, BorrowedFd};

use super::KillOnDrop;
use crate::error::{Context, Kind, Result};
use crate::plan::namespaces::{IdMap, IdMaps, Namespace};
use crate::sys::process::{CloneSide, clone3, exit_now, parent_death_signal, setns};
use crate::{fail, log};

/// Compares the mappings of `namespace` with those of the configuration.
pub(super) fn check(namespace: BorrowedFd<'_>, given: &IdMaps) -> Result<()> {
    let actual = read_mappings(namespace).context("read the mappings of the joined user namespace")?;
    if actual != *given {
        let why = "user namespaces enabled, but both namespace path and non-matching mapping specified \
                   -- you may only provide one";
        return Err(fail!(Kind::Spec, "/linux/uidMappings: {why}"));
    }
    log::debug(format_args!("/linux/uidMappings: the same as those of the joined user namespace"));
    Ok(())
}

/// Reads the mappings. /proc shows only the mappings of a process, so a child enters the namespace.
fn read_mappings(namespace: BorrowedFd<'_>) -> Result<IdMaps> {
    let (arrived, arrive) = nix::unistd::pipe().context("make pipe")?;
    let first = match clone3(0, None).context("clone3")? {
        CloneSide::Child => {
            let _ = parent_death_signal(libc::SIGKILL);
            if setns(namespace, Namespace::USER.0).is_ok() {
                let _ = nix::unistd::write(&arrive, b"0");
                nix::unistd::pause();
            }
            exit_now(0)
        }
        CloneSide::Parent { pid, pidfd } => KillOnDrop { pid, pidfd: Some(pidfd) },
    };
    drop(arrive);
    match nix::unistd::read(arrived.as_fd(), &mut [0]).context("read from pipe")? {
        0 => Err(fail!(Kind::Denied, "cannot enter it")),
        _ => Ok(IdMaps { uid: read_map(first.pid, "uid_map")?, gid: read_map(first.pid, "gid_map")? }),
    }
}

fn read_map(pid: i32, file: &str) -> Result<Vec<IdMap>> {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok(text.lines().filter_map(parse_map).collect())
}

fn parse_map(line: &str) -> Option<IdMap> {
    let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
    Some(IdMap { inner: numbers.next()??, host: numbers.next()??, size: numbers.next()?? })
}

#[cfg(test)]
mod tests {

    #[test]
    fn a_line_of_a_map_is_three_numbers() {
        let line = |text| super::parse_map(text).map(|map| (map.inner, map.host, map.size));
        assert_eq!(line("         0     100000      65536"), Some((0, 100_000, 65536)));
        assert_eq!(line("0 1"), None);
    }
}
