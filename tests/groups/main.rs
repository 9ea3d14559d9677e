//! Control groups as the verbs leave and show them, through the built binary: on this host's hierarchies and on the v2
//! tree alone. Beside them stands what runc and crun do with the same bundle, where they are installed.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

mod bad_input;
mod churn;
mod deep;
mod events;
mod independent_reader;
mod memory;
mod nested;
mod openmetrics;
#[path = "../support/mod.rs"]
mod support;
mod update;
