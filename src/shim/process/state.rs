//! The states of a process, and what may be asked in each. No call changes anything here: what follows is the caller's.

use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::Status;

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The runtime makes it; containerd has no answer yet.
    Creating,
    Created,
    /// It is restored from a checkpoint when it is started.
    Restorable,
    /// The runtime starts it.
    Starting,
    Running,
    Pausing,
    Paused,
    Stopped,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Delete,
    Pause,
    Resume,
    Update,
    Checkpoint,
    Exec,
    Kill,
    Resize,
}

impl State {
    /// As containerd names it.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Creating | Self::Created | Self::Restorable | Self::Starting => Status::Created,
            Self::Running => Status::Running,
            Self::Pausing => Status::Pausing,
            Self::Paused => Status::Paused,
            Self::Stopped => Status::Stopped,
        }
    }

    /// # Errors
    /// Returns what containerd is told where the state does not allow it.
    pub(crate) fn allows(self, verb: Verb) -> Result<(), Failure> {
        use State::{Created, Creating, Paused, Pausing, Restorable, Running, Starting, Stopped};
        let allowed = match verb {
            Verb::Start => matches!(self, Created | Restorable),
            Verb::Delete => matches!(self, Created | Restorable | Stopped),
            Verb::Pause => self == Running,
            Verb::Resume => self == Paused,
            Verb::Update => matches!(self, Created | Restorable | Running | Paused),
            Verb::Checkpoint => matches!(self, Running | Paused),
            Verb::Exec => matches!(self, Created | Starting | Running),
            Verb::Kill => !matches!(self, Creating | Stopped),
            Verb::Resize => self != Stopped,
        };
        if allowed {
            return Ok(());
        }
        if verb == Verb::Kill {
            return Err(Failure::new(Code::NotFound, "process already finished: not found"));
        }
        let state = match self {
            Creating | Created | Restorable => "a created",
            Starting | Running => "a running",
            Pausing | Paused => "a paused",
            Stopped => "a stopped",
        };
        Err(Failure::new(Code::FailedPrecondition, format!("cannot {} {state} process", verb.word())))
    }
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Delete => "delete",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
            Self::Checkpoint => "checkpoint",
            Self::Exec => "exec in",
            Self::Kill => "kill",
            Self::Resize => "resize",
        }
    }
}
