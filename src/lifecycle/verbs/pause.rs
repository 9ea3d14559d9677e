//! `pause`: freezes the cgroup of a container.

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::fail;
use crate::lifecycle::load;
use crate::lifecycle::options::Globals;

/// Pauses a running or created container.
pub(crate) fn pause(globals: &Globals, id: &ContainerId) -> Result<()> {
    let entry = load::entry(globals, id);
    let _lock = entry.lock()?;
    let container = load::from_entry(entry)?;
    match container.status {
        Status::Running | Status::Created => container.group()?.freeze(),
        other => Err(fail!(crate::error::Kind::State, "container not running or created: {other}")),
    }
}
