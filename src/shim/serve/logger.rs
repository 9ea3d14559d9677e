//! What is remembered of loggers.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use super::job::Work;
use crate::shim::process::Reply;
use crate::shim::runtime::command::Call;

/// A command of the runtime that waits for a logger.
pub(super) struct AwaitsLogger {
    pub(super) ready: OwnedFd,
    pub(super) strict: bool,
    pub(super) until: Instant,
    pub(super) container: String,
    pub(super) work: Work,
    pub(super) reply: Option<Reply>,
    pub(super) call: Call,
    pub(super) files: Vec<PathBuf>,
}

/// A logger that runs.
pub(super) struct Logger {
    pub(super) container: String,
    pub(super) exec: String,
    /// The output, for us to empty should the logger die before the process.
    pub(super) ends: Vec<OwnedFd>,
    /// When it is asked to end, and when it is killed; once the process is gone.
    pub(super) ask_at: Option<Instant>,
    pub(super) kill_at: Option<Instant>,
}

/// Loggers, and who waits for one.
#[derive(Default)]
pub(super) struct Loggers {
    pub(super) awaited: BTreeMap<u32, AwaitsLogger>,
    pub(super) running: BTreeMap<i32, Logger>,
}

impl Loggers {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let awaited = self.awaited.values().map(|waits| waits.until);
        let running = self.running.values().flat_map(|logger| [logger.ask_at, logger.kill_at]).flatten();
        awaited.chain(running).min()
    }
}
