//! What containerd calls as a program: `start`, which answers with a socket's address, `delete`, which cleans up after
//! a shim that is gone, and `-info`.

pub(crate) mod address;
pub(crate) mod delete;
mod first_call;
pub(crate) mod info;
mod parameters;
pub(crate) mod start;
