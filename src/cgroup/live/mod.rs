//! The live group: its directories made, limits written, processes placed, frozen, counted and killed, and all removed.

mod apply;
mod cpuset;
mod create;
mod delegate;
mod devices;
pub mod freeze;
pub mod group;
pub mod oom;
mod placement;
mod procs;
mod realtime;
pub mod remove;
pub mod stats;
mod subgroup;
mod subtree;
mod update;
