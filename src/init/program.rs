//! The program of the process: finds it, gives it its environment, executes it.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, stat};
use nix::unistd::{AccessFlags, faccessat};

use super::refusal;
use crate::errno_words::words;
use crate::handshake::{Report, Step};
use crate::plan::process::{ProcessPlan, has, name};
use crate::sys::file::standard_streams;
use crate::sys::process;
use crate::weak::{Defence, stands};

/// What execve(2) needs, found inside the container.
pub(super) struct Program {
    pub path: CString,
    pub env: Vec<CString>,
}

/// Returns the environment. If HOME is missing or empty, it comes from the container's own /etc/passwd.
pub(super) fn environment(plan: &ProcessPlan) -> Vec<CString> {
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

/// Returns the home directory of `uid`. The file is the image's: only a regular file is read, and no more
/// than 1 MiB of it.
fn home(uid: u32) -> Option<Vec<u8>> {
    const LARGEST: usize = 1 << 20;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = std::fs::File::from(nix::fcntl::open(c"/etc/passwd", flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let text = read_at_most(&file, LARGEST)?;
    let uid_text = uid.to_string();
    let home_in = |line: &[u8]| {
        let mut fields = line.split(|&b| b == b':').skip(2);
        (fields.next()? == uid_text.as_bytes()).then(|| fields.nth(2).map(<[u8]>::to_vec))?
    };
    text.split(|&b| b == b'\n').find_map(home_in).filter(|home| !home.is_empty())
}

/// Reads the beginning of a file; `None` on any error. (The standard library would retry for ever if a filter
/// answers EINTR.)
fn read_at_most(file: &std::fs::File, most: usize) -> Option<Vec<u8>> {
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    while text.len() < most {
        match nix::unistd::read(file, &mut chunk).ok()? {
            0 => break,
            length => text.extend_from_slice(&chunk[..length]),
        }
    }
    text.truncate(most);
    Some(text)
}

/// Refuses a working directory outside the root (CVE-2024-21626): the raw call shows it as "(unreachable)".
pub(super) fn check_working_directory() -> Result<(), Report> {
    let mut buffer = [0; libc::PATH_MAX as usize];
    match process::current_directory(&mut buffer) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
        _ if !stands(Defence::Descriptors) => Ok(()),
        Ok(_) | Err(Errno::ENOENT) => {
            let why = "current working directory is outside of container mount namespace root";
            Err(Report::from_text(Step::WorkingDirectory, why))
        }
        Err(errno) => Err(Report::new(Step::WorkingDirectory, errno, "getcwd")),
    }
}

/// Returns the first candidate that can be executed, otherwise the most telling failure.
pub(super) fn find(plan: &ProcessPlan) -> Result<CString, Report> {
    let (mut worst, mut refused) = (Errno::ENOENT, None);
    for candidate in &plan.candidates {
        match executable(candidate) {
            Ok(()) => return Ok(candidate.clone()),
            Err(Errno::ENOENT | Errno::ENOTDIR) if plan.searched => {}
            Err(errno) => (worst, refused) = (errno, Some(candidate)),
        }
    }
    let why = match (plan.searched, worst) {
        (true, Errno::ENOENT) => refusal::dangling(&plan.candidates),
        (_, Errno::EISDIR) => None,
        _ => refused.and_then(|path| refusal::reason(path, &plan.args, &plan.env, worst)),
    };
    Err(Report::new(Step::FindProgram, worst, &why.unwrap_or_default()))
}

/// Judges as Go's exec.LookPath does: EISDIR for a directory, EACCES if nobody may execute it.
fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = stat(path)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    match faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        // Either an old kernel under the C library's emulation, or a filter: the mode bits decide.
        Err(Errno::ENOSYS | Errno::EPERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        other => other,
    }
}

/// Executes the program; returns only on failure.
pub(super) fn execute(plan: &ProcessPlan, program: &Program) -> Result<Infallible, Report> {
    let args = process::Vector::new(plan.args.iter().map(CString::as_c_str));
    let env = process::Vector::new(program.env.iter().map(CString::as_c_str));
    let errno = process::execve(&program.path, &args, &env);
    let may_look = plan.seccomp.as_ref().is_none_or(|filter| filter.file_lookups_are_harmless);
    let reason = || refusal::reason(&program.path, &plan.args, &program.env, errno);
    let why = may_look.then(reason).flatten().unwrap_or_default();
    tell(&program.path, errno, &why);
    Err(Report::new(Step::Execute, errno, &why))
}

/// Writes the failure to the process's own standard error. Those who did not start the process look there,
/// because `create` has ended long ago.
fn tell(path: &CStr, errno: Errno, why: &str) {
    let colon = if why.is_empty() { "" } else { ": " };
    let path = refusal::show(Path::new(OsStr::from_bytes(path.to_bytes())));
    let text = format!("exec {path}: {}{colon}{why}\n", words(errno));
    let _ = nix::unistd::write(standard_streams()[2], text.as_bytes());
}
