//! Which device nodes a container may make, read and write.
//!
//! `linux.resources.devices` is a list of allows and denies, last word wins; `filter` reduces it to a default and
//! its exceptions, `list` writes that to the v1 interface, `program` makes the v2 eBPF program of it.

pub mod attach;
pub mod filter;
pub mod list;
pub mod program;
pub mod rule;

pub use filter::Filter;
pub use rule::{Access, Kind, Node, Rule};
