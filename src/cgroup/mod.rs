//! Control groups (cgroups): `linux.cgroupsPath` and `linux.resources` become a plan, and the plan a live
//! group.
//!
//! [`plan`] decides and touches nothing, [`live`] changes the group's directories, [`systemd`] talks to
//! systemd if it manages the groups. The layers above do not distinguish cgroup v1 and v2: they use a
//! [`Group`] and never name a control file.

mod dir;
pub(crate) mod live;
pub(crate) mod plan;
pub(crate) mod systemd;

pub(crate) use live::freeze::HierarchyRoots;
pub use live::group::Group;
pub(crate) use live::stats::Stats;
pub(crate) use plan::Record;
pub use plan::{Manager, Plan};
