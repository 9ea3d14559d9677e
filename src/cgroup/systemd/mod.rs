//! The systemd driver: the group is a transient scope that systemd makes, so that it knows of it.
//!
//! systemd gets every limit that it has a property for, else it would undo it at its next reload; then the same
//! values are written to the control files as they are configured (systemd rounds some). A scope needs a process from
//! the start: a placeholder stands in until the container's own is there, so that this one is born in its group.

pub mod bus;
pub mod escape;
pub mod manager;
pub mod placeholder;
pub mod properties;
pub mod scope;
pub mod text;
pub mod unit;

pub use properties::Property;
pub use unit::Unit;
