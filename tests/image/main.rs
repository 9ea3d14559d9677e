//! Tests of tare-image on the real kernel: they write images byte by byte, and look at what is on disk afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

mod access_lists;
mod advisories;
mod archives;
mod dialects;
mod costs;
mod credentials;
mod docs;
mod documents;
mod explain;
mod faults;
mod forged;
mod forms;
mod hostile;
mod intruders;
mod in_use;
mod indexes;
mod layers;
mod logout;
mod mounted;
mod moved;
mod naive;
mod names;
mod parallel;
mod peers;
mod places;
mod protocol;
mod pull;
mod push;
mod registry;
mod reflinks;
mod repack;
mod secrets;
mod rootless;
mod shapes;
mod shared;
#[path = "../support/skip.rs"]
mod skip;
mod store;
mod support;
mod swappers;
mod tls;
mod transfer;
mod unpack;
