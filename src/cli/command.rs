//! `Command`: a command line as a value, before any look at the host.

use std::path::PathBuf;

use super::flag::Verb;
use crate::cgroup::Manager;
use crate::container_id::ContainerId;
use crate::lifecycle::options::{
    Checkpoint, Create, Debug, Delete, Events, Exec, Explain, Kill, Mounts, Plan, Record, Restore, Rootless,
    Run, Spec, Targets, Top, Update,
};
use crate::log::Level;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Check {
        bundle: PathBuf,
        json: bool,
        /// Whether silent losses are failures too.
        strict: bool,
    },
    Checkpoint(ContainerId, Checkpoint),
    Create(ContainerId, Create),
    Debug(ContainerId, Debug),
    Delete(Targets, Delete),
    Events(ContainerId, Events),
    Exec(ContainerId, Exec),
    Features {
        /// Whether to print the facts of this host that `plan` uses, instead of the runtime's features.
        facts: bool,
    },
    Inspect {
        id: ContainerId,
        format: Format,
    },
    Kill(Targets, Kill),
    List {
        format: Format,
        quiet: bool,
    },
    Mounts(ContainerId, Mounts),
    Pause(ContainerId),
    Plan {
        options: Plan,
        json: bool,
        /// A bundle whose plan is compared with the first one's.
        other: Option<PathBuf>,
    },
    Ps {
        id: ContainerId,
        format: Format,
        /// Options for ps(1).
        arguments: Vec<String>,
    },
    Restore(ContainerId, Restore),
    Resume(ContainerId),
    Run(ContainerId, Run),
    SeccompRecord(Record),
    SeccompExplain {
        options: Explain,
        json: bool,
    },
    Spec(Spec),
    Start(ContainerId),
    State(ContainerId),
    Top(Top),
    Update(ContainerId, Update),
    Version,
    /// The help of one verb, or of the program.
    Help(Option<&'static Verb>),
}

/// The formats of `list` and `ps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
}

/// The flags before the verb, as given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GlobalFlags {
    pub debug: bool,
    pub log: Option<PathBuf>,
    pub log_format: Option<String>,
    pub root: Option<PathBuf>,
    pub log_level: Option<Level>,
    pub cgroup_manager: Manager,
    pub rootless: Rootless,
    pub timings: bool,
    pub trace: Option<PathBuf>,
}
