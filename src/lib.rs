//! The library of the three programs: `tare`, an OCI container runtime; `tare-image`, which makes bundles from
//! images; and containerd's shim for `tare`.
//!
//! The modules are layers, from the command line at the top to the kernel at the bottom. A layer imports only
//! from those below it in this list; `tests/layers/` checks that. `docs/architecture.md` says what each may
//! know.

/// Reads the command line, prints results, chooses the exit code. Only this layer writes standard output.
pub mod cli;
/// containerd's shim, the process that stands beside the containers of a pod: starts the runtime, copies streams,
/// answers containerd.
pub(crate) mod shim;
/// Does the work of each verb: create, start, run, exec, kill, delete and the rest, one file for each.
pub(crate) mod lifecycle;
/// The parent's half of starting a process: opens descriptors, clones, answers the child, explains its
/// failures.
pub(crate) mod launch;
/// The child's half, from clone3(2) to execve(2): walks the plan. Its `hook` runs hooks for both halves.
pub(crate) mod init;
/// The messages that the two halves exchange.
pub(crate) mod handshake;
/// Remembers a container between commands: its record on disk, the lock, and the status that follows from
/// facts.
pub(crate) mod container;
/// Decides everything: the configuration and the facts of this host become one printable `Plan`, without a
/// system call.
pub(crate) mod plan;
/// Control groups, v1, v2 and through systemd: `cgroup::plan` decides what is written, the rest writes it.
pub(crate) mod cgroup;
/// The facts of this host (`Facts`), and `host::probe`, which reads them once.
pub(crate) mod host;
/// Reads config.json from its file, and writes the template of `tare spec`.
pub(crate) mod bundle;
/// Everything of `tare-image`: from an image to a bundle, and back.
pub(crate) mod image;
/// config.json: parses it and checks the rules that need no host; each error has its place in the document.
pub(crate) mod spec;
/// Resolves paths inside a root directory that is not trusted, by openat2(2) or step by step.
pub(crate) mod inroot;
/// Records when each phase of a command begins, in the runtime and in the processes that it clones. It is
/// switched on by `--timings` or `--trace`.
pub(crate) mod timeline;
/// System calls, one file for each interface of the kernel. The only unsafe code.
pub mod sys;
/// Constants and plain structs of the kernel's interface, without any call.
pub(crate) mod kernel;
/// Log records, in files and on standard error. Only this layer writes standard error.
pub(crate) mod log;
/// `ContainerId`: the name of a container, checked where it enters.
pub(crate) mod container_id;
/// `Error`, the one error type. It imports nothing of the other layers but the words for an errno.
pub(crate) mod error;
/// Describes an errno, in the words of strerror(3).
pub(crate) mod errno_words;
/// Switches defences off for tests of them, in no release.
pub(crate) mod weak;

#[doc(hidden)]
pub mod testing;

#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
