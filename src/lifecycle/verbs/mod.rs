//! The verbs of `tare`, one file each: what a verb does, from top to bottom. `cli` prints.

pub(crate) mod check;
pub(crate) mod checkpoint;
pub(crate) mod create;
pub(crate) mod debug;
pub(crate) mod delete;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod features;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod mounts;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod ps;
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod seccomp;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod top;
pub(crate) mod update;
