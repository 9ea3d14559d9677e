//! Waits for a container, passes signals on to it, and writes its output to its log where nobody looks on.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::log_file::LogWriter;
use super::runtime::Process;
use crate::error::{Context, Result};
use crate::sys::process::{pidfd_open, pidfd_send_signal};
use crate::sys::signal::{self, Signals};
use crate::sys::tty::{self, STDIN};

/// The output of a container in the background.
pub(super) struct Output {
    log: LogWriter,
    /// Standard output, standard error; None when it has ended.
    streams: [Option<File>; 2],
}

impl Output {
    pub(super) fn new(log: File, streams: [Option<OwnedFd>; 2]) -> Result<Self> {
        for stream in streams.iter().flatten() {
            fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("read the container's output")?;
        }
        Ok(Self { log: LogWriter::new(log), streams: streams.map(|stream| stream.map(File::from)) })
    }

    /// Writes what has come; `most` reads of each stream, so that one does not keep from everything else.
    fn pass_on(&mut self, most: usize) {
        let mut buffer = vec![0; 64 << 10];
        for (number, stream) in self.streams.iter_mut().enumerate() {
            for _ in 0..most {
                match stream.as_mut().map(|stream| stream.read(&mut buffer)) {
                    None => break,
                    Some(Ok(count)) if count > 0 => self.log.add(number, &buffer[..count]),
                    Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => break,
                    Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                    // The end; of a terminal it is EIO.
                    Some(_) => *stream = None,
                }
            }
        }
    }

    /// Writes what is left after the container's end: a bounded part of it, since a process of the host may
    /// hold a stream and write on.
    fn finish(mut self) {
        const MOST: usize = 64;
        self.pass_on(MOST);
        self.log.finish();
    }
}

/// Waits until the process has ended, and returns its exit code, or 128 plus the number of a signal.
pub(super) fn wait(
    process: &Process,
    signals: &mut Signals,
    mut output: Option<Output>,
    is_terminal: bool,
) -> Result<i32> {
    loop {
        let streams = output.iter().flat_map(|output| output.streams.iter().flatten());
        let fds = [process.pidfd.as_fd(), signals.as_fd()].into_iter().chain(streams.map(AsFd::as_fd));
        let mut watched: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            polled => polled.context("wait for the container")?,
        };
        let has_ended = watched[0].any().unwrap_or(true);
        pass_on(signals, process.pidfd.as_fd(), is_terminal)?;
        if let Some(output) = &mut output {
            output.pass_on(1);
        }
        if has_ended {
            output.into_iter().for_each(Output::finish);
            let ended = signal::wait(process.pid, true).context("wait for the container")?;
            return Ok(ended.map_or(0, |(_, code)| code));
        }
    }
}

/// Passes all signals that have arrived on to the process.
fn pass_on(signals: &mut Signals, pidfd: BorrowedFd<'_>, is_terminal: bool) -> Result<()> {
    while let Some(number) = signals.read().context("read signals")? {
        match number {
            // A child has ended; the poll tells whether it is the one.
            libc::SIGCHLD | libc::SIGURG => {}
            // The runtime has these from the terminal itself.
            libc::SIGWINCH => {}
            libc::SIGTTIN | libc::SIGTTOU | libc::SIGTSTP | libc::SIGCONT if is_terminal => {}
            // It may have ended just now.
            _ => drop(pidfd_send_signal(pidfd, number)),
        }
    }
    Ok(())
}

/// Runs the runtime in the foreground, with this process's terminal, which has its mode back afterwards,
/// whatever has ended the runtime.
pub(super) fn run_with_terminal(command: &mut Command, signals: &mut Signals) -> Result<i32> {
    let mode = tty::mode(STDIN).ok();
    let child = command.spawn().context("start the runtime")?;
    let pid = child.id().cast_signed();
    let process = Process { pid, pidfd: pidfd_open(pid).context("open the runtime's process")? };
    let code = wait(&process, signals, None, true);
    if let Some(mode) = mode {
        let _ = tty::set_mode(STDIN, &mode);
    }
    code
}
