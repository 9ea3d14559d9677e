//! What this host is. Data ([`Facts`] and its parts) and the reading of it ([`probe`]) are apart: plans see the data alone.

pub mod cgroup;
pub mod facts;
pub mod probe;
pub mod resctrl;
pub mod users;

pub use facts::Facts;
