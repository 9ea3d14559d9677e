//! The plan for a container's group, decided without touching the host: `linux.resources` becomes writes to control
//! files, a device filter and, under systemd, properties of a unit.
//!
//! Nothing here makes a system call: the configuration and the host's layout go in, plain data comes out.

mod convert;
pub mod devices;
pub mod group_plan;
mod merge;
pub mod path;
pub mod record;
pub mod systemd;
#[cfg(test)]
mod tables;
#[cfg(test)]
pub(super) mod testing;
pub mod translation;
mod v1;
mod v2;
pub mod write;

pub use group_plan::{MemoryLimits, Permission, Plan, new_group, update};
pub use path::Place;
pub use record::{Driver, Record};
