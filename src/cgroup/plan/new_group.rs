//! The plan for the group of a new container.

use std::collections::HashMap;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxResources};

use super::devices::filter::Filter;
use super::group_plan::{Permission, Plan};
use super::limits::{Limits, translate, without_devices};
use super::location::{self, Location};
use super::manager::Manager;
use super::pointer::{CGROUPS_PATH, RESOURCES};
use super::systemd::annotations::property;
use super::systemd::properties::{Property, group_properties};
use super::systemd::unit::Unit;
use super::translation::{Translation, sorted_by_name};
use super::unavailable::{missing_controller, unified_not_available};
use super::write::Write;
use crate::container_id::ContainerId;
use crate::error::{Faults, Kind, Result};
use crate::fail;
use crate::host::cgroup::{Layout, Mode};

/// The input for the plan of a new group.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The `linux` object of the checked configuration.
    pub linux: Option<&'a Linux>,
    /// All annotations. `org.systemd.property.NAME` has an effect under the systemd manager.
    pub annotations: Option<&'a HashMap<String, String>>,
    /// The container's id.
    pub id: &'a ContainerId,
    pub manager: Manager,
    pub layout: &'a Layout,
    /// Whether permission errors may be ignored (the command line's `--rootless`).
    pub rootless: bool,
    /// The name of a group below that of the systemd unit. The unit's own group then has no process, and
    /// systemd does not change the lower one.
    pub systemd_subgroup: Option<&'a Path>,
    /// Leaves out the default device rules after the configured ones.
    pub without_default_devices: bool,
}

/// Plans the group of a new container.
///
/// # Errors
/// Each has the JSON pointer of the field: a value that no kernel accepts, a missing controller, or a host
/// without a hierarchy.
pub fn new_group(request: &Request<'_>) -> Result<Plan> {
    let &Request { linux, layout, manager, .. } = request;
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    if manager == Manager::Disabled {
        return without_group(request, resources);
    }
    let requested = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let requested = requested.filter(|path| !path.as_os_str().is_empty());
    let permission = permission(request.rootless, requested);
    if layout.is_empty() && permission != Permission::NotNeeded {
        return Err(fail!(
            Kind::Unsupported,
            "{CGROUPS_PATH}: no control group hierarchy is mounted on this host"
        ));
    }
    let mode = layout.mode();
    let by_systemd = manager == Manager::Systemd;
    let unit = by_systemd.then(|| Unit::from_path(requested, request.id, request.rootless)).transpose()?;
    let locations = locations(request, requested, unit.as_ref())?;
    let limits = Limits::new(resources, mode, &locations, by_systemd)?;
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    // The rules with the default devices are checked, and given to systemd, even if the defaults are left
    // out.
    let with_defaults = Filter::with_default_devices(rules)?;
    let has_devices = Location::index_of(&locations, mode, "devices").is_some();
    if !has_devices && permission == Permission::Needed {
        return Err(missing_controller("devices", &format!("{RESOURCES}/devices"), mode));
    }
    let writes = with_controllers(limits.writes, layout)?;
    let filter = if request.without_default_devices && has_devices {
        Filter::from_rules(rules)?
    } else {
        with_defaults.clone()
    };
    let properties = match &unit {
        None => Vec::new(),
        Some(unit) => {
            let devices = has_devices.then_some(&with_defaults);
            let properties = group_properties(unit, mode, resources, devices)?;
            with_annotations(properties, request.annotations)?
        }
    };
    Ok(Plan {
        manager,
        mode,
        locations: below_unit(locations, unit.as_ref().and(request.systemd_subgroup)),
        available_controllers: layout
            .unified
            .as_ref()
            .map_or_else(Vec::new, |unified| unified.controllers.clone()),
        unit,
        resources: resources.map(without_devices),
        writes,
        devices: has_devices.then_some(filter),
        device_rules: rules.to_vec(),
        without_default_devices: request.without_default_devices,
        properties,
        check_usage: limits.check_usage,
        permission,
        warnings: limits.warnings,
    })
}

fn permission(rootless: bool, requested: Option<&Path>) -> Permission {
    match (rootless, requested) {
        (false, _) => Permission::Needed,
        (true, Some(_)) => Permission::NotForDevices,
        (true, None) => Permission::NotNeeded,
    }
}

fn locations(request: &Request<'_>, requested: Option<&Path>, unit: Option<&Unit>) -> Result<Vec<Location>> {
    match unit {
        None => location::locations(requested, request.id, request.layout),
        Some(unit) if unit.user && request.layout.mode() != Mode::V2 => {
            Err(fail!(Kind::Unsupported, "rootless containers by systemd need cgroup v2"))
        }
        Some(unit) => location::locations_of_unit(unit, request.layout),
    }
}

fn below_unit(mut locations: Vec<Location>, subgroup: Option<&Path>) -> Vec<Location> {
    if let Some(name) = subgroup {
        locations.iter_mut().for_each(|location| location.path.push(name));
    }
    locations
}

/// Adds the properties of annotations (`org.systemd.property.NAME`) to the unit's, replacing those of the
/// same name.
fn with_annotations(
    mut properties: Vec<Property>,
    annotations: Option<&HashMap<String, String>>,
) -> Result<Vec<Property>> {
    for (name, value) in annotations.into_iter().flat_map(sorted_by_name) {
        if let Some(property) = property(name, value)? {
            properties.retain(|other| other.name != property.name);
            properties.push(property);
        }
    }
    Ok(properties)
}

/// Returns the writes whose controllers the host has. A missing controller that is needed is an error. On v2,
/// one tree has all controllers, and its root lists them.
fn with_controllers(mut writes: Vec<Write>, layout: &Layout) -> Result<Vec<Write>> {
    let Some(unified) = layout.unified.as_ref().filter(|_| layout.mode() == Mode::V2) else {
        return Ok(writes);
    };
    let has =
        |name: &str| name == "cgroup" || unified.controllers.iter().any(|controller| controller == name);
    writes.retain(|write| write.needs_controller() || has(&write.controller));
    let mut faults = Faults::default();
    for write in writes.iter().filter(|write| !has(&write.controller)) {
        faults.push(match write.is_unified() {
            true => unified_not_available(write),
            false => missing_controller(&write.controller, &write.pointer, Mode::V2),
        });
    }
    faults.into_result(writes)
}

/// Plans a container without a group. A limit could not be enforced, so it is refused. Device rules, which
/// every engine writes, are left out with a warning.
fn without_group(request: &Request<'_>, resources: Option<&LinuxResources>) -> Result<Plan> {
    let mode = request.layout.mode();
    let Translation { writes, mut warnings } =
        resources.map(|resources| translate(resources, mode)).transpose()?.unwrap_or_default();
    let mut faults = Faults::default();
    for write in writes.iter().filter(|write| write.needs_controller()) {
        let why = "cannot be set: the cgroup manager is disabled";
        let error = fail!(Kind::Unsupported, "{}: {why}", write.pointer);
        faults.push(error.with_hint("--cgroup-manager cgroupfs and systemd set limits"));
    }
    faults.into_result(())?;
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
        without_default_devices: request.without_default_devices,
        properties: Vec::new(),
        check_usage: None,
        permission: Permission::NotNeeded,
        warnings,
    })
}
