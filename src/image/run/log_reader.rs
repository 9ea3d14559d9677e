//! Reads the log of a container, from its begin, and on as long as it runs.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use super::log_file;
use super::record;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::store::Store;

/// How often it is looked for more.
const PAUSE: Duration = Duration::from_millis(50);

/// The log of one container.
#[derive(Debug)]
pub(crate) struct LogReader {
    store: Store,
    name: String,
    file: BufReader<File>,
    /// A line whose end is not written yet.
    begun: Vec<u8>,
}

impl LogReader {
    /// Opens the log.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if there is no such container, `Kind::State` if it has no log.
    pub(crate) fn open(store: &Store, name: &str) -> Result<Self> {
        let missing = || fail!(Kind::NotFound, "there is no container {name}");
        if !record::names(store)?.iter().any(|known| known == name) {
            return Err(missing());
        }
        let record = record::read(store, name)?.ok_or_else(missing)?;
        if !record.detached {
            return Err(fail!(
                Kind::State,
                "container {name} ran in the foreground: its output went to its caller"
            )
            .with_hint("`tare-image run --detach` keeps it"));
        }
        let dir = store.containers()?.below(name)?;
        let file = dir.open_file(log_file::NAME).context("open the log")?;
        Ok(Self { store: store.clone(), name: name.into(), file: BufReader::new(file), begun: Vec::new() })
    }

    /// The next line; None at the end of what is written.
    pub(crate) fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        self.file.read_until(b'\n', &mut self.begun).context("read the log")?;
        match self.begun.pop() {
            Some(b'\n') => Ok(Some(std::mem::take(&mut self.begun))),
            last => {
                self.begun.extend(last);
                Ok(None)
            }
        }
    }

    /// The next line, which is waited for; None when the container has ended.
    pub(crate) fn wait_for_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            // Before the log is read: what is written until the end is there then.
            let has_ended = self.has_ended()?;
            match self.next_line()? {
                None if has_ended => return Ok(None),
                None => std::thread::sleep(PAUSE),
                line => return Ok(line),
            }
        }
    }

    /// Whether the container has ended, or its process was killed.
    fn has_ended(&self) -> Result<bool> {
        let is_alive = record::is_locked(&self.store, &self.name)?;
        Ok(!is_alive || record::read(&self.store, &self.name)?.is_none_or(|record| record.exit.is_some()))
    }
}
