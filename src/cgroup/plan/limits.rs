//! Turns `linux.resources` into writes for the interface (v1 or v2) that has the controllers on this host.

use oci_spec::runtime::LinuxResources;

use super::group_plan::MemoryLimits;
use super::location::Location;
use super::systemd::properties::with_rounded_quota;
use super::translation::{Translation, is_idle};
use super::unavailable::missing_controller;
use super::write::Write;
use super::{v1, v2};
use crate::error::{Faults, Result};
use crate::host::cgroup::Mode;

/// The part of a plan that follows from the resources alone.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) writes: Vec<Write>,
    pub(super) check_usage: Option<MemoryLimits>,
    pub(super) warnings: Vec<String>,
}

impl Limits {
    /// Plans the limits for a group at `locations`. With `by_systemd`, the quota is rounded as systemd does.
    ///
    /// # Errors
    /// A value that no kernel accepts, or one whose controller none of the locations has.
    pub(super) fn new(
        resources: Option<&LinuxResources>,
        mode: Mode,
        locations: &[Location],
        by_systemd: bool,
    ) -> Result<Self> {
        let Some(resources) = resources else { return Ok(Self::default()) };
        let rounded = if by_systemd { with_rounded_quota(resources) } else { None };
        let resources = rounded.as_ref().unwrap_or(resources);
        let mut translation = translate(resources, mode)?;
        if is_idle(resources) {
            translation.remove_weights();
        }
        let Translation { mut writes, warnings } = translation;
        let has = |write: &Write| Location::index_of(locations, mode, &write.controller).is_some();
        // A write that does not need its controller is left out with it: without the controller there is no
        // limit.
        writes.retain(|write| write.needs_controller() || has(write));
        let mut faults = Faults::default();
        for write in writes.iter().filter(|write| !has(write)) {
            faults.push(missing_controller(&write.controller, &write.pointer, mode));
        }
        faults.into_result(Self { writes, check_usage: check_usage(resources, mode), warnings })
    }
}

/// Makes the writes of the interface, without regard to the host.
pub(super) fn translate(resources: &LinuxResources, mode: Mode) -> Result<Translation> {
    let mut translation = Translation::default();
    match mode {
        Mode::V2 => v2::writes(resources, &mut translation)?,
        Mode::V1 | Mode::Hybrid => v1::writes(resources, &mut translation)?,
    }
    Ok(translation)
}

/// The fields that mean nothing to the interface.
pub(crate) fn warnings(resources: &LinuxResources, mode: Mode) -> Vec<String> {
    translate(resources, mode).map(|translation| translation.warnings).unwrap_or_default()
}

fn check_usage(resources: &LinuxResources, mode: Mode) -> Option<MemoryLimits> {
    let memory = resources.memory().filter(|memory| memory.check_before_update() == Some(true))?;
    (mode == Mode::V2).then_some(MemoryLimits {
        memory: memory.limit().unwrap_or(0),
        memory_and_swap: memory.swap().unwrap_or(0),
    })
}

/// Returns the resources as the record keeps them: it has the device rules on their own.
pub(super) fn without_devices(resources: &LinuxResources) -> LinuxResources {
    let mut resources = resources.clone();
    resources.set_devices(None);
    resources
}
