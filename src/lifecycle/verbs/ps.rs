//! `ps`: lists the processes of a container.

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::lifecycle::load;
use crate::lifecycle::options::Globals;

/// Returns the pids of the container's processes in this pid namespace; none if the container is stopped.
pub(crate) fn ps(globals: &Globals, id: &ContainerId) -> Result<Vec<i32>> {
    let container = load::container(globals, id)?;
    if container.status == Status::Stopped {
        return Ok(Vec::new());
    }
    container.group()?.procs()
}
