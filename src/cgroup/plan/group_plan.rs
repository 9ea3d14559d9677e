//! What is to be done for a container's group, decided without touching the host.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxDeviceCgroup, LinuxResources};

use super::devices::Filter;
use super::merge::merge;
use super::path::Location;
use super::record::{self, Manager, Record};
use super::systemd::properties::{
    device_properties, group_properties, resource_properties, with_rounded_quota,
};
use super::systemd::{Property, Unit, annotations};
use super::translation::{self, RESOURCES, Translation};
use super::write::{IfMissing, Write};
use super::{path, v1, v2};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::fail;
use crate::host::cgroup::{Layout, Mode};

/// Owned and comparable; `Display` gives one line for each thing that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub manager: Manager,
    pub mode: Mode,
    pub locations: Vec<Location>,
    /// On a pure v2 host, the controllers that the root of the tree hands down.
    pub available_controllers: Vec<String>,
    /// Under the systemd driver: the unit that systemd makes.
    pub unit: Option<Unit>,
    /// As configured, without the device rules; for the record.
    pub resources: Option<LinuxResources>,
    pub writes: Vec<Write>,
    /// None leaves the devices as they are (an update).
    pub devices: Option<Filter>,
    /// The rules that are in force afterwards, as configured; for the record.
    pub device_rules: Vec<LinuxDeviceCgroup>,
    /// Without what every container is allowed after its own rules.
    pub without_default_devices: bool,
    /// What systemd is told about the unit, on top of what is written.
    pub properties: Vec<Property>,
    /// Refuse a memory limit that is below what is used already.
    pub check_usage: Option<MemoryLimits>,
    pub permission: Permission,
    /// Accepted fields without an effect here; for the log.
    pub warnings: Vec<String>,
}

/// The configured numbers, 0 for "not asked for".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    pub memory: i64,
    pub memory_and_swap: i64,
}

/// What a lack of permission means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// A failure.
    Needed,
    /// Rootless with a path of its own: the device rules alone may be missing.
    NotForDevices,
    /// Rootless without one: the container may run without a group, if it asks for no limit.
    NotNeeded,
}

/// The plan for a container `id` whose checked configuration has `linux`.
///
/// `rootless` is whether permission errors may be passed over (the command line's `--rootless`).
/// Errors are located: they carry the JSON pointer of the field.
pub fn new_group(
    linux: Option<&Linux>,
    id: &ContainerId,
    manager: Manager,
    layout: &Layout,
    rootless: bool,
) -> Result<Plan> {
    if manager == Manager::Disabled {
        return without_group(linux, layout);
    }
    let asked = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let asked = asked.filter(|path| !path.as_os_str().is_empty());
    let permission = match (rootless, asked) {
        (false, _) => Permission::Needed,
        (true, Some(_)) => Permission::NotForDevices,
        (true, None) => Permission::NotNeeded,
    };
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    if layout.is_empty() && permission != Permission::NotNeeded {
        return Err(fail!(
            Kind::Unsupported,
            "{}: no control group hierarchy is mounted on this host",
            path::POINTER
        ));
    }
    let mode = layout.mode();
    let unit = (manager == Manager::Systemd).then(|| Unit::from_path(asked, id, rootless)).transpose()?;
    let locations = match &unit {
        None => path::locations(asked, id, layout)?,
        Some(unit) if unit.user && mode != Mode::V2 => {
            return Err(fail!(Kind::Unsupported, "rootless containers by systemd need cgroup v2"));
        }
        Some(unit) => path::locations_of_unit(unit, layout)?,
    };
    let record = Record {
        manager,
        mode,
        locations,
        unit,
        resources: None,
        devices: Vec::new(),
        without_default_devices: false,
    };
    let mut plan = values(resources, record, permission)?;
    plan.available_controllers =
        layout.unified.as_ref().map_or_else(Vec::new, |unified| unified.controllers.clone());
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let devices = Filter::with_default_devices(rules)?;
    let can = plan.location_of("devices").is_some();
    if !can && permission == Permission::Needed {
        return Err(missing("devices", &format!("{RESOURCES}/devices"), plan.mode));
    }
    plan.devices = can.then_some(devices);
    plan.device_rules = rules.to_vec();
    plan.check_controllers(layout)?;
    if let Some(unit) = &plan.unit {
        plan.properties = group_properties(unit, plan.mode, resources, plan.devices.as_ref())?;
    }
    Ok(plan)
}

/// No group at all: a limit that is asked for could not be kept, so it is refused. The rules for devices, which
/// every engine writes, are left out with a warning.
fn without_group(linux: Option<&Linux>, layout: &Layout) -> Result<Plan> {
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let mut out = Translation::default();
    let mode = layout.mode();
    match (mode, resources) {
        (_, None) => {}
        (Mode::V2, Some(resources)) => v2::writes(resources, &mut out)?,
        (_, Some(resources)) => v1::writes(resources, &mut out)?,
    }
    if let Some(write) = out.writes.iter().find(|write| write.if_missing != IfMissing::Skip) {
        let why = "cannot be set: the cgroup manager is disabled";
        return Err(fail!(Kind::Unsupported, "{}: {why}", write.pointer));
    }
    let mut warnings = out.warnings;
    if resources.is_some_and(|resources| resources.devices().iter().flatten().next().is_some()) {
        warnings.push(format!("{RESOURCES}/devices: left out: the cgroup manager is disabled"));
    }
    Ok(Plan {
        manager: Manager::Disabled,
        mode,
        locations: Vec::new(),
        available_controllers: Vec::new(),
        unit: None,
        resources: None,
        writes: Vec::new(),
        devices: None,
        device_rules: Vec::new(),
        without_default_devices: false,
        properties: Vec::new(),
        check_usage: None,
        permission: Permission::NotNeeded,
        warnings,
    })
}

/// The plan for changed resources of a group that exists; its `record` is the one to keep afterwards.
///
/// Only what `wanted` names is written, and what follows from it; device rules only if it has others than there are:
/// engines repeat the configuration's with every update, while tools may have added to the filter of a container that
/// runs.
pub fn update(record: &Record, wanted: &LinuxResources, rootless: bool) -> Result<Plan> {
    let permission = if rootless { Permission::NotForDevices } else { Permission::Needed };
    let saved = record.resources.as_ref();
    let merged = merge(saved, wanted);
    let writes = |resources| values(Some(resources), record.clone(), permission).map(|plan| plan.writes);
    let before = saved.map(writes).transpose()?.unwrap_or_default();
    // Alone, a value may not make sense (swap without memory): then nothing counts as named.
    let named = writes(wanted).unwrap_or_default();
    let is_named = |write: &Write| named.iter().any(|other| other.pointer == write.pointer);
    let mut plan = values(Some(&merged), record.clone(), permission)?;
    plan.writes.retain(|write| is_named(write) || !before.contains(write));
    let rules = wanted.devices().as_deref().unwrap_or_default();
    if !rules.is_empty() && rules != record.devices {
        if plan.location_of("devices").is_none() {
            return Err(missing("devices", &format!("{RESOURCES}/devices"), plan.mode));
        }
        plan.devices = Some(record.filter(rules)?);
        plan.device_rules = rules.to_vec();
    }
    if record.unit.is_some() {
        let properties = |resources| resource_properties(resources, record.mode);
        let before = saved.map(properties).transpose()?.unwrap_or_default();
        let named = properties(wanted).unwrap_or_default();
        let is_named = |property: &Property| named.iter().any(|other| other.name == property.name);
        plan.properties = properties(&merged)?;
        plan.properties.retain(|property| is_named(property) || !before.contains(property));
        plan.properties.extend(plan.devices.iter().flat_map(device_properties));
    }
    Ok(plan)
}

fn values(resources: Option<&LinuxResources>, record: Record, permission: Permission) -> Result<Plan> {
    let mut out = Translation::default();
    let mut check_usage = None;
    let its_own = resources.filter(|_| record.unit.is_some()).and_then(with_rounded_quota);
    if let Some(resources) = its_own.as_ref().or(resources) {
        match record.mode {
            Mode::V2 => v2::writes(resources, &mut out)?,
            Mode::V1 | Mode::Hybrid => v1::writes(resources, &mut out)?,
        }
        if translation::is_idle(resources) {
            out.without_weights();
        }
        if record.mode == Mode::V2 {
            check_usage = resources.memory().filter(|memory| memory.check_before_update() == Some(true));
        }
    }
    let check_usage = check_usage.map(|memory| MemoryLimits {
        memory: memory.limit().unwrap_or(0),
        memory_and_swap: memory.swap().unwrap_or(0),
    });
    let mut writes = out.writes;
    // What may be missing from a controller may be missing with it.
    writes.retain(|write| {
        write.if_missing != IfMissing::Skip || record.location_of(&write.controller).is_some()
    });
    if let Some(write) = writes.iter().find(|write| record.location_of(&write.controller).is_none()) {
        return Err(missing(&write.controller, &write.pointer, record.mode));
    }
    let Record { manager, mode, locations, unit, devices: device_rules, without_default_devices, .. } =
        record;
    let resources = resources.map(without_devices);
    let warnings = out.warnings;
    Ok(Plan {
        manager,
        mode,
        locations,
        available_controllers: Vec::new(),
        unit,
        resources,
        writes,
        devices: None,
        device_rules,
        without_default_devices,
        properties: Vec::new(),
        check_usage,
        permission,
        warnings,
    })
}

fn without_devices(resources: &LinuxResources) -> LinuxResources {
    let mut resources = resources.clone();
    resources.set_devices(None);
    resources
}

fn missing(controller: &str, pointer: &str, mode: Mode) -> Error {
    let tree = if mode == Mode::V2 { "cgroup v2" } else { "cgroup v1" };
    fail!(
        Kind::Unsupported,
        "{pointer}: cannot set {controller} limit: container could not join or create cgroup: \
         this host has no {controller} controller in {tree}"
    )
}

/// The group's directory has not the controller's files.
pub(crate) fn not_enabled(write: &Write, path: &Path) -> Error {
    let controllers = path.join("cgroup.controllers");
    let why = format!("{} does not list {}", controllers.display(), write.controller);
    if write.is_unified() {
        return no_unified(write).with_hint(why);
    }
    let (pointer, controller) = (&write.pointer, &write.controller);
    fail!(
        Kind::Unsupported,
        "{pointer}: cannot set {controller} limit: controller {controller} not available"
    )
    .with_hint(why)
}

fn no_unified(write: &Write) -> Error {
    let Write { pointer, file, controller, .. } = write;
    fail!(
        Kind::Unsupported,
        "{pointer}: unified resource {file:?} can't be set: controller {controller:?} not available"
    )
}

impl Plan {
    /// Takes back what is allowed to every container after its own device rules.
    pub fn without_default_devices(&mut self) -> Result<()> {
        self.without_default_devices = true;
        if self.devices.is_some() {
            self.devices = Some(Filter::from_rules(&self.device_rules)?);
        }
        Ok(())
    }

    /// On v2, one tree holds all controllers, and it tells which it has.
    fn check_controllers(&self, layout: &Layout) -> Result<()> {
        let Some(unified) = layout.unified.as_ref().filter(|_| self.mode == Mode::V2) else {
            return Ok(());
        };
        let has =
            |name: &str| name == "cgroup" || unified.controllers.iter().any(|controller| controller == name);
        match self.writes.iter().find(|write| !has(&write.controller) && write.if_missing != IfMissing::Skip)
        {
            None => Ok(()),
            Some(write) if write.is_unified() => Err(no_unified(write)),
            Some(write) => Err(missing(&write.controller, &write.pointer, Mode::V2)),
        }
    }

    /// The v2 controllers that some value needs.
    pub fn controllers(&self) -> impl Iterator<Item = &str> {
        self.writes.iter().map(|write| write.controller.as_str()).filter(|name| *name != "cgroup")
    }

    /// The field that needs a controller.
    pub fn pointer_needing(&self, controller: &str) -> Option<&str> {
        let write = self
            .writes
            .iter()
            .find(|write| write.controller == controller && write.if_missing != IfMissing::Skip);
        write.map(|write| &*write.pointer)
    }

    /// Adds what annotations ask for: `org.systemd.property.NAME` for the systemd driver.
    pub fn annotate(&mut self, all: Option<&HashMap<String, String>>) -> Result<()> {
        for (name, value) in
            all.filter(|_| self.unit.is_some()).into_iter().flat_map(translation::sorted_by_name)
        {
            if let Some(property) = annotations::property(name, value)? {
                self.properties.retain(|other| other.name != property.name);
                self.properties.push(property);
            }
        }
        Ok(())
    }

    /// The group is `name` below that of the unit, which then holds no process: systemd leaves it alone.
    pub fn go_below(&mut self, name: &Path) {
        for location in self.locations.iter_mut().filter(|_| self.unit.is_some()) {
            location.path.push(name);
        }
    }

    /// For `state.json`, also before anything is made: what is to be cleaned up.
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

    fn location_of(&self, controller: &str) -> Option<usize> {
        record::location_of(self.mode, &self.locations, controller)
    }

    /// One line for each thing that is done, as `tare plan` prints them.
    pub fn lines(&self) -> Vec<String> {
        self.to_string().lines().map(str::to_owned).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manager = self.manager;
        if let Some(Unit { name, slice, user }) = &self.unit {
            writeln!(
                f,
                "cgroup unit {name} in {slice}{}",
                if *user { " of the user's systemd" } else { "" }
            )?;
        }
        for location in &self.locations {
            let what =
                if location.is_unified() { "cgroup2".to_owned() } else { location.controllers.join(",") };
            writeln!(f, "cgroup {manager} {what} {}", location.directory().display())?;
        }
        for property in &self.properties {
            writeln!(f, "cgroup property {property}")?;
        }
        for write in &self.writes {
            writeln!(f, "cgroup set {write}")?;
        }
        if let Some(devices) = &self.devices {
            writeln!(f, "cgroup devices {devices}")?;
        }
        Ok(())
    }
}
