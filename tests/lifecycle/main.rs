//! The verbs on the real kernel: what each does to a container, in which state, and what it answers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod create;
mod crun;
mod debug;
mod delete;
mod exec;
mod faults;
mod groups;
mod inspect;
mod kill;
mod list;
mod pause;
mod races;
mod records;
mod refused;
mod run;
mod states;
mod timeline;
mod top;
