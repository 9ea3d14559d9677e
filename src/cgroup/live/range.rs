//! Explains why the kernel refused a value that was written to a file of a cgroup.

use std::path::Path;

use nix::errno::Errno;

use crate::cgroup::dir::CgroupDir;

/// The range of values of each file that answers others with EINVAL or ERANGE (kernel/sched/core.c, block/).
const RANGES: &[(&str, &str)] = &[
    (
        "cpu.cfs_period_us",
        "a period is 1000 to 1000000 microseconds, and no longer than the groups above allow",
    ),
    ("cpu.cfs_quota_us", "a quota is at least 1000 microseconds, and no more than the groups above have"),
    ("cpu.cfs_burst_us", "a burst is no longer than the quota"),
    ("cpu.max.burst", "a burst is no longer than the quota"),
    ("cpu.max", "a period is 1000 to 1000000 microseconds, a quota at least 1000"),
    ("cpu.weight", "a weight is 1 to 10000"),
    ("io.weight", "a weight is 1 to 10000"),
    ("io.bfq.weight", "a weight is 1 to 1000"),
    ("blkio.bfq.weight", "a weight is 1 to 1000"),
    ("blkio.weight", "a weight is 10 to 1000"),
    ("memory.swappiness", "it is 0 to 200, and to 100 before Linux 5.8"),
    ("pids.max", "it is 0 to 4194304, or max"),
];

/// Returns the sentence that follows the kernel's answer, or `None` if there is nothing to add.
pub(super) fn reason(dir: &CgroupDir, file: &str, value: &str, errno: Errno) -> Option<String> {
    match file {
        "cpuset.cpus" => set(dir, file, "/sys/devices/system/cpu/online"),
        "cpuset.mems" => set(dir, file, "/sys/devices/system/node/online"),
        _ if errno == Errno::ENODEV => {
            let device = value.split_whitespace().next()?;
            device.contains(':').then(|| format!("this host has no disk {device}"))
        }
        _ if matches!(errno, Errno::EINVAL | Errno::ERANGE) => {
            RANGES.iter().find(|(name, _)| *name == file).map(|(_, range)| (*range).into())
        }
        _ => None,
    }
}

/// Names the CPUs or memory nodes of this host, and those of the group above.
fn set(dir: &CgroupDir, file: &str, online: &str) -> Option<String> {
    let read = |path: &Path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let host = read(Path::new(online)).filter(|text| !text.is_empty());
    let above = dir.path.parent().and_then(|parent| {
        read(&parent.join(format!("{file}.effective"))).or_else(|| read(&parent.join(file)))
    });
    match (host, above.filter(|text| !text.is_empty())) {
        (Some(host), Some(above)) if host != above => {
            Some(format!("this host has {host}, and the group above {above}"))
        }
        (Some(host), _) => Some(format!("this host has {host}")),
        (None, above) => above.map(|above| format!("the group above has {above}")),
    }
}
