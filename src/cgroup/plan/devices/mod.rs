//! Which device nodes a container may make, read and write.
//!
//! `linux.resources.devices` is a list of allows and denies of which the last one counts; [`filter`] reduces
//! it to a default and its exceptions. `live/devices` puts the result into force.

pub(crate) mod filter;
pub(crate) mod rule;

pub(crate) use filter::Filter;
pub(crate) use rule::{Access, DeviceType};
