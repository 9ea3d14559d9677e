//! `create`: makes a container from a bundle. Its process waits for `start`.

use crate::container_id::ContainerId;
use crate::error::{Result, matched};
use crate::launch::seal;
use crate::lifecycle::creation::{CreateMode, create_container};
use crate::lifecycle::options::{Create, Globals};
use crate::log;

/// Creates the container.
pub(crate) fn create(globals: &Globals, id: &ContainerId, options: &Create) -> Result<()> {
    seal::own_binary()?;
    let created = create_container(globals, id, options, CreateMode { detach: true, wait_for_start: true })?;
    log::debug(format_args!("{}", matched::CLOSING_PIPE));
    created.finish(|created| created.child.set_created())
}
