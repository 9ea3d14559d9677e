//! `Status`: creating, created, running, paused or stopped. It is computed from facts each time, and never
//! stored.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::record::{ProcessIdentity, Record};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::weak::{Defence, stands};

/// The status that `state` and `list` print (runtime.md, "State"; `Paused` is runc's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// A runtime is creating the container now: its record names no first process yet.
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// Returns the status as engines read it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The present state of the host: the input of [`observe`] besides the record.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Observation {
    /// The process that now has the pid of the container's first process.
    pub init: Option<ProcessStat>,
    pub creator: Option<ProcessStat>,
    pub exec_fifo: bool,
    pub frozen: bool,
}

/// A process as /proc/PID/stat shows it (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub start: u64,
    /// Whether it is dead, or a zombie not reaped yet.
    pub dead: bool,
}

impl ProcessStat {
    /// Reads the entry of a pid. Returns `None` if there is no such process.
    ///
    /// # Errors
    /// /proc cannot be read: then nothing is known about the process.
    pub(crate) fn read(pid: i32) -> Result<Option<Self>> {
        // No process has such a number; for kill(2) it would mean a group.
        if pid <= 0 {
            return Ok(None);
        }
        check_procfs()?;
        let path = format!("/proc/{pid}/stat");
        match crate::sys::file::read_small_at(&*path) {
            Err(Errno::ESRCH) => Ok(None),
            Err(Errno::ENOENT) => read_again(pid, &path),
            other => Self::parse(&path, &other.with_context(|| format!("read {path}"))?).map(Some),
        }
    }

    /// Reads the entry of this process, `pid`. So it also checks that /proc belongs to our pid namespace.
    pub(crate) fn read_own(pid: i32) -> Result<Self> {
        const OWN: &str = "/proc/self/stat";
        let text = crate::sys::file::read_small_at(OWN).map_err(|errno| no_procfs(OWN, errno))?;
        let number = text.split(|&byte| byte == b' ').next().unwrap_or_default();
        check_number(&String::from_utf8_lossy(number), pid)?;
        Self::parse(OWN, &text)
    }

    /// Reads the entry of a process that exists, dead or alive.
    pub(crate) fn read_existing(pid: i32) -> Result<Self> {
        let absent = || fail!(Kind::System(Errno::ESRCH), "/proc does not show process {pid}");
        Self::read(pid)?.ok_or_else(absent)
    }

    fn parse(path: &str, line: &[u8]) -> Result<Self> {
        // A process chooses its own name, which need not be UTF-8.
        Self::from_line(&String::from_utf8_lossy(line))
            .ok_or_else(|| fail!(Kind::System(Errno::EPROTO), "read {path}: not as proc(5) has it"))
    }

    /// Parses a line. The name in parentheses may contain anything, even parentheses, so fields are counted
    /// from the last closing one.
    fn from_line(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        Some(Self { dead: matches!(state, "Z" | "X" | "x"), start: fields.nth(18)?.parse().ok()? })
    }

    /// Whether this is the recorded process, and alive.
    ///
    /// # Errors
    /// The offset of the clock of boot is needed, and cannot be read.
    pub(crate) fn is_same_and_alive(self, process: ProcessIdentity) -> Result<bool> {
        if self.dead || !stands(Defence::StartTime) {
            return Ok(!self.dead);
        }
        Ok(self.start == process.start || self.started_at(process.start)?)
    }

    /// Whether the two start times are one to the host. In a time namespace with an offset (`unshare --time`) /proc shows all
    /// start times with that offset, and each container would seem to have ended.
    #[cold]
    fn started_at(self, recorded: u64) -> Result<bool> {
        const OFFSETS: &str = "/proc/self/timens_offsets";
        let offset = match crate::sys::file::read_small_at(OFFSETS) {
            // This kernel has no time namespaces.
            Err(Errno::ENOENT) => 0,
            text => boot_offset(&String::from_utf8_lossy(&text.with_context(|| format!("read {OFFSETS}"))?))
                .unwrap_or(0),
        };
        let shown = i128::from(recorded) + i128::from(offset);
        // Both are rounded down to ticks.
        Ok(offset != 0 && [shown, shown + 1].contains(&i128::from(self.start)))
    }
}

/// The offset of the clock of boot, in ticks of a hundredth of a second: the unit of proc_pid_stat(5) on all our machines.
fn boot_offset(text: &str) -> Option<i64> {
    let mut fields = text.lines().find_map(|line| line.strip_prefix("boottime"))?.split_whitespace();
    let seconds: i64 = fields.next()?.parse().ok()?;
    let nanoseconds: i64 = fields.next()?.parse().ok()?;
    Some(seconds.checked_mul(100)? + nanoseconds / 10_000_000)
}

/// Whether /proc is known to belong to our pid namespace.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// Checks once that /proc is mounted, and that its pids are ours. Without /proc, every process would seem to
/// have ended. The /proc of another pid namespace (`unshare --pid` without `--mount-proc`, or a container
/// that sees the host's) shows another process under the pid of a container's process.
fn check_procfs() -> Result<()> {
    const OWN: &str = "/proc/self";
    if IS_OURS.load(Ordering::Relaxed) {
        return Ok(());
    }
    let number = nix::fcntl::readlink(OWN).map_err(|errno| no_procfs(OWN, errno))?;
    check_number(&number.to_string_lossy(), nix::unistd::getpid().as_raw())
}

/// Compares our pid in /proc with the one that the kernel tells us.
fn check_number(shown: &str, pid: i32) -> Result<()> {
    if shown != pid.to_string() {
        let error = fail!(
            Kind::Unsupported,
            "/proc is that of another pid namespace: this process is {pid}, and {shown} in there"
        );
        return Err(error.with_hint(PROCFS_HINT));
    }
    IS_OURS.store(true, Ordering::Relaxed);
    Ok(())
}

/// Makes the error for a /proc of another pid namespace: it exists, but this process is not in it.
fn no_procfs(path: &str, errno: Errno) -> Error {
    Error::from(errno).context(format!("look for this process at {path}")).with_hint(PROCFS_HINT)
}

const PROCFS_HINT: &str = "is /proc mounted in this pid namespace? with unshare: --mount-proc";

/// Reads the entry of a process that /proc did not show. If it does not show it now either, the kernel is asked
/// whether the process has ended: hidepid hides processes of other users.
fn read_again(pid: i32, path: &str) -> Result<Option<ProcessStat>> {
    match crate::sys::file::read_small_at(path) {
        Ok(line) => ProcessStat::parse(path, &line).map(Some),
        Err(Errno::ENOENT | Errno::ESRCH) if has_ended(pid) => Ok(None),
        Err(_) => Err(fail!(Kind::Denied, "process {pid} is there, and /proc does not show it")
            .with_hint("is /proc mounted with hidepid?")),
    }
}

fn has_ended(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(Errno::ESRCH)
}

impl ProcessIdentity {
    /// Whether this process is there, and alive.
    pub(crate) fn is_alive(self) -> Result<bool> {
        ProcessStat::read(self.pid)?.map_or(Ok(false), |seen| seen.is_same_and_alive(self))
    }
}

/// Computes the status from the record and the present state of the host.
pub(crate) fn observe(record: &Record, probe: &Observation) -> Result<Status> {
    let lives =
        |seen: Option<ProcessStat>, process| seen.map_or(Ok(false), |seen| seen.is_same_and_alive(process));
    let Some(init) = record.init else {
        let at_work = lives(probe.creator, record.creator)?;
        return Ok(if at_work { Status::Creating } else { Status::Stopped });
    };
    Ok(match (probe.frozen, lives(probe.init, init)?, probe.exec_fifo) {
        // A frozen container is paused while its first process lives, whether it was started or not (as with
        // runc).
        (true, true, _) => Status::Paused,
        (_, false, _) => Status::Stopped,
        (_, true, true) => Status::Created,
        (_, true, false) => Status::Running,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(init: Option<ProcessIdentity>) -> Record {
        let json = r#"{"version":1,"id":"x","bundle":"/b","rootfs":"/b/r","created":"","creator":{"pid":1,"start":5},
            "init":null,"cgroup":null,"namespaces":0,"own_pid_namespace":true}"#;
        Record { init, ..serde_json::from_str(json).unwrap() }
    }

    #[test]
    fn the_offset_of_a_clock_is_in_ticks() {
        assert_eq!(
            boot_offset("monotonic           0         0\nboottime       -60  50000000\n"),
            Some(-5995)
        );
        assert_eq!(boot_offset("monotonic           0         0\n"), None);
        assert_eq!(boot_offset("boottime   9223372036854775807 0"), None);
    }

    #[test]
    fn status_follows_from_facts() {
        let me = ProcessIdentity { pid: 9, start: 70 };
        let alive = Some(ProcessStat { start: 70, dead: false });
        let rows = [
            (alive, true, false, Status::Created),
            (alive, false, false, Status::Running),
            (alive, false, true, Status::Paused),
            (alive, true, true, Status::Paused),
            (None, true, false, Status::Stopped),
            (None, false, true, Status::Stopped),
            (Some(ProcessStat { start: 70, dead: true }), false, false, Status::Stopped),
            (Some(ProcessStat { start: 71, dead: false }), false, false, Status::Stopped),
        ];
        for (init, exec_fifo, frozen, status) in rows {
            let probe = Observation { init, creator: None, exec_fifo, frozen };
            assert_eq!(observe(&record(Some(me)), &probe).unwrap(), status, "{probe:?}");
        }
    }

    #[test]
    fn an_intent_without_its_creator_is_stopped() {
        let seen = |start| Observation {
            creator: Some(ProcessStat { start, dead: false }),
            ..Observation::default()
        };
        assert_eq!(observe(&record(None), &seen(5)).unwrap(), Status::Creating);
        assert_eq!(observe(&record(None), &seen(6)).unwrap(), Status::Stopped);
        assert_eq!(observe(&record(None), &Observation::default()).unwrap(), Status::Stopped);
    }

    #[test]
    fn a_process_name_may_look_like_fields() {
        let text = "42 (a) S 1 2) R 1 42 42 0 -1 4194560 100 0 0 0 0 0 0 0 20 0 1 0 12345 999 1 2";
        assert_eq!(ProcessStat::from_line(text), Some(ProcessStat { start: 12345, dead: false }));
    }
}
