//! The group layer on the real kernel: what it makes, writes, freezes, kills and removes, read back from the
//! kernel's own files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod bundles;
mod support;
mod systemd;
mod table;
mod v1;
mod v2;
