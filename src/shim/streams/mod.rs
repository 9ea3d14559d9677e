//! The standard streams of a process: opened as the request names them, and copied without waiting.

pub(crate) mod copy;
pub(crate) mod open;
pub(crate) mod unread;
pub(crate) mod uri;
