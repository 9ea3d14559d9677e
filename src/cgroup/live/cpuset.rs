//! v1's cpuset: a new group has no processor and no memory node, and takes no process until it has.

use crate::cgroup::dir::Dir;
use crate::error::Result;

/// Gives `child` what `parent` has, where it has nothing yet.
pub(super) fn inherit(parent: &Dir, child: &Dir) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if child.read_or_fail(file)?.trim().is_empty() {
            child.write_or_fail(file, parent.read_or_fail(file)?.trim())?;
        }
    }
    Ok(())
}
