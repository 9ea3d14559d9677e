//! The live group: its directories made, limits written, processes placed, frozen, counted and killed, and all removed.

mod apply;
mod cpuset;
mod create;
mod delegate;
mod devices;
pub(crate) mod freeze;
pub(crate) mod group;
mod kill;
pub(crate) mod oom;
mod placement;
mod procs;
mod realtime;
pub(crate) mod remove;
pub(crate) mod stats;
mod subgroup;
mod subtree;
mod update;
