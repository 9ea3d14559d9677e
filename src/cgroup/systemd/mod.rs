//! The calls to systemd: a group is a transient scope that systemd makes, so that it knows of it.
//!
//! systemd gets every limit that it has a property for, else it would undo it at its next reload; then the same
//! values are written to the control files as they are configured (systemd rounds some). A scope needs a process from
//! the start: a placeholder stands in until the container's own is there, so that this one is born in its group.

pub(crate) mod bus;
pub(crate) mod client;
mod object_path;
pub(super) mod placeholder;
pub(super) mod scope;
