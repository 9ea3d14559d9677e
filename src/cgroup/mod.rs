//! Control groups (cgroups): `linux.cgroupsPath` and `linux.resources` become a plan, and the plan a live group.
//!
//! [`plan`] decides and touches nothing, [`live`] acts on the group's directories, [`systemd`] speaks to systemd where it
//! manages the groups. cgroup v1 and v2 are the same to the layers above: they ask a [`Group`] and never name a control
//! file.

mod dir;
pub(crate) mod live;
pub(crate) mod plan;
pub(crate) mod systemd;

pub(crate) use live::freeze::HierarchyRoots;
pub use live::group::Group;
pub(crate) use live::stats::Stats;
pub(crate) use plan::Record;
pub use plan::{Manager, Plan};
