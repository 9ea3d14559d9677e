//! `tare-image run`: containers from images, with networks of the standard plugins, in the foreground and in the
//! background. Each test has a store, a state directory and a network namespace of its own: nothing of the machine's own
//! network is touched.
#![allow(clippy::panic, clippy::print_stderr, clippy::unwrap_used, dead_code)]

mod background;
mod hostile;
mod kills;
mod machine;
mod network;
mod options;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../image/support.rs"]
mod support;
mod terminal;
mod user;
