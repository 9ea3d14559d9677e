//! `ps`.

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::lifecycle::load;
use crate::lifecycle::options::Globals;

/// Every process of the container, as the host numbers them.
pub(crate) fn ps(globals: &Globals, id: &ContainerId) -> Result<Vec<i32>> {
    let container = load::container(globals, id)?;
    if container.status == Status::Stopped {
        return Ok(Vec::new());
    }
    container.group()?.procs()
}
