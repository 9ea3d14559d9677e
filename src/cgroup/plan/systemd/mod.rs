//! A group as a systemd unit: its name, and the properties that systemd is told about it.

pub mod annotations;
pub mod properties;
pub mod unit;

pub use properties::Property;
pub use unit::Unit;
