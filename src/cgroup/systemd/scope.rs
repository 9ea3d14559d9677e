//! A group's life as a unit: started with its limits, changed, joined, stopped.

use oci_spec::runtime::LinuxResources;

use super::manager::Manager;
use super::placeholder::Placeholder;
use super::properties::{Property, of_devices, of_resources, of_unit};
use super::unit::Unit;
use crate::cgroup::plan::Plan;
use crate::cgroup::record::Record;
use crate::error::Result;
use crate::log;

/// Starts the unit, and corrects in `record` where its group is. The placeholder goes once a process has joined.
pub fn start(unit: &Unit, plan: &Plan, record: &mut Record) -> Result<Option<Placeholder>> {
    let mut manager = Manager::connect(unit.user)?;
    let version = manager.version()?;
    let properties = known(&plan.properties, version);
    let placeholder = if unit.is_slice() { None } else { Some(Placeholder::start()?) };
    manager.start(unit, &properties, placeholder.as_ref().map(|process| process.pid))?;
    if unit.user {
        let path = manager.group_of(unit)?;
        for place in &mut record.places {
            place.path.clone_from(&path);
        }
    }
    Ok(placeholder)
}

/// Changes what systemd has properties for, so that its next reload does not undo the change.
pub fn change(unit: &Unit, properties: &[Property]) -> Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    let mut manager = Manager::connect(unit.user)?;
    let version = manager.version()?;
    manager.set(unit, &known(properties, version))
}

/// The values that these properties have now: by the resources that were last set, else as systemd has them unset.
pub fn former(record: &Record, properties: &[Property]) -> Result<Vec<Property>> {
    let mut before = Vec::new();
    if let Some(resources) = record.resources.as_ref().filter(|_| !properties.is_empty()) {
        before = of_resources(resources, record.mode)?;
    }
    if properties.iter().any(|property| property.name == "DevicePolicy") {
        before.extend(of_devices(&record.filter(&record.devices)?));
    }
    let former = |property: &Property| {
        let known = before.iter().find(|other| other.name == property.name).cloned();
        known.or_else(|| property.unset())
    };
    Ok(properties.iter().filter_map(former).collect())
}

/// Stops the unit. A systemd that cannot be reached is no obstacle: the directories are removed in any case.
pub fn stop(unit: &Unit) {
    let stopped = Manager::connect(unit.user).and_then(|mut manager| manager.stop(unit));
    if let Err(error) = stopped {
        log::debug(format_args!("{error}"));
    }
}

pub fn attach(unit: &Unit, pid: i32) -> Result<()> {
    Manager::connect(unit.user)?.attach(unit, pid)
}

/// All that the new unit is told.
pub fn properties(unit: &Unit, plan: &Plan, resources: Option<&LinuxResources>) -> Result<Vec<Property>> {
    let mut all = of_unit(unit, plan.mode);
    if let Some(resources) = resources {
        all.extend(of_resources(resources, plan.mode)?);
    }
    all.extend(plan.devices.iter().flat_map(of_devices));
    Ok(all)
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
