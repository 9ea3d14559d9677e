//! The last steps: the program is found, the start is waited for, execve.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, stat};
use nix::unistd::{AccessFlags, faccessat};

use super::Fds;
use super::identity::Ready;
use crate::handshake::{InStep, Report, Step, SyncSocket};
use crate::plan::process::{ProcessPlan, has, name};
use crate::sys::file::{read_byte, standard_streams};
use crate::sys::process;
use crate::sys::tuning::read_byte_releasing_pages;

/// The environment, with HOME from the container's own /etc/passwd where it is not given, or empty.
pub fn environment(plan: &ProcessPlan) -> Vec<CString> {
    let mut env = plan.env.clone();
    env.retain(|variable| variable.as_c_str() != c"HOME=");
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
            Err(Report::from_text(Step::WorkingDirectory, why))
        }
        Err(errno) => Err(Report::new(Step::WorkingDirectory, errno, "getcwd")),
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
    Err(Report::new(Step::FindProgram, worst, ""))
}

/// As Go's exec.LookPath judges: EISDIR for a directory, EACCES where nobody may execute.
fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = stat(path)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    match faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        // An old kernel under the C library's emulation, or a filter: the mode bits say.
        Err(Errno::ENOSYS | Errno::EPERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        other => other,
    }
}

/// No path of the program shall lead through /proc/self/fd to a file of the host. (The owners are never dropped.)
pub fn close_hook_output(fds: &Fds) {
    for file in fds.hook_output.iter().flatten() {
        let _ = nix::unistd::close(file.as_raw_fd());
    }
}

/// Blocks until `start` writes its byte. That may be long: what can be read again from the binary is not held meanwhile.
pub fn wait_on_fifo(plan: &ProcessPlan, fds: &Fds) -> Result<(), Report> {
    let Some(fifo) = &fds.exec_fifo else { return Ok(()) };
    // The first process of a pid namespace is deaf to signals without a handler; one that is not started yet is ended
    // by them all the same, as with runc. Before execve all of them have their default action again.
    process::end_on_signals().in_step(Step::ExecFifo, "sigaction")?;
    let may_madvise = plan.seccomp.as_ref().is_none_or(|filter| filter.spares_madvise);
    // It stays open until execve closes it: `start` sees by that when the program runs.
    if may_madvise { read_byte_releasing_pages(fifo.as_fd()) } else { read_byte(fifo.as_fd()) }
        .in_step(Step::ExecFifo, "read")
}

/// Into the program.
pub fn execute(plan: &ProcessPlan, ready: &Ready) -> Result<Infallible, Report> {
    let args = process::Vector::new(plan.args.iter().map(CString::as_c_str));
    let env = process::Vector::new(ready.env.iter().map(CString::as_c_str));
    let errno = process::execve(&ready.program, &args, &env);
    let report = Report::new(Step::Execute, errno, "");
    tell(&ready.program, errno);
    Err(report)
}

/// The program's own standard error is where those look who did not start it: `create` has ended long ago.
fn tell(program: &CStr, errno: Errno) {
    let text = format!("exec {}: {}\n", program.to_string_lossy(), errno.desc().to_lowercase());
    let _ = nix::unistd::write(standard_streams()[2], text.as_bytes());
}

/// Closes all that is not the program's but the line to the runtime, which reports a failure, the exec fifo, and what
/// hooks write to; these close on execve. What waits in the container, or is about to be its program, holds nothing else of the host.
pub fn close_all_but_ours(plan: &ProcessPlan, fds: &Fds, socket: &SyncSocket) -> Result<(), Errno> {
    let first = 3 + plan.preserve_fds;
    close_all_but(first, fds.until_execve(), socket)?;
    process::cloexec_from(first)
}

/// The same before a process is born among others: it starts where they may look into it (CVE-2016-9962), and what our
/// caller left open goes before that. What it still needs for its surroundings stays.
pub fn close_before_birth(first: u32, fds: &Fds, socket: &SyncSocket) -> Result<(), Errno> {
    close_all_but(first, fds.until_execve().chain(fds.to_prepare()), socket)
}

fn close_all_but<'a>(
    first: u32,
    kept: impl Iterator<Item = &'a OwnedFd>,
    socket: &SyncSocket,
) -> Result<(), Errno> {
    let mut kept: Vec<u32> = kept.map(|fd| fd.as_raw_fd() as u32).collect();
    kept.push(socket.as_fd().as_raw_fd() as u32);
    kept.sort_unstable();
    let mut next = first;
    for fd in kept.into_iter().filter(|&fd| fd >= first) {
        process::close_range(next, fd.saturating_sub(1))?;
        next = next.max(fd + 1);
    }
    process::close_range(next, u32::MAX)
}
