//! tare, an OCI container runtime, as a library for its two binaries.
//!
//! From the command line at the top to the kernel at the bottom: what is above acts on what is below. Imports go only
//! downwards in this list (`tests/layers/` holds it): what is above may name what is below, never the other way.

/// What the person typed; the only place that writes stdout or picks an exit code.
pub mod cli;
/// One file per verb: the story of create, start, run, exec, kill, delete and the rest.
pub mod lifecycle;
/// The parent's half of starting a process.
pub mod launch;
/// The child's half, after clone: it walks the plan. And hooks, which both halves run.
pub mod init;
/// The words the two halves exchange.
pub mod handshake;
/// What is remembered between commands.
pub mod container;
/// Decisions: configuration and host facts become one printable plan, without a side effect.
pub mod plan;
/// Control groups: resources become writes (pure), then the writes are applied.
pub mod cgroup;
/// What this host is, read once.
pub mod host;
/// Documents in files: the configuration of a bundle, read and handed to `spec`.
pub mod bundle;
/// From an image to a bundle (the other binary).
pub mod image;
/// config.json: parsing, located errors, rules that need no host. Knows no files.
pub mod spec;
/// Paths resolved inside a root we do not trust.
pub mod inroot;
/// The kernel, one file per interface; the only unsafe code.
pub mod sys;
/// Numbers and small structs of the kernel's interface, without a call.
pub mod kernel;
/// The log: the only place that writes stderr.
pub mod log;
/// The name of a container, checked once.
pub mod container_id;
/// One error type, at the bottom, knowing nobody.
pub mod error;

#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
