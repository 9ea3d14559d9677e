//! A group's life as a unit: started with its limits, changed, joined, stopped.

use std::path::{Path, PathBuf};

use super::client::Manager;
use super::placeholder::Placeholder;
use crate::cgroup::dir::Dir;
use crate::cgroup::plan::Plan;
use crate::cgroup::plan::path::POINTER;
use crate::cgroup::plan::record::Record;
use crate::cgroup::plan::systemd::properties::{Property, device_properties, resource_properties};
use crate::cgroup::plan::systemd::unit::Unit;
use crate::error::{Context, Result};
use crate::log;

/// Starts the unit, and corrects in `record` where its group is. The placeholder goes once a process has joined.
pub(crate) fn start(unit: &Unit, plan: &Plan, record: &mut Record) -> Result<Option<Placeholder>> {
    let mut manager = Manager::connect(unit.user).context(POINTER)?;
    let version = manager.version().context(POINTER)?;
    let properties = known(&plan.properties, version);
    let placeholder = if unit.is_slice() { None } else { Some(Placeholder::start()?) };
    manager.start(unit, &properties, placeholder.as_ref().map(|process| process.pid))?;
    let below = below(unit, record);
    if unit.user {
        let path = manager.group_of(unit)?;
        for place in &mut record.places {
            place.path = path.iter().chain(&below).collect();
        }
    }
    if let (Some(process), false) = (&placeholder, below.as_os_str().is_empty()) {
        step_down(record, &below, process.pid).inspect_err(|_| stop(unit))?;
    }
    Ok(placeholder)
}

/// Where the group is below that of the unit; empty where it is that itself.
fn below(unit: &Unit, record: &Record) -> PathBuf {
    let path = record.places.first().map(|place| &*place.path).unwrap_or_else(|| Path::new(""));
    path.iter().skip_while(|name| *name != &*unit.name).skip(1).collect()
}

/// v2: a group that holds a process cannot hand controllers to groups below.
fn step_down(record: &Record, below: &Path, pid: i32) -> Result<()> {
    let Some(place) = record.places.iter().find(|place| place.is_unified()) else { return Ok(()) };
    let doing = || format!("make control group {}", place.directory().display());
    let above: PathBuf = place.path.iter().take(place.path.iter().count() - below.iter().count()).collect();
    let dir = Dir::mountpoint(&place.mountpoint)?;
    dir.below(&above).and_then(|dir| dir.make(below)).with_context(doing)?;
    dir.below(&place.path).with_context(doing)?.write_or_fail("cgroup.procs", &pid.to_string())
}

/// Changes what systemd has properties for, so that its next reload does not undo the change.
pub(crate) fn change(unit: &Unit, properties: &[Property]) -> Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    let mut manager = Manager::connect(unit.user)?;
    let version = manager.version()?;
    manager.set(unit, &known(properties, version))
}

/// The values that these properties have now: by the resources that were last set, else as systemd has them unset.
pub(crate) fn former(record: &Record, properties: &[Property]) -> Result<Vec<Property>> {
    let mut before = Vec::new();
    if let Some(resources) = record.resources.as_ref().filter(|_| !properties.is_empty()) {
        before = resource_properties(resources, record.mode)?;
    }
    if properties.iter().any(|property| property.name == "DevicePolicy") {
        before.extend(device_properties(&record.filter(&record.devices)?));
    }
    let former = |property: &Property| {
        let known = before.iter().find(|other| other.name == property.name).cloned();
        known.or_else(|| property.unset())
    };
    Ok(properties.iter().filter_map(former).collect())
}

/// Stops the unit. A systemd that cannot be reached is no obstacle: the directories are removed in any case.
pub(crate) fn stop(unit: &Unit) {
    let stopped = Manager::connect(unit.user).and_then(|mut manager| manager.stop(unit));
    if let Err(error) = stopped {
        log::debug(format_args!("{error}"));
    }
}

pub(crate) fn attach(unit: &Unit, record: &Record, pid: i32) -> Result<()> {
    Manager::connect(unit.user)?.attach(unit, &below(unit, record), pid)
}

fn known(properties: &[Property], version: u32) -> Vec<Property> {
    // An unknown version is taken for a new one: an old systemd then says which property it does not know.
    let (known, later): (Vec<_>, Vec<_>) =
        properties.iter().cloned().partition(|property| version == 0 || property.since <= version);
    for property in later {
        let Property { name, since, .. } = property;
        log::debug(format_args!("systemd {version} does not know {name}, which came with {since}"));
    }
    known
}
