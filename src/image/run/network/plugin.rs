//! Runs one plugin of CNI (specification 1.0, "Section 2: Execution Protocol"): the command in the environment,
//! the configuration on standard input, the result or an error on standard output.

use std::ffi::CStr;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use serde_json::Value;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::filesystem::directory::Directory;
use crate::sys::process::pidfd_open;

/// Where plugins are, if CNI_PATH does not say so: upstream's place, Debian's and Fedora's.
const PLACES: &str = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni";
/// How long a plugin may take: one may wait for a server of addresses.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether plugins still work.
const PAUSE: Duration = Duration::from_millis(10);
/// The most bytes that a plugin may print.
const MAX_OUTPUT: usize = 1 << 20;

/// Is held by every plugin of a container that works, and by what it has started: a process that was killed
/// may have left some at work, and what they do cannot be undone before they have done it.
#[derive(Debug)]
pub(super) struct AtWork(File);

impl AtWork {
    /// Waits until no plugin of the container in `dir` works any more, so long as one may take.
    pub(super) fn begin(dir: &Directory) -> Result<Self> {
        const NAME: &CStr = c"plugins";
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file =
            openat(dir, NAME, flags, Mode::S_IRUSR | Mode::S_IWUSR).context("make the lock of plugins")?;
        let (file, until) = (File::from(file), Instant::now() + PATIENCE);
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(error).context("lock the plugins"),
                _ => return Ok(Self(file)),
            }
        }
    }

    /// Starts a program that inherits the lock. It is let go of when the last of those who have it ends.
    fn start(&self, command: &mut Command) -> Result<Child> {
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let child = command.spawn();
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(child?)
    }
}

/// What every plugin of one network is told by its environment.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// `ADD` or `DEL`.
    pub(super) command: &'a str,
    pub(super) container: &'a str,
    /// The path of the network namespace.
    pub(super) namespace: &'a Path,
    pub(super) interface: &'a str,
    pub(super) at_work: &'a AtWork,
}

/// The directories that plugins are in.
fn places() -> String {
    std::env::var("CNI_PATH").ok().filter(|path| !path.is_empty()).unwrap_or_else(|| PLACES.into())
}

/// Finds a plugin by the type that a configuration names.
///
/// # Errors
///
/// `Kind::Spec` for a type that is no plain name, `Kind::NotFound` for one that is not installed.
pub(super) fn find(kind: &str) -> Result<PathBuf> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if kind.is_empty() || kind.starts_with('.') || !kind.bytes().all(is_plain) {
        return Err(fail!(Kind::Spec, "{kind:?} is no name of a plugin"));
    }
    let places = places();
    let found = std::env::split_paths(&places).map(|dir| dir.join(kind)).find(|path| path.is_file());
    found.ok_or_else(|| {
        fail!(Kind::NotFound, "there is no plugin {kind:?} of CNI in {places}")
            .with_hint("they are of the package containernetworking-plugins; CNI_PATH names another place")
    })
}

impl Call<'_> {
    /// Runs the plugin of this type; returns its result, if it has one.
    pub(super) fn run(&self, kind: &str, config: &Value) -> Result<Option<Value>> {
        let place = || format!("network plugin {kind:?}, {}", self.command);
        let program = find(kind)?;
        let mut command = Command::new(&program);
        command
            .env("CNI_COMMAND", self.command)
            .env("CNI_CONTAINERID", self.container)
            .env("CNI_NETNS", self.namespace)
            .env("CNI_IFNAME", self.interface)
            .env("CNI_PATH", places())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.at_work.start(&mut command).with_context(place)?;
        let answer = converse(&mut child, config.to_string().into_bytes());
        if answer.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        judge(&answer.with_context(place)?).with_context(place)
    }
}

/// What a plugin has answered.
struct Answer {
    status: ExitStatus,
    output: Vec<u8>,
    errors: Vec<u8>,
}

/// Writes the configuration, and reads both outputs until the plugin has ended. What it has started may keep
/// them open.
fn converse(child: &mut Child, input: Vec<u8>) -> Result<Answer> {
    let until = Instant::now() + PATIENCE;
    let exit = pidfd_open(child.id().cast_signed())?;
    let lost = || fail!(Kind::System(Errno::EPIPE), "it has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(lost)?;
    // A plugin that does not read is not waited for; one that ends without reading says why.
    let write = move || stdin.write_all(&input);
    std::thread::Builder::new().spawn(write).context("start a thread")?;
    let mut stdout = child.stdout.take().ok_or_else(lost)?;
    let mut stderr = child.stderr.take().ok_or_else(lost)?;
    unblock(&stdout)?;
    unblock(&stderr)?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut open = [true; 2];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let fds = [Some(exit.as_fd()), open[0].then(|| stdout.as_fd()), open[1].then(|| stderr.as_fd())];
        let mut watched: Vec<_> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut watched, timeout) {
            Err(Errno::EINTR) => continue,
            Ok(0) => {
                return Err(fail!(
                    Kind::System(Errno::ETIMEDOUT),
                    "it has not ended after {} seconds",
                    PATIENCE.as_secs()
                ));
            }
            polled => polled?,
        };
        let has_ended = watched[0].any().unwrap_or(true);
        open = [read_some(&mut stdout, &mut output)?, read_some(&mut stderr, &mut errors)?];
        if has_ended {
            return Ok(Answer { status: child.wait()?, output, errors });
        }
    }
}

fn unblock(fd: &impl AsFd) -> Result<()> {
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Reads what is there; returns whether more may come.
fn read_some(from: &mut impl Read, to: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) if to.len() + count > MAX_OUTPUT => {
                return Err(fail!(Kind::Spec, "it prints more than {MAX_OUTPUT} bytes"));
            }
            Ok(count) => to.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The result of a plugin, or the error that it tells.
fn judge(answer: &Answer) -> Result<Option<Value>> {
    let document: Option<Value> = serde_json::from_slice(&answer.output).ok();
    if answer.status.success() {
        return match (document, answer.output.trim_ascii().is_empty()) {
            (Some(result), _) if result.is_object() => Ok(Some(result)),
            (Some(_), _) => Err(fail!(Kind::Spec, "its result is no object")),
            (None, true) => Ok(None),
            (None, false) => Err(fail!(Kind::Spec, "its result is no JSON")),
        };
    }
    let word =
        |name: &str| document.as_ref().and_then(|error| error[name].as_str()).unwrap_or_default().to_owned();
    let said = match (word("msg"), word("details")) {
        (msg, _) if msg.is_empty() => {
            String::from_utf8_lossy(&[&answer.errors[..], &answer.output].concat()).trim().to_owned()
        }
        (msg, details) if details.is_empty() => msg,
        (msg, details) => format!("{msg}: {details}"),
    };
    let said: String = said.chars().take(1000).collect();
    match said.is_empty() {
        true => Err(fail!(Kind::Child, "{}", answer.status)),
        false => Err(fail!(Kind::Child, "{said}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_result_is_an_object_or_nothing() {
        let judged = |output: &str| {
            let status = ExitStatus::from_raw(0);
            judge(&Answer { status, output: output.into(), errors: Vec::new() })
        };
        assert_eq!(judged("{}").unwrap(), Some(serde_json::json!({})));
        assert_eq!(judged(" \n").unwrap(), None);
        for bad in ["null", "[1]", "\"x\"", "1e308", "true", "}{"] {
            assert!(judged(bad).is_err(), "{bad}");
        }
    }
}
