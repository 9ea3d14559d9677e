//! What is remembered between commands, and what a container's status is.

pub mod record;
pub mod status;
pub mod store;

pub use record::Record;
pub use status::Status;
pub use store::{Entry, Store};
