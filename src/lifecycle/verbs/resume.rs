//! `resume`: thaws the cgroup of a paused container.

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::lifecycle::load;
use crate::lifecycle::options::Globals;

/// Resumes a paused container.
pub(crate) fn resume(globals: &Globals, id: &ContainerId) -> Result<()> {
    let entry = load::entry(globals, id);
    let _lock = entry.lock()?;
    let container = load::from_entry(entry)?;
    if container.status != Status::Paused {
        return Err(Error::new(Kind::State, matched::NOT_PAUSED));
    }
    container.group()?.thaw()
}
