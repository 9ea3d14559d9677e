//! Writes the planned values, and puts the kernel's refusals into words.

use nix::errno::Errno;

use super::devices::attach;
use super::group::Group;
use super::range;
use crate::cgroup::dir::{CgroupDir, is_permission_error};
use crate::cgroup::plan::write::{IfMissing, Write};
use crate::cgroup::plan::{self, MemoryLimits, Plan};
use crate::error::{Error, Kind, Result, describe};
use crate::host::cgroup::Mode;
use crate::{fail, log};

impl Group {
    /// Writes the limits and sets the device filter.
    pub fn apply(&self, plan: &Plan) -> Result<()> {
        self.write_limits(plan)?;
        self.filter_devices(plan)
    }

    /// Writes the limits.
    pub fn write_limits(&self, plan: &Plan) -> Result<()> {
        write_limits(self, plan)
    }

    /// Whether a process of ours may be in the group before the device filter is set. Not on v1: there the
    /// filter is written rule by rule, and in between nothing is allowed.
    pub fn sets_device_filter_atomically(&self) -> bool {
        self.record().mode == Mode::V2
    }

    /// Sets the device filter.
    pub fn filter_devices(&self, plan: &Plan) -> Result<()> {
        let Some(filter) = &plan.devices else { return Ok(()) };
        let Some(location) = self.record().location_of("devices") else { return Ok(()) };
        match attach::set(self.dir(location)?, filter, self.record().mode, self.is_fresh()) {
            // Rootless: the container's user could not make a device node anyway.
            Err(error) if self.may_lack_permission() && is_permission_error(&error) => Ok(()),
            other => other,
        }
    }
}

/// Writes every limit of the plan.
pub(super) fn write_limits(group: &Group, plan: &Plan) -> Result<()> {
    let mut refused = Vec::new();
    for write in &plan.writes {
        match write_value(group, write) {
            Err(error) if write.retry && error.errno() == Some(Errno::EINVAL) => refused.push(write),
            other => other?,
        }
    }
    refused.into_iter().try_for_each(|write| write_value(group, write))
}

/// Reads the present values of the plan's files, in the plan's order. Unreadable files are left out.
pub(super) fn read_current(group: &Group, plan: &Plan) -> Vec<Write> {
    let current = |write: &Write| {
        let dir = group.dir(group.record().location_of(&write.controller)?).ok()?;
        let mut now = write.clone();
        if let (Err(Errno::ENOENT), IfMissing::Fallback { file, .. }) =
            (dir.read(&now.file), &write.if_missing)
        {
            now.file.clone_from(file);
        }
        now.value = dir.read(&now.file).ok()?;
        Some(now)
    };
    plan.writes.iter().filter_map(current).collect()
}

/// Puts values back as far as the kernel allows: a failed update must not leave half of it. First in reverse
/// order, then once more in order, because some values bound each other.
pub(super) fn restore(group: &Group, before: &[Write]) {
    for write in before.iter().rev().chain(before) {
        let Some(Ok(dir)) = group.record().location_of(&write.controller).map(|location| group.dir(location))
        else {
            continue;
        };
        let lines: Vec<&str> =
            if write.value.trim().is_empty() { vec![""] } else { write.value.lines().collect() };
        for line in lines {
            // v1's oom_control shows `oom_kill_disable 1`, but takes `1`.
            let _ = dir.write(&write.file, line.strip_prefix("oom_kill_disable ").unwrap_or(line));
        }
    }
}

fn write_value(group: &Group, write: &Write) -> Result<()> {
    let dir = match group.record().location_of(&write.controller) {
        Some(location) => group.dir(location)?,
        None if !write.needs_controller() => return Ok(()),
        None => {
            return Err(fail!(
                Kind::Unsupported,
                "{}: cannot set {} limit: container could not join or create cgroup",
                write.pointer,
                write.controller
            )
            .with_hint(plan::DELEGATE));
        }
    };
    match (dir.write(&write.file, &write.value), &write.if_missing) {
        (Ok(()), _) => Ok(()),
        (Err(Errno::ENOENT), IfMissing::Skip) => Ok(()),
        (Err(Errno::ENOENT), _) if !write.needs_controller() && lacks_controller(dir, &write.controller) => {
            Ok(())
        }
        (Err(Errno::ENOENT), IfMissing::Warn) if !lacks_controller(dir, &write.controller) => {
            log::warn(format_args!("{}: left out: this kernel has no {}", write.pointer, write.file));
            Ok(())
        }
        (Err(Errno::ENOENT), IfMissing::Fallback { file, value }) => {
            dir.write(file, value).map_err(|errno| explain_refusal(dir, write, file, value, errno))
        }
        (Err(errno), _) => Err(explain_refusal(dir, write, &write.file, &write.value, errno)),
    }
}

fn explain_refusal(dir: &CgroupDir, write: &Write, file: &str, value: &str, errno: Errno) -> Error {
    if errno == Errno::ENOENT && lacks_controller(dir, &write.controller) {
        let is_root = nix::unistd::geteuid().is_root();
        return plan::controller_not_enabled(write, &dir.path, is_root);
    }
    let mut error = match range::reason(dir, file, value, errno) {
        Some(why) => fail!(Kind::System(errno), "{}: {why}", describe(errno)),
        None => Error::from(errno),
    };
    if errno == Errno::EBUSY && file == "memory.limit_in_bytes" {
        let number = |file| dir.read(file).unwrap_or_default().trim().to_owned();
        let (usage, peak) = (number("memory.usage_in_bytes"), number("memory.max_usage_in_bytes"));
        error = error.context(format!(
            "unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})"
        ));
    }
    if file.starts_with("cpu.rt_")
        && errno == Errno::EINVAL
        && let Some(parent) = dir.path.parent()
    {
        let file = parent.join("cpu.rt_runtime_us");
        error = error
            .with_hint(format!("a group's real-time bandwidth is part of its parent's: {}", file.display()));
    }
    let error = error.context(format!("write {value:?} to {}", dir.path.join(file).display()));
    error.context(write.pointer.clone())
}

/// On v2, a group has a controller's files only if its parent hands the controller down.
fn lacks_controller(dir: &CgroupDir, controller: &str) -> bool {
    let has = |text: String| text.split_whitespace().any(|name| name == controller);
    controller != "cgroup" && dir.is_v2() && !dir.read("cgroup.controllers").is_ok_and(has)
}

/// v2 accepts a limit below the usage, and kills until the usage is lower; `checkBeforeUpdate` asks for a
/// refusal instead. Must be called before anybody learns of the limit, even systemd.
pub(super) fn check_usage(group: &Group, limits: MemoryLimits) -> Result<()> {
    let Some(location) = group.record().location_of("memory") else { return Ok(()) };
    let usage: i64 = match group.dir(location)?.read("memory.current") {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(_) => return Ok(()),
    };
    for (limit, name, field) in
        [(limits.memory_and_swap, "memory+swap", "swap"), (limits.memory, "memory", "limit")]
    {
        if limit > 0 && limit <= usage {
            return Err(fail!(
                Kind::State,
                "/linux/resources/memory/{field}: rejecting {name} limit {limit} <= usage {usage}"
            ));
        }
    }
    Ok(())
}
