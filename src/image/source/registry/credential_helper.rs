//! Runs `docker-credential-NAME`, which keeps credentials: it may hang and print what it likes, and what it
//! prints may be a secret.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// The largest answer in bytes; that of a helper has some hundred.
const MAX_ANSWER: u64 = 1 << 20;
/// How often it is looked whether a helper that has closed its output has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// A helper, and how long it may take: it may ask the user, so it gets as long as a registry.
pub(super) struct Helper<'a> {
    pub(super) name: &'a str,
    pub(super) deadline: Duration,
}

impl Helper<'_> {
    /// Asks the helper for the credentials of a server; None if it has none.
    pub(super) fn get(&self, server: &str) -> Result<Option<Vec<u8>>> {
        self.run("get", server)
    }

    /// Gives the helper new credentials to keep, as JSON.
    pub(super) fn store(&self, entry: &str) -> Result<()> {
        self.run("store", entry).map(drop)
    }

    /// Makes the helper forget the credentials of a server.
    pub(super) fn erase(&self, server: &str) -> Result<()> {
        self.run("erase", server).map(drop)
    }

    fn run(&self, verb: &str, input: &str) -> Result<Option<Vec<u8>>> {
        let program = format!("docker-credential-{}", self.name);
        let run = || {
            check_name(self.name)?;
            let mut child = Command::new(&program)
                .arg(verb)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            let answer = converse(&mut child, input, Instant::now() + self.deadline);
            if answer.is_err() {
                let _ = child.kill();
                let _ = child.wait();
            }
            judge(answer?, verb)
        };
        run().map_err(|error: Error| match error.errno() {
            Some(Errno::ETIMEDOUT) => {
                let seconds = self.deadline.as_secs();
                fail!(
                    Kind::System(Errno::ETIMEDOUT),
                    "run {program}: it has not answered in {seconds} seconds"
                )
                .with_hint("--timeout gives it more time")
            }
            _ => error.context(format!("run {program}")),
        })
    }
}

/// The name comes from a file, and becomes part of that of a program that is looked for in PATH.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    match !name.is_empty() && !name.contains("..") && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(fail!(Kind::Spec, "{name:?} is no name of a program")),
    }
}

/// Writes the input and reads the answer in threads of their own, which a helper that does neither does not
/// hold up.
fn converse(child: &mut Child, input: &str, until: Instant) -> Result<(bool, Vec<u8>)> {
    let (sender, answer) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        let read = move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MAX_ANSWER + 1).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        };
        std::thread::Builder::new().spawn(read).context("start a thread")?;
    }
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_owned();
        // A helper that does not read its input says why with its exit code.
        let write = move || stdin.write_all(input.as_bytes());
        std::thread::Builder::new().spawn(write).context("start a thread")?;
    }
    let left = until.saturating_duration_since(Instant::now());
    let bytes = answer.recv_timeout(left).map_err(|_| Errno::ETIMEDOUT)??;
    if bytes.len() as u64 > MAX_ANSWER {
        return Err(fail!(Kind::Spec, "it prints more than {MAX_ANSWER} bytes"));
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status.success(), bytes));
        }
        if Instant::now() > until {
            return Err(Errno::ETIMEDOUT.into());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns what a helper wrote, or an error. A helper that fails writes the reason to its standard output.
/// Only one line of it is shown, and nothing if it may contain the secret: after `store`, or if it looks like
/// a document.
fn judge((success, bytes): (bool, Vec<u8>), verb: &str) -> Result<Option<Vec<u8>>> {
    if success {
        return Ok(Some(bytes));
    }
    let said = String::from_utf8_lossy(&bytes);
    if said.contains("credentials not found") {
        return Ok(None);
    }
    let line = said.trim().lines().next().unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    match line.is_empty() || verb == "store" || said.contains(['{', '"']) {
        true => Err(fail!(Kind::Denied, "it failed")),
        false => Err(fail!(Kind::Denied, "it failed: {line}")),
    }
}
