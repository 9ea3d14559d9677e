//! Takes one sample of a live group.

use super::model::Stats;
use super::{read, v1, v2};
use crate::cgroup::live::group::Group;
use crate::error::Result;
use crate::host::cgroup::Mode;

impl Group {
    /// Takes one sample. A controller that the host lacks leaves zeros.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = if self.record().mode == Mode::V2 { v2::stats(self)? } else { v1::stats(self)? };
        if let Some(dir) = self.unified().map(|location| self.dir(location)).transpose()? {
            // This also applies to a hybrid host: pressure needs no controller, and v1 does not have it.
            stats.cpu.psi = read::psi(dir, "cpu.pressure")?;
            stats.memory.psi = read::psi(dir, "memory.pressure")?;
            stats.blkio.psi = read::psi(dir, "io.pressure")?;
        }
        Ok(stats)
    }
}
