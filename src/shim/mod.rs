//! containerd's shim: one process beside the containers of a pod. One thread, one epoll loop; nothing in it waits.
//!
//! `bootstrap` is what containerd calls as a program (`start`, `delete`, `-info`); `serve` is the process that stays.

pub(crate) mod bootstrap;
pub(crate) mod command_line;
mod connection;
mod events;
mod group;
pub(crate) mod id;
mod id_mapped;
pub(crate) mod pause;
mod pod;
mod process;
mod publish_command;
mod publisher;
mod rootfs;
mod runtime;
pub(crate) mod serve;
mod small_file;
mod streams;
pub(crate) mod wire;
