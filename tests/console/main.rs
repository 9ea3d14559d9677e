//! Terminals: the wait of an attached process, the container's own terminal, and both in containers.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod containers;
mod foreground;
mod set_up;
#[path = "../support/skip.rs"]
mod skip;
mod support;
