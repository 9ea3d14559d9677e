//! Control groups (cgroups): `linux.cgroupsPath` and `linux.resources` become a plan, and the plan a live group.
//!
//! [`plan`] decides and touches nothing, [`live`] acts on the group's directories, [`systemd`] speaks to systemd where it
//! manages the groups. cgroup v1 and v2 are the same to the layers above: they ask a [`Group`] and never name a control
//! file.

mod dir;
pub mod live;
pub mod plan;
pub mod systemd;

pub use live::freeze::Hierarchies;
pub use live::group::Group;
pub use live::stats::Stats;
pub use plan::{Driver, Plan, Record};
