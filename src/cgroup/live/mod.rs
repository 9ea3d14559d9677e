//! The live group: makes its directories, writes limits, places, freezes, counts and kills its processes, and
//! removes it.

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
mod range;
mod realtime;
pub(crate) mod remove;
pub(crate) mod stats;
mod subgroup;
mod subtree;
mod update;
mod walk;
mod write_limits;
