//! The last steps: the program is found, the start is waited for, execve.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, stat};
use nix::unistd::{AccessFlags, faccessat};

use super::identity::Ready;
use super::{Fds, Load, load_seccomp};
use crate::handshake::{At, Line, Report, Step};
use crate::plan::process::{ProcessPlan, has, name};
use crate::sys::process;

/// The environment, with HOME from the container's own /etc/passwd where it is not given.
pub fn environment(plan: &ProcessPlan) -> Vec<CString> {
    let mut env = plan.env.clone();
    if plan.listen_pid {
        let variable = format!("LISTEN_PID={}", nix::unistd::getpid());
        env.retain(|known| name(known) != b"LISTEN_PID");
        env.extend(CString::new(variable));
    }
    if !has(&env, "HOME") {
        let home = home(plan.uid).unwrap_or_else(|| b"/".to_vec());
        env.extend(CString::new([b"HOME=".as_slice(), &home].concat()));
    }
    env
}

/// The home directory of `uid`. The file is the image's: only a regular one is read, and no more than 1 MiB of it.
fn home(uid: u32) -> Option<Vec<u8>> {
    const LARGEST: u64 = 1 << 20;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = std::fs::File::from(nix::fcntl::open(c"/etc/passwd", flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LARGEST), &mut text).ok()?;
    let wanted = uid.to_string();
    let home = |line: &[u8]| {
        let mut fields = line.split(|&b| b == b':').skip(2);
        (fields.next()? == wanted.as_bytes()).then(|| fields.nth(2).map(<[u8]>::to_vec))?
    };
    text.split(|&b| b == b'\n').find_map(home).filter(|home| !home.is_empty())
}

/// CVE-2024-21626: a working directory outside the root shows as "(unreachable)" to the raw call.
pub fn check_working_directory() -> Result<(), Report> {
    let mut buffer = [0; libc::PATH_MAX as usize];
    match process::current_directory(&mut buffer) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::ENOENT) => {
            let why = "current working directory is outside of container mount namespace root";
            Err(Report::sentence(Step::WorkingDirectory, 0, why))
        }
        Err(errno) => Err(Report::new(Step::WorkingDirectory, 0, errno, "getcwd")),
    }
}

/// The first candidate that can be executed; else the failure that says most.
pub fn find(plan: &ProcessPlan) -> Result<CString, Report> {
    let mut worst = Errno::ENOENT;
    for candidate in &plan.candidates {
        match executable(candidate) {
            Ok(()) => return Ok(candidate.clone()),
            Err(Errno::ENOENT | Errno::ENOTDIR) if plan.searched => {}
            Err(errno) => worst = errno,
        }
    }
    Err(Report::new(Step::FindProgram, 0, worst, ""))
}

/// As Go's exec.LookPath judges: EISDIR for a directory, EACCES where nobody may execute.
fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = stat(path)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    match faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        // An old kernel under glibc's emulation, or a filter: the mode bits say.
        Err(Errno::ENOSYS | Errno::EPERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        other => other,
    }
}

/// Blocks until `start` writes its byte.
pub fn wait_on_fifo(fds: &Fds) -> Result<(), Report> {
    let Some(fifo) = &fds.exec_fifo else { return Ok(()) };
    let mut byte = [0];
    loop {
        match nix::unistd::read(fifo, &mut byte) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Report::new(Step::ExecFifo, 0, errno, "read")),
        }
    }
}

/// Into the program.
pub fn execute(plan: &ProcessPlan, ready: &Ready, line: &Line) -> Result<Infallible, Report> {
    let args = process::Vector::new(plan.args.iter().map(CString::as_c_str));
    let env = process::Vector::new(ready.env.iter().map(CString::as_c_str));
    let keep = 3 + plan.preserve_fds;
    // The line stays until execve closes it, to report a failure; all else is really closed now, so that no path of
    // the program can lead through /proc/self/fd to something of the host (CVE-2024-21626).
    close_all_but(keep, &mut [line.as_fd().as_raw_fd() as u32]).at(Step::Execute, 0, "close_range")?;
    process::reset_signals().at(Step::Execute, 0, "sigprocmask")?;
    load_seccomp(plan, line, Load::BeforeProgram)?;
    let errno = process::execve(&ready.program, &args, &env);
    Err(Report::new(Step::Execute, 0, errno, ""))
}

/// Closes all from `first` on but `kept`: what waits in the container, or is about to be it, holds nothing of the host.
pub fn close_all_but(first: u32, kept: &mut [u32]) -> Result<(), Errno> {
    kept.sort_unstable();
    let mut next = first;
    for &fd in kept.iter().filter(|&&fd| fd >= first) {
        process::close_range(next, fd.saturating_sub(1))?;
        next = next.max(fd + 1);
    }
    process::close_range(next, u32::MAX)
}
