//! The plan for a container's group: `linux.resources` becomes writes to control files, a device filter and,
//! under systemd, properties of a unit.
//!
//! Nothing here makes a system call: the plan is plain data, made from the configuration and the host's
//! layout.

mod convert;
pub(crate) mod devices;
mod group_plan;
mod limits;
mod location;
mod manager;
mod merge;
mod new_group;
pub(crate) mod pointer;
mod record;
pub(crate) mod systemd;
#[cfg(test)]
mod tables;
#[cfg(test)]
pub(super) mod testing;
mod translation;
mod unavailable;
mod update;
mod v1;
mod v2;
pub(crate) mod write;

pub use group_plan::Plan;
pub(crate) use group_plan::{MemoryLimits, Permission};
pub(crate) use limits::warnings;
pub(crate) use location::Location;
pub use manager::Manager;
pub use new_group::{Request, new_group};
pub(crate) use record::Record;
pub(crate) use unavailable::{DELEGATE, controller_not_enabled};
pub use update::update;
