//! v1's cpuset: a new group has no processors and no memory nodes, and accepts no process until it has some.

use crate::cgroup::dir::CgroupDir;
use crate::error::Result;

/// Gives `child` the processors and memory nodes of `parent`, if it has none yet.
pub(super) fn inherit(parent: &CgroupDir, child: &CgroupDir) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if child.read_with_context(file)?.trim().is_empty() {
            child.write_with_context(file, parent.read_with_context(file)?.trim())?;
        }
    }
    Ok(())
}
