//! The process that stays: answers containerd, starts the runtime, copies streams, hears of exits.
//!
//! Everything is one `Shim`, and one loop that waits in `poller` and hands each event to its file.

mod change;
mod create;
mod delete;
mod dispatch;
mod exec;
mod exits;
mod figures;
mod job;
mod jobs;
mod kill;
mod logger;
mod loggers;
mod loop_turn;
mod poller;
mod query;
mod sandbox;
mod shim;
mod start;
mod streams;

pub(crate) use loop_turn::run;
