//! The runtime as a program: its options, its command lines, what its log says.

pub(crate) mod command;
pub(crate) mod log_file;
pub(crate) mod options;
pub(crate) mod sealed;
