//! What this host is. Data ([`Facts`] and its parts) and the reading of it ([`probe`]) are apart: plans see the data alone.

pub(crate) mod cgroup;
pub(crate) mod facts;
pub(crate) mod probe;
pub(crate) mod resctrl;
pub(crate) mod users;

pub use facts::Facts;
