//! One sample of a live group.

use super::model::Stats;
use super::{read, v1, v2};
use crate::cgroup::live::group::Group;
use crate::error::Result;
use crate::host::cgroup::Mode;

impl Group {
    /// One sample. A controller that the host does not have leaves its part at zero.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = if self.record().mode == Mode::V2 { v2::stats(self)? } else { v1::stats(self)? };
        if let Some(dir) = self.unified().map(|location| self.dir(location)).transpose()? {
            // On a hybrid host too: pressure needs no controller, and v1 does not know it.
            stats.cpu.psi = read::psi(dir, "cpu.pressure")?;
            stats.memory.psi = read::psi(dir, "memory.pressure")?;
            stats.blkio.psi = read::psi(dir, "io.pressure")?;
        }
        Ok(stats)
    }
}
