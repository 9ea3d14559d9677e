//! The plan for changed resources of an existing group: `tare update`.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::devices::filter::Filter;
use super::group_plan::{Permission, Plan};
use super::limits::{Limits, without_devices};
use super::merge::merge;
use super::pointer::RESOURCES;
use super::record::Record;
use super::systemd::properties::{Property, device_properties, resource_properties};
use super::unavailable::missing_controller;
use super::write::Write;
use crate::error::Result;

/// Plans a change. Its [`Plan::record`] must be kept afterwards.
///
/// Only the fields of `requested` are written, and those that depend on them. Device rules are written only
/// if they differ from the present ones: engines repeat the configuration's with every update, while tools
/// may have added to the filter of a running container.
///
/// # Errors
/// Those of a new group; each has the JSON pointer of the field.
pub fn update(record: &Record, requested: &LinuxResources, rootless: bool) -> Result<Plan> {
    let merged = merge(record.resources.as_ref(), requested);
    let limits = changed_limits(record, requested, &merged)?;
    let devices = changed_devices(record, requested)?;
    let rules = match &devices {
        Some((rules, _)) => rules.to_vec(),
        None => record.devices.clone(),
    };
    let devices = devices.map(|(_, filter)| filter);
    Ok(Plan {
        manager: record.manager,
        mode: record.mode,
        locations: record.locations.clone(),
        available_controllers: Vec::new(),
        unit: record.unit.clone(),
        resources: Some(without_devices(&merged)),
        writes: limits.writes,
        properties: changed_properties(record, requested, &merged, devices.as_ref())?,
        devices,
        device_rules: rules,
        without_default_devices: record.without_default_devices,
        check_usage: limits.check_usage,
        permission: if rootless { Permission::NotForDevices } else { Permission::Needed },
        warnings: limits.warnings,
    })
}

/// Returns the limits of `merged`, but only the writes that `requested` names or that differ from the former
/// ones.
fn changed_limits(record: &Record, requested: &LinuxResources, merged: &LinuxResources) -> Result<Limits> {
    let limits =
        |resources| Limits::new(Some(resources), record.mode, &record.locations, record.unit.is_some());
    let before = record.resources.as_ref().map(limits).transpose()?.unwrap_or_default().writes;
    // A value may be invalid by itself (swap without memory): then no write counts as named.
    let named = limits(requested).unwrap_or_default().writes;
    let is_named = |write: &Write| named.iter().any(|other| other.pointer == write.pointer);
    let mut changed = limits(merged)?;
    changed.writes.retain(|write| is_named(write) || !before.contains(write));
    Ok(changed)
}

/// Returns the rules of `requested` and their filter, if they differ from those in force.
fn changed_devices<'a>(
    record: &Record,
    requested: &'a LinuxResources,
) -> Result<Option<(&'a [LinuxDeviceCgroup], Filter)>> {
    let rules = requested.devices().as_deref().unwrap_or_default();
    if rules.is_empty() || rules == record.devices {
        return Ok(None);
    }
    if record.location_of("devices").is_none() {
        return Err(missing_controller("devices", &format!("{RESOURCES}/devices"), record.mode));
    }
    Ok(Some((rules, record.filter(rules)?)))
}

/// Returns the properties for systemd, chosen in the same way as the writes.
fn changed_properties(
    record: &Record,
    requested: &LinuxResources,
    merged: &LinuxResources,
    devices: Option<&Filter>,
) -> Result<Vec<Property>> {
    if record.unit.is_none() {
        return Ok(Vec::new());
    }
    let properties = |resources| resource_properties(resources, record.mode);
    let before = record.resources.as_ref().map(properties).transpose()?.unwrap_or_default();
    let named = properties(requested).unwrap_or_default();
    let is_named = |property: &Property| named.iter().any(|other| other.name == property.name);
    let mut changed = properties(merged)?;
    changed.retain(|property| is_named(property) || !before.contains(property));
    changed.extend(devices.into_iter().flat_map(device_properties));
    Ok(changed)
}
