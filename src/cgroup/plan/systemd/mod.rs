//! A group as a systemd unit: its name, and the properties that systemd gets.

pub(crate) mod annotations;
pub(crate) mod properties;
pub(crate) mod unit;

pub use properties::Property;
pub use unit::Unit;
