//! The plan for a container's group, decided without touching the host: `linux.resources` becomes writes to control
//! files, a device filter and, under systemd, properties of a unit.
//!
//! Nothing here makes a system call: the configuration and the host's layout go in, plain data comes out.

mod convert;
pub(crate) mod devices;
pub(crate) mod group_plan;
mod merge;
pub(crate) mod path;
pub(crate) mod record;
pub(crate) mod systemd;
#[cfg(test)]
mod tables;
#[cfg(test)]
pub(super) mod testing;
pub(crate) mod translation;
mod v1;
mod v2;
pub(crate) mod write;

pub(crate) use group_plan::{MemoryLimits, Permission};
pub use group_plan::{Plan, new_group, update};
pub(crate) use path::Location;
pub use record::Manager;
pub(crate) use record::Record;
