//! Describes this host: [`Facts`] and its parts are plain data, [`probe`] reads them. Plans use only the
//! data.

pub(crate) mod cgroup;
pub(crate) mod facts;
pub(crate) mod probe;
pub(crate) mod resctrl;
pub(crate) mod user_namespace;

pub use facts::Facts;
