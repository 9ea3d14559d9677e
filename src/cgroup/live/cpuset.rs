//! v1's cpuset: a new group has no processor and no memory node, and takes no process until it has.

use crate::cgroup::dir::CgroupDir;
use crate::error::Result;

/// Gives `child` what `parent` has, where it has nothing yet.
pub(super) fn inherit(parent: &CgroupDir, child: &CgroupDir) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if child.read_with_context(file)?.trim().is_empty() {
            child.write_with_context(file, parent.read_with_context(file)?.trim())?;
        }
    }
    Ok(())
}
