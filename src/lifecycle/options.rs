//! The options of each verb: plain data that `cli` fills in and `lifecycle` reads, without a look at the
//! host.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::cgroup::Manager;
use crate::container_id::ContainerId;

/// The resolved global flags: every verb needs them to find its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Globals {
    /// The state directory's root, absolute.
    pub root: PathBuf,
    /// Whether `--root` was given: for `list`, a missing explicit root is an error, a missing default one is
    /// empty.
    pub root_explicit: bool,
    /// Whether the root is the default one under XDG_RUNTIME_DIR. Then it is made 0700 and sticky, so that
    /// cleaners of that directory do not remove it.
    pub root_in_xdg: bool,
    /// Who makes the cgroup. Only create, run and restore use it; other verbs take it from the record.
    pub cgroup_manager: Manager,
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

/// The containers for `kill` and `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    One(ContainerId),
    /// `--regex`: all containers whose id matches the expression.
    Matching(String),
}

/// The options of `create`, and those that `run` shares with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Create {
    pub bundle: Option<PathBuf>,
    /// A file instead of the bundle's config.json, relative to our working directory, as with crun.
    pub config: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    pub create: Create,
    pub detach: bool,
    pub keep: bool,
    pub no_subreaper: bool,
}

/// `mounts`: what to do with the mounts of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    pub change: Change,
    /// `-` is standard input.
    pub file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Add,
    Remove,
}

/// `exec`: either a process file, or flags that change the container's own process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
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
    /// A seccomp profile instead of the container's.
    pub seccomp: Option<PathBuf>,
    pub process_label: Option<String>,
    pub apparmor: Option<String>,
    pub no_new_privs: bool,
    pub caps: Vec<String>,
}

/// `debug`: a process with tools beside the container's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Debug {
    /// The bundle with the tools, instead of this host.
    pub image: Option<PathBuf>,
    /// The words of the program; a shell if empty.
    pub args: Vec<String>,
    pub env: Vec<String>,
    /// A terminal, even if the caller has none.
    pub tty: bool,
    /// Only the rights of the container's own process.
    pub confined: bool,
    /// More capabilities.
    pub caps: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kill {
    /// As given: a number or a name, with or without SIG. The default is `SIGTERM`.
    pub signal: String,
    /// Whether the signal goes to all processes of the container. Then an ended container is no error.
    pub all: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delete {
    pub force: bool,
}

/// `plan`: what would be done for a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub bundle: PathBuf,
    /// The container's id instead of the name of the bundle's directory.
    pub id: Option<ContainerId>,
    /// A file with the facts of a host, instead of this one's.
    pub facts: Option<PathBuf>,
}

/// `seccomp explain`: what a profile answers to a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explain {
    /// A profile, a configuration or a bundle.
    pub profile: PathBuf,
    /// A name or a number.
    pub call: String,
    pub arguments: Vec<u64>,
    pub arch: Option<String>,
}

/// `seccomp record`: record the calls of a new container, or of a new process in one that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The bundle of a new container; `None` for a process in the container of this id.
    pub bundle: Option<PathBuf>,
    /// Without one, the container is named after the directory of its bundle.
    pub id: Option<ContainerId>,
    /// The file for the profile, `-` for standard output.
    pub output: PathBuf,
    /// The options of `run` or `exec`.
    pub before_id: Vec<String>,
    /// The command of `exec`.
    pub after_id: Vec<String>,
    /// The words before the verb, for the command that makes the process.
    pub globals: Vec<OsString>,
}

/// `spec`: write a template of config.json.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    pub bundle: Option<PathBuf>,
    /// The file to write instead of the bundle's config.json, even if it exists; relative to the bundle.
    pub file: Option<PathBuf>,
    pub rootless: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Take one sample, then end.
    pub stats: bool,
    /// Take one sample, as OpenMetrics text.
    pub openmetrics: bool,
    /// The time between two samples; never zero.
    pub interval: Duration,
}

/// `top`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// The time between two samples; never zero.
    pub interval: Duration,
    pub sort: SortKey,
}

/// What the containers of `top` are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    Cpu,
    Memory,
    Pids,
    Io,
    Id,
}

impl SortKey {
    pub(crate) const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Pids, Self::Io, Self::Id];

    /// Returns the word on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Io => "io",
            Self::Id => "id",
        }
    }
}

/// `update`. A limit of -1 means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// A file of resources; `-` is standard input. If it is given, limits in flags are ignored.
    pub resources: Option<PathBuf>,
    pub blkio_weight: Option<u16>,
    /// In microseconds, like the three after it.
    pub cpu_period: Option<u64>,
    pub cpu_quota: Option<i64>,
    pub cpu_burst: Option<u64>,
    pub cpu_rt_period: Option<u64>,
    pub cpu_rt_runtime: Option<i64>,
    pub cpu_shares: Option<u64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub cpu_idle: Option<i64>,
    /// In bytes, like the two after it.
    pub memory: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub memory_swap: Option<i64>,
    pub pids_limit: Option<i64>,
    /// Device rules to add, as given.
    pub devices: Vec<String>,
    pub l3_cache_schema: Option<String>,
    pub mem_bw_schema: Option<String>,
    /// In bytes; only for v1.
    pub kernel_memory_tcp: Option<i64>,
    /// Whether a limit of kernel memory was given, which kernels no longer have: this deserves a warning.
    pub kernel_memory: bool,
}

/// The options for CRIU that `checkpoint` and `restore` share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Criu {
    pub image_path: Option<PathBuf>,
    pub work_path: Option<PathBuf>,
    pub tcp_established: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub lazy_pages: bool,
    pub file_locks: bool,
    pub manage_cgroups_mode: Option<CgroupsMode>,
    /// `--empty-ns network`, which is always in force.
    pub empty_network: bool,
    pub auto_dedup: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupsMode {
    Soft,
    Full,
    Strict,
    Ignore,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub criu: Criu,
    /// The directory of an earlier pre-dump, relative to the image path.
    pub parent_path: Option<PathBuf>,
    pub leave_running: bool,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    pub status_fd: Option<u32>,
    /// `ADDRESS:PORT`, taken apart.
    pub page_server: Option<(String, u16)>,
    pub pre_dump: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    pub criu: Criu,
    pub bundle: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub detach: bool,
    pub no_subreaper: bool,
    pub no_pivot: bool,
    /// `TYPE:NAME`, taken apart.
    pub lsm_profile: Option<(String, String)>,
    pub lsm_mount_context: Option<String>,
}
