//! `Plan`: everything to do for a container's group, as plain data.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::devices::filter::Filter;
use super::location::Location;
use super::manager::Manager;
use super::record::Record;
use super::systemd::properties::Property;
use super::systemd::unit::Unit;
use super::write::Write;
use crate::host::cgroup::Mode;

/// What to do for a container's group. `Display` prints one line for each action, as `tare plan` shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub manager: Manager,
    pub mode: Mode,
    /// The group's directory in each hierarchy, v1 first.
    pub locations: Vec<Location>,
    /// On a pure v2 host, the controllers that the root of the tree hands down; otherwise empty.
    pub available_controllers: Vec<String>,
    /// Under the systemd manager: the unit that systemd makes.
    pub unit: Option<Unit>,
    /// The configured resources without the device rules, for the record.
    pub resources: Option<LinuxResources>,
    /// Values for control files, in the order in which they are written.
    pub writes: Vec<Write>,
    /// The device filter to set; `None` leaves the devices unchanged (in an update).
    pub devices: Option<Filter>,
    /// The configured device rules that are in force afterwards, for the record.
    pub device_rules: Vec<LinuxDeviceCgroup>,
    /// Whether the default device rules are left out after the configured ones.
    pub without_default_devices: bool,
    /// The properties that systemd gets for the unit, in addition to the writes.
    pub properties: Vec<Property>,
    /// If set, a memory limit below the usage is refused (`checkBeforeUpdate`, cgroup v2).
    pub check_usage: Option<MemoryLimits>,
    pub permission: Permission,
    /// Accepted fields without an effect here, for the log.
    pub warnings: Vec<String>,
}

/// The configured numbers in bytes; 0 means "not given", -1 "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    pub memory: i64,
    pub memory_and_swap: i64,
}

/// Whether a lack of permission (EPERM, EACCES, EROFS) in the cgroup filesystems is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It is a failure.
    Needed,
    /// Rootless with a configured path: only the device rules may be missing.
    NotForDevices,
    /// Rootless without a configured path: the container may run without a group, if it asks for no limit.
    NotNeeded,
}

impl Plan {
    /// Returns the v2 controllers that some value needs.
    pub(crate) fn controllers(&self) -> impl Iterator<Item = &str> {
        let needed = self.writes.iter().filter(|write| write.needs_controller());
        needed.map(|write| write.controller.as_str()).filter(|name| *name != "cgroup")
    }

    /// Returns the JSON pointer of the field that needs `controller`.
    pub(crate) fn pointer_needing(&self, controller: &str) -> Option<&str> {
        let is_needed = |write: &&Write| write.controller == controller && write.needs_controller();
        self.writes.iter().find(is_needed).map(|write| &*write.pointer)
    }

    /// Returns the record for `state.json`. It is written before anything is made, because it says what to
    /// clean up.
    pub fn record(&self) -> Record {
        Record {
            manager: self.manager,
            mode: self.mode,
            locations: self.locations.clone(),
            unit: self.unit.clone(),
            resources: self.resources.clone(),
            devices: self.device_rules.clone(),
            without_default_devices: self.without_default_devices,
        }
    }

    /// Returns one line for each action, as `tare plan` prints them.
    pub fn lines(&self) -> Vec<String> {
        self.to_string().lines().map(str::to_owned).collect()
    }

    /// Returns what is done, each with the JSON pointer of the field that asks for it; empty for what no
    /// field asks for.
    pub(crate) fn operations(&self) -> Vec<(&'static str, String, String)> {
        let mut all = Vec::new();
        let path = "/linux/cgroupsPath";
        if let Some(Unit { name, slice, user }) = &self.unit {
            let whose = if *user { " of the user's systemd" } else { "" };
            all.push(("cgroup unit", path.into(), format!("{name} in {slice}{whose}")));
        }
        for location in &self.locations {
            let what =
                if location.is_unified() { "cgroup2".to_owned() } else { location.controllers.join(",") };
            let detail = format!("{} {what} {}", self.manager, location.directory().display());
            all.push(("cgroup", path.into(), detail));
        }
        let properties = self.properties.iter();
        all.extend(properties.map(|one| ("cgroup property", one.pointer.clone(), one.to_string())));
        all.extend(self.writes.iter().map(|write| ("cgroup set", write.pointer.clone(), write.to_string())));
        if let Some(devices) = &self.devices {
            all.push(("cgroup devices", "/linux/resources/devices".into(), devices.to_string()));
        }
        all
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations().iter().try_for_each(|(name, _, detail)| writeln!(f, "{name} {detail}"))
    }
}
