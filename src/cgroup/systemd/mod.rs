//! The calls to systemd: a group is a transient scope that systemd makes, so that it knows of it.
//!
//! systemd gets every limit that it has a property for; otherwise it would reset the limit at its next
//! reload. Then the configured values are also written to the control files (systemd rounds some). A scope
//! needs a process from the start: a placeholder is in it until the container's own process is, so that this
//! one can be cloned into its group.

pub(crate) mod bus;
pub(crate) mod client;
mod object_path;
pub(super) mod placeholder;
pub(super) mod scope;
