//! What each verb is asked to do: plain data that `cli` fills in and `lifecycle` reads. No look at the host.

use std::path::PathBuf;

/// The global flags, resolved: what every verb needs to find its containers.
#[derive(Debug, Clone)]
pub struct Globals {
    /// The state directory's root, absolute.
    pub root: PathBuf,
    /// Whether `--root` was given: a missing explicit root is an error for `list`, a missing default one is empty.
    pub root_explicit: bool,
    /// The systemd cgroup driver; read by create, run and restore only, other verbs take it from the record.
    pub systemd_cgroup: bool,
    /// Whether cgroup permission errors are ignored.
    pub rootless: Rootless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rootless {
    Yes,
    No,
    #[default]
    Auto,
}

/// `create`, and the part of `run` that is the same.
#[derive(Debug, Clone, Default)]
pub struct Create {
    pub id: String,
    pub bundle: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Run {
    pub create: Create,
    pub detach: bool,
    pub keep: bool,
    pub no_subreaper: bool,
}

/// `exec`: either a process file, or flags over the container's own process.
#[derive(Debug, Clone, Default)]
pub struct Exec {
    pub id: String,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub detach: bool,
    pub tty: bool,
    pub preserve_fds: u32,
    pub ignore_paused: bool,
    /// `--cgroup [controllers:]path`, verbatim.
    pub cgroup: Vec<String>,
    pub process: Option<PathBuf>,
    pub args: Vec<String>,
    pub cwd: Option<String>,
    pub env: Vec<String>,
    /// `UID[:GID]`, parsed.
    pub user: Option<(u32, Option<u32>)>,
    pub additional_gids: Vec<u32>,
    pub process_label: Option<String>,
    pub apparmor: Option<String>,
    pub no_new_privs: bool,
    pub caps: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Kill {
    pub id: String,
    /// As typed: a number or a name, with or without SIG; default `SIGTERM`.
    pub signal: String,
    /// Accepted for compatibility; swallows "not running".
    pub all: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Delete {
    pub id: String,
    pub force: bool,
}
