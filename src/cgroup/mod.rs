//! Control groups: resources become writes (pure), then the writes are applied.
//!
//! `plan` decides; `Plan::create` makes the group; `Group` is the live one, found again from its `Record`.
//! cgroup v1 and v2 are the same to the layers above: they ask a `Group` and never name a control file.

mod apply;
mod change;
mod convert;
mod cpuset;
mod create;
mod delegate;
pub mod devices;
mod dir;
mod entrance;
mod fields;
pub mod freeze;
pub mod group;
mod merge;
pub mod oom;
pub mod path;
pub mod plan;
mod procs;
mod realtime;
pub mod record;
pub mod remove;
pub mod stats;
mod subgroup;
mod subtree;
pub mod systemd;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod testing;
mod v1;
mod v2;
pub mod write;

pub use freeze::Hierarchies;
pub use group::Group;
pub use path::Place;
pub use plan::{Plan, plan, update};
pub use record::{Driver, Record};
pub use stats::Stats;
