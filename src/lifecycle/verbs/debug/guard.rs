//! `Guard`: a process that outlives us, if we are killed, and then ends everything that the `debug` process
//! has started. Such processes are known by their mount namespace, which no other process is in.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::error::{Context, Result};
use crate::sys::process::{CloneSide, clone3, close_range, exit_now, pidfd_open, pidfd_send_signal};

/// How often processes are looked for. Each kill can come a moment too late for one more clone.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Guard {
    pidfd: OwnedFd,
    /// `mnt:[INODE]`: the mount namespace of the processes.
    name: String,
    /// Keeps the namespace, so that its number does not become another's.
    _namespace: File,
}

impl Guard {
    /// Starts to watch over process `pid`, which is in the namespace and has not started its program.
    pub(super) fn start(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/mnt");
        let doing = || format!("remember {path}");
        let namespace = File::open(&path).with_context(doing)?;
        let link = format!("/proc/self/fd/{}", namespace.as_raw_fd());
        let name = readlink(&*link).with_context(doing)?.to_string_lossy().into_owned();
        let us = pidfd_open(std::process::id().cast_signed()).context("open this process")?;
        match clone3(0, None).context("start a process that watches")? {
            CloneSide::Parent { pidfd, .. } => Ok(Self { pidfd, name, _namespace: namespace }),
            CloneSide::Child => {
                // Not killed with our terminal or job; nor does it keep one of our streams open.
                let _ = nix::unistd::setsid();
                close_all_but([us.as_raw_fd(), namespace.as_raw_fd()]);
                wait_for_end(&us);
                end_all(&name);
                exit_now(0)
            }
        }
    }

    /// Ends all processes in the namespace, and the guard. The program itself has ended.
    pub(super) fn finish(self) {
        end_all(&self.name);
        self.end();
    }

    fn end(&self) {
        let _ = pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED);
    }
}

fn close_all_but(mut kept: [i32; 2]) {
    kept.sort_unstable();
    let mut first = 0;
    for number in kept.map(i32::cast_unsigned) {
        if number > 0 {
            let _ = close_range(first, number - 1);
        }
        first = number + 1;
    }
    let _ = close_range(first, u32::MAX);
}

fn wait_for_end(process: &OwnedFd) {
    while poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) == Err(Errno::EINTR)
    {
    }
}

/// Kills every process in the mount namespace, until there is none.
fn end_all(name: &str) {
    for _ in 0..ROUNDS {
        let members = members(name);
        if members.is_empty() {
            return;
        }
        for pid in members {
            let Ok(pidfd) = pidfd_open(pid) else { continue };
            // After it is open: before, the pid could have become another process's.
            if is_member(pid, name) {
                let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn members(name: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_member(*pid, name)).collect()
}

fn is_member(pid: i32, name: &str) -> bool {
    readlink(&*format!("/proc/{pid}/ns/mnt")).is_ok_and(|link| link.as_encoded_bytes() == name.as_bytes())
}
