//! Explains the end of a container whose processes the kernel has killed for lack of memory. Its control group
//! counts these kills; the exit status alone (137) is that of any SIGKILL.

use serde::Serialize;

use crate::cgroup::Group;
use crate::log;

/// The exit status, in a shell's numbers, of a process that SIGKILL has ended.
const BY_SIGKILL: i32 = 128 + libc::SIGKILL;
/// A limit of at least this means that there is none: v1 shows the largest number, rounded down to whole
/// pages.
pub(super) const NO_LIMIT: u64 = 1 << 62;
/// The kernel charges so many bytes together (64 pages), and one by one if they are too many.
const CHARGED_AT_ONCE: u64 = 256 << 10;

/// What a control group tells of kills for lack of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutOfMemory {
    /// How many processes were killed.
    pub kills: u64,
    /// The container's own limit in bytes; `None` if it has none.
    pub limit: Option<u64>,
    /// Whether that limit was reached. Otherwise a group above it, or the host, had no memory left.
    pub limit_reached: bool,
}

impl OutOfMemory {
    /// Asks the group. Returns `None` if nothing was killed, or the kernel does not count it.
    pub(super) fn in_group(group: &Group) -> Option<Self> {
        let kills = group.oom_kills().filter(|&kills| kills > 0)?;
        let memory = group.stats().ok().map(|stats| stats.memory).unwrap_or_default();
        let limit = Some(memory.usage.limit).filter(|limit| (1..NO_LIMIT).contains(limit));
        // Not every kernel counts in v1's failcnt what is refused; its peak is exact, but for what is charged at
        // once.
        let was_full = |limit| memory.usage.max.saturating_add(CHARGED_AT_ONCE) >= limit;
        let limit_reached = memory.usage.failcnt > 0 || limit.is_some_and(was_full);
        let limit_reached = limit.is_some() && limit_reached;
        Some(Self { kills, limit, limit_reached })
    }

    /// Whose memory it was that did not suffice.
    pub(super) fn cause(&self) -> String {
        match self.limit {
            Some(limit) if self.limit_reached => {
                format!("the container's limit is {} (/linux/resources/memory/limit)", amount(limit))
            }
            Some(limit) => format!(
                "the host, or a control group above the container, had none left; its own limit of {} was not reached",
                amount(limit)
            ),
            None => {
                "the host, or a control group above the container, had none left; it has no limit of its own"
                    .into()
            }
        }
    }

    /// What has happened, in a sentence.
    pub(super) fn sentence(&self) -> String {
        format!("{} killed for lack of memory: {}", self.processes(), self.cause())
    }

    fn processes(&self) -> String {
        match self.kills {
            1 => "1 process".into(),
            kills => format!("{kills} processes"),
        }
    }
}

/// If processes of the container were killed for lack of memory, and its first process ended with a failure,
/// says so. The group is asked only then.
pub(super) fn tell(group: &Group, status: i32) {
    if status == 0 {
        return;
    }
    if let Some(killed) = OutOfMemory::in_group(group) {
        log::warn_person(format_args!("{}", sentence(&killed, status)));
    }
}

/// The same for a process of `exec`: the group counts those of the whole container.
pub(super) fn tell_of_exec(group: &Group, status: i32) {
    if status != BY_SIGKILL {
        return;
    }
    if let Some(killed) = OutOfMemory::in_group(group) {
        let (processes, cause) = (killed.processes(), killed.cause());
        log::warn_person(format_args!(
            "exit status {status} is SIGKILL: the kernel has killed {processes} of this container for lack of memory: {cause}"
        ));
    }
}

fn sentence(killed: &OutOfMemory, status: i32) -> String {
    match status {
        BY_SIGKILL => {
            format!("exit status {status} is SIGKILL: killed for lack of memory: {}", killed.cause())
        }
        _ => format!(
            "exit status {status}, and {} of the container killed for lack of memory: {}",
            killed.processes(),
            killed.cause()
        ),
    }
}

/// An amount of memory as people write it: `16 MiB`, or with one digit behind the point.
pub(crate) fn amount(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(5);
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    match tenths % 10 {
        0 => format!("{} {}", tenths / 10, units[unit as usize]),
        rest => format!("{}.{rest} {}", tenths / 10, units[unit as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_whose_memory_it_was() {
        let mut killed = OutOfMemory { kills: 1, limit: Some(16 << 20), limit_reached: true };
        assert_eq!(
            sentence(&killed, 137),
            "exit status 137 is SIGKILL: killed for lack of memory: the container's limit is 16 MiB \
             (/linux/resources/memory/limit)"
        );
        killed.kills = 2;
        assert!(sentence(&killed, 1).starts_with("exit status 1, and 2 processes of the container killed"));
        killed.limit_reached = false;
        assert!(sentence(&killed, 137).contains("its own limit of 16 MiB was not reached"));
        killed.limit = None;
        assert!(sentence(&killed, 137).ends_with("it has no limit of its own"));
    }

    #[test]
    fn amounts_are_short() {
        let shown = [0, 512, 1536, 16 << 20, 3 << 29, u64::MAX].map(amount);
        assert_eq!(shown, ["0 bytes", "512 bytes", "1.5 KiB", "16 MiB", "1.5 GiB", "16383.9 PiB"]);
    }
}
