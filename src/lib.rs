//! tare, an OCI container runtime, as a library for its two binaries.
//!
//! From the command line at the top to the kernel at the bottom: what is above acts on what is below. Imports go only
//! downwards in this list (`tests/layers/` holds it): what is above may name what is below, never the other way.

/// What the person typed; the only place that writes stdout or picks an exit code.
pub mod cli;
/// One file per verb: the story of create, start, run, exec, kill, delete and the rest.
pub(crate) mod lifecycle;
/// The parent's half of starting a process.
pub(crate) mod launch;
/// The child's half, after clone: it walks the plan. And hooks, which both halves run.
pub(crate) mod init;
/// The words the two halves exchange.
pub(crate) mod handshake;
/// What is remembered between commands.
pub(crate) mod container;
/// Decisions: configuration and host facts become one printable plan, without a side effect.
pub(crate) mod plan;
/// Control groups: resources become writes (pure), then the writes are applied.
pub(crate) mod cgroup;
/// What this host is, read once.
pub(crate) mod host;
/// Documents in files: the configuration of a bundle, read and handed to `spec`.
pub(crate) mod bundle;
/// From an image to a bundle (the other binary).
pub(crate) mod image;
/// config.json: parsing, located errors, rules that need no host. Knows no files.
pub(crate) mod spec;
/// Paths resolved inside a root we do not trust.
pub(crate) mod inroot;
/// The kernel, one file per interface; the only unsafe code.
pub mod sys;
/// Numbers and small structs of the kernel's interface, without a call.
pub(crate) mod kernel;
/// The log: the only place that writes stderr.
pub(crate) mod log;
/// The name of a container, checked once.
pub(crate) mod container_id;
/// One error type, at the bottom, knowing nobody.
pub(crate) mod error;

#[doc(hidden)]
pub mod testing;

#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
