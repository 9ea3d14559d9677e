//! What is told of a configuration that is wrong: all of it, at once, and nothing that is not so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod together;
mod planted;
mod true_of_good_ones;
