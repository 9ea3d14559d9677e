//! Sends signals to every process of a group and of the groups below it.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::group::Group;
use crate::error::{Context, Error, Result};
use crate::host::cgroup::Mode;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

impl Group {
    /// Sends a signal to every process in the group and below. SIGKILL also thaws, so that the processes can
    /// die.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL && self.kill_at_once()? && self.record().mode == Mode::V2 {
            return Ok(());
        }
        // In a frozen group no process can fork while the list is read.
        let was_frozen = self.is_frozen()?;
        let froze = if was_frozen { false } else { self.freeze().is_ok() };
        let sent = self.procs().and_then(|pids| pids.into_iter().try_for_each(|pid| send(pid, signal)));
        if signal == libc::SIGKILL {
            self.thaw_all()?;
        } else if froze {
            self.thaw()?;
        }
        sent
    }

    /// Kills through `cgroup.kill`, KERNEL(5.14), which reaches every process of the tree, even one that is
    /// about to fork.
    fn kill_at_once(&self) -> Result<bool> {
        let Some(dir) = self.unified().map(|location| self.dir_if_there(location)).transpose()?.flatten()
        else {
            return Ok(false);
        };
        match dir.write("cgroup.kill", "1") {
            Ok(()) => Ok(true),
            // Kernels before 5.14 lack the file, and in a threaded group it does not work.
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(false),
            Err(errno) => {
                Err(Error::from(errno).context(format!("write 1 to {}/cgroup.kill", dir.path.display())))
            }
        }
    }
}

/// Sends a signal by its number: real-time signals have no name.
fn send(pid: i32, signal: i32) -> Result<()> {
    let sent = pidfd_open(pid).and_then(|pidfd| pidfd_send_signal(pidfd.as_fd(), signal));
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("send signal {signal} to process {pid}")),
    }
}
