//! The life of a group as a unit: starts it with its limits, changes it, adds processes, stops it.

use std::path::{Path, PathBuf};

use super::client::Client;
use super::placeholder::Placeholder;
use crate::cgroup::dir::CgroupDir;
use crate::cgroup::plan::Plan;
use crate::cgroup::plan::Record;
use crate::cgroup::plan::pointer::CGROUPS_PATH;
use crate::cgroup::plan::systemd::properties::{Property, device_properties, resource_properties};
use crate::cgroup::plan::systemd::unit::Unit;
use crate::error::{Context, Result};
use crate::log;

/// Starts the unit, and corrects the group's location in `record`. The placeholder ends once a process has
/// joined.
pub(crate) fn start(unit: &Unit, plan: &Plan, record: &mut Record) -> Result<Option<Placeholder>> {
    let mut client = Client::connect(unit.user).context(CGROUPS_PATH)?;
    let version = client.version().context(CGROUPS_PATH)?;
    let properties = supported_by(&plan.properties, version);
    let placeholder = if unit.is_slice() { None } else { Some(Placeholder::start()?) };
    client.start(unit, &properties, placeholder.as_ref().map(|process| process.pid))?;
    let below = path_below_unit(unit, record);
    if unit.user {
        let path = client.control_group(unit)?;
        for location in &mut record.locations {
            location.path = path.iter().chain(&below).collect();
        }
    }
    if let (Some(process), false) = (&placeholder, below.as_os_str().is_empty()) {
        move_placeholder_below(record, &below, process.pid).inspect_err(|_| stop(unit))?;
    }
    Ok(placeholder)
}

/// Returns the group's path below the unit's group; empty if it is the unit's group itself.
fn path_below_unit(unit: &Unit, record: &Record) -> PathBuf {
    let path = record.locations.first().map(|location| &*location.path).unwrap_or_else(|| Path::new(""));
    path.iter().skip_while(|name| *name != &*unit.name).skip(1).collect()
}

/// Moves the placeholder below: on v2, a group with a process cannot hand controllers to groups below it.
fn move_placeholder_below(record: &Record, below: &Path, pid: i32) -> Result<()> {
    let Some(location) = record.locations.iter().find(|location| location.is_unified()) else {
        return Ok(());
    };
    let doing = || format!("make control group {}", location.directory().display());
    let above: PathBuf =
        location.path.iter().take(location.path.iter().count() - below.iter().count()).collect();
    let dir = CgroupDir::open_root(&location.mountpoint)?;
    dir.open_child(&above).and_then(|dir| dir.create_child(below)).with_context(doing)?;
    dir.open_child(&location.path).with_context(doing)?.write_with_context("cgroup.procs", &pid.to_string())
}

/// Changes the properties that systemd has, so that its next reload does not undo the change.
pub(crate) fn set_properties(unit: &Unit, properties: &[Property]) -> Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    let mut client = Client::connect(unit.user)?;
    let version = client.version()?;
    client.set(unit, &supported_by(properties, version))
}

/// Returns the present values of these properties: from the resources that were last set, otherwise systemd's
/// unset values.
pub(crate) fn current_properties(record: &Record, properties: &[Property]) -> Result<Vec<Property>> {
    let mut before = Vec::new();
    if let Some(resources) = record.resources.as_ref().filter(|_| !properties.is_empty()) {
        before = resource_properties(resources, record.mode)?;
    }
    if properties.iter().any(|property| property.name == "DevicePolicy") {
        before.extend(device_properties(&record.filter(&record.devices)?));
    }
    let current_properties = |property: &Property| {
        let known = before.iter().find(|other| other.name == property.name).cloned();
        known.or_else(|| property.unset())
    };
    Ok(properties.iter().filter_map(current_properties).collect())
}

/// Stops the unit. If systemd cannot be reached, that is only a warning: the directories are removed in any
/// case.
pub(crate) fn stop(unit: &Unit) {
    let stopped = Client::connect(unit.user).and_then(|mut client| client.stop(unit));
    if let Err(error) = stopped {
        log::debug(format_args!("{error}"));
    }
}

pub(crate) fn attach(unit: &Unit, record: &Record, pid: i32) -> Result<()> {
    Client::connect(unit.user)?.attach(unit, &path_below_unit(unit, record), pid)
}

fn supported_by(properties: &[Property], version: u32) -> Vec<Property> {
    // An unknown version counts as a new one: an old systemd then says which property it does not know.
    let (known, later): (Vec<_>, Vec<_>) =
        properties.iter().cloned().partition(|property| version == 0 || property.since <= version);
    for property in later {
        let Property { name, since, .. } = property;
        log::debug(format_args!("systemd {version} does not know {name}, which came with {since}"));
    }
    known
}
