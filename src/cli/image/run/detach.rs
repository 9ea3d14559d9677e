//! `--detach`: this program runs itself again, in the background. The first process waits until the container
//! has begun, prints what the second one has said, and ends.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::cli::stdout;
use crate::error::{Context, Result};

/// The environment variable that tells the second process that it is the one, and the id of its container.
const VARIABLE: &str = "TARE_IMAGE_BACKGROUND";

/// Whether this is the second process.
pub(super) fn is_background() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The id that the first process has chosen.
pub(super) fn id() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|id| !id.is_empty())
}

/// Runs this program again, and returns the exit code for this process.
pub(super) fn run_in_background(id: &str) -> Result<i32> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let mut command = Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, name);
    command.args(words).env(VARIABLE, id).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("start tare-image again")?;
    let mut said = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        // It ends when the second process has told that the container has begun, or has ended itself.
        pipe.read_to_string(&mut said).context("wait for the container")?;
    }
    if !said.is_empty() {
        stdout::write(&said)?;
        return Ok(0);
    }
    let status = child.wait().context("wait for the container")?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
