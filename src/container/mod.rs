//! Keeps the facts about a container between commands, and computes its status.

mod boot;
pub(crate) mod fifo;
mod id_errors;
pub(crate) mod record;
pub(crate) mod salvage;
mod state_dir;
pub(crate) mod status;
pub(crate) mod store;

pub(crate) use record::Record;
pub(crate) use status::Status;
pub(crate) use store::{Entry, Store};
