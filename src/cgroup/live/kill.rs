//! Signals to every process of a group and of the groups below it.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::group::Group;
use crate::error::{Context, Error, Result};
use crate::host::cgroup::Mode;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

impl Group {
    /// Sends a signal to every process in the group and below. SIGKILL also thaws, so that the processes can die.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL && self.kill_at_once()? && self.record().mode == Mode::V2 {
            return Ok(());
        }
        // Frozen, none can fork away while the list is read.
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

    /// KERNEL(5.14): `cgroup.kill` reaches every process of the tree, those about to fork too.
    fn kill_at_once(&self) -> Result<bool> {
        let Some(dir) = self.unified().map(|location| self.dir_if_there(location)).transpose()?.flatten()
        else {
            return Ok(false);
        };
        match dir.write("cgroup.kill", "1") {
            Ok(()) => Ok(true),
            // No such file before 5.14; a threaded group has none that works.
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(false),
            Err(errno) => {
                Err(Error::from(errno).context(format!("write 1 to {}/cgroup.kill", dir.path.display())))
            }
        }
    }
}

/// By number: real-time signals have no name.
fn send(pid: i32, signal: i32) -> Result<()> {
    let sent = pidfd_open(pid).and_then(|pidfd| pidfd_send_signal(pidfd.as_fd(), signal));
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("send signal {signal} to process {pid}")),
    }
}
