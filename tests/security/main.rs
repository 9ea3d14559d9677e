//! Known attacks on container runtimes, each as an attempt that must fail. Those that are about paths of the image are
//! in tests/rootfs/symlinks.rs, those about ids in tests/bad_input/ids.rs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod host_nodes;
mod leaked_descriptors;
mod own_binary;
mod racer;
mod races;
mod sweeps;
mod targets;
