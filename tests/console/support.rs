//! Processes and terminals for the tests.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};
use tare::sys::process::{exit_now, reset_signals};
use tare::sys::tty;

/// Nothing here takes longer, however busy the machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A process of the test; killed if the test fails before it ends.
pub(crate) struct Process(pub Pid);

impl Process {
    /// Runs `life` in a process of its own, which exits with what that returns. It must not own descriptors of the
    /// test's, only borrow them.
    pub(crate) fn start(life: impl FnOnce() -> i32) -> Self {
        #[cfg(feature = "tuning")]
        {
            static ONCE: std::sync::Once = std::sync::Once::new();
            // SAFETY: makes fork(2) wait for the lock of the heap, and free it in the child; once.
            ONCE.call_once(|| unsafe { dlmalloc::enable_alloc_after_fork() });
        }
        // SAFETY: the child has one thread; what it does needs no lock that another thread of the test may hold but
        // that of the heap: the C library takes care of its own, and the line above of ours.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => Self(child),
            ForkResult::Child => {
                // The caller of the tests may ignore some, as nohup does, and what it ignores stays ignored.
                reset_signals(u64::MAX).unwrap();
                let life = std::panic::AssertUnwindSafe(life);
                exit_now(std::panic::catch_unwind(life).unwrap_or(101))
            }
        }
    }

    /// Its end, within [`TIMEOUT`].
    pub(crate) fn end(self) -> WaitStatus {
        let start = Instant::now();
        while start.elapsed() < TIMEOUT {
            match waitpid(self.0, Some(WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive => std::thread::sleep(Duration::from_millis(2)),
                status => {
                    std::mem::forget(self);
                    return status;
                }
            }
        }
        panic!("process {} hangs", self.0);
    }

    pub(crate) fn code(self) -> i32 {
        match self.end() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.0, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// Puts this process on `input` and `output`, errors where the test's go.
pub(crate) fn redirect(input: &OwnedFd, output: &OwnedFd) {
    dup2_stdin(input).unwrap();
    dup2_stdout(output).unwrap();
}

/// Lets go of every descriptor but the standard streams, this test's and those of tests beside it, whose ends would
/// else stay open here. For a process of [`Process::start`], which owns none of them.
pub(crate) fn let_go() {
    tare::sys::process::close_range(3, u32::MAX).unwrap();
}

/// Makes `terminal` the controlling terminal and all standard streams of this process.
pub(crate) fn sit_at(terminal: &impl AsFd) {
    setsid().unwrap();
    tty::make_controlling(terminal.as_fd()).unwrap();
    dup2_stdin(terminal).unwrap();
    dup2_stdout(terminal).unwrap();
    dup2_stderr(terminal).unwrap();
}

/// The end of a terminal or pipe that the test holds.
pub(crate) struct Line {
    fd: OwnedFd,
    pub seen: String,
}

impl Line {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        Self { fd, seen: String::new() }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn write(&mut self, text: &str) {
        let mut file = std::fs::File::from(self.fd.try_clone().unwrap());
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` has come, and forgets all up to its end.
    pub(crate) fn expect(&mut self, text: &str) {
        let found = self.read_while(|seen| !seen.contains(text));
        assert!(found, "{text:?} has not come: {:?}", self.seen);
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    /// All that comes until the other end is closed.
    pub(crate) fn rest(&mut self) -> String {
        assert!(!self.read_while(|_| true), "cannot be");
        std::mem::take(&mut self.seen)
    }

    /// Reads while `more` wants it. False at the end of what comes.
    fn read_while(&mut self, more: impl Fn(&str) -> bool) -> bool {
        let start = Instant::now();
        let mut file = std::fs::File::from(self.fd.try_clone().unwrap());
        while more(&self.seen) {
            assert!(start.elapsed() < TIMEOUT, "nothing more comes after {:?}", self.seen);
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(100_u8)).unwrap();
            let mut bytes = [0; 4096];
            match file.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => self.seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // EIO: a terminal that nobody has open any more.
                Err(_) => return false,
            }
        }
        true
    }
}

/// A directory of one test, gone with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tare-console-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
