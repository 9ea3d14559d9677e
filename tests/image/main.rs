//! tare-image against the real kernel: images written here, byte by byte, and what becomes of them on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod archives;
mod docs;
mod explain;
mod faults;
mod hostile;
mod layers;
mod peers;
mod pull;
mod push;
mod registry;
mod reflinks;
mod repack;
mod rootless;
mod shared;
#[path = "../support/skip.rs"]
mod skip;
mod support;
mod transfer;
mod unpack;
