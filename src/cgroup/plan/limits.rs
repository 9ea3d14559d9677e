//! `linux.resources` as writes for the interface (v1 or v2) that carries limits on this host.

use oci_spec::runtime::LinuxResources;

use super::group_plan::MemoryLimits;
use super::location::Location;
use super::systemd::properties::with_rounded_quota;
use super::translation::{Translation, is_idle};
use super::unavailable::missing_controller;
use super::write::Write;
use super::{v1, v2};
use crate::error::Result;
use crate::host::cgroup::Mode;

/// The part of a plan that follows from the resources alone.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) writes: Vec<Write>,
    pub(super) check_usage: Option<MemoryLimits>,
    pub(super) warnings: Vec<String>,
}

impl Limits {
    /// For a group at `locations`. With `by_systemd`, the quota is the one that systemd rounds it to.
    ///
    /// # Errors
    /// A value that no kernel takes, or one whose controller none of the locations has.
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
            translation.without_weights();
        }
        let Translation { mut writes, warnings } = translation;
        let has = |write: &Write| Location::index_of(locations, mode, &write.controller).is_some();
        // What may be missing from a controller may be missing with it, and where there is none, there is no limit.
        writes.retain(|write| write.needs_controller() || has(write));
        match writes.iter().find(|write| !has(write)) {
            Some(write) => Err(missing_controller(&write.controller, &write.pointer, mode)),
            None => Ok(Self { writes, check_usage: check_usage(resources, mode), warnings }),
        }
    }
}

/// The writes of the interface, without a look at what the host has.
pub(super) fn translate(resources: &LinuxResources, mode: Mode) -> Result<Translation> {
    let mut translation = Translation::default();
    match mode {
        Mode::V2 => v2::writes(resources, &mut translation)?,
        Mode::V1 | Mode::Hybrid => v1::writes(resources, &mut translation)?,
    }
    Ok(translation)
}

fn check_usage(resources: &LinuxResources, mode: Mode) -> Option<MemoryLimits> {
    let memory = resources.memory().filter(|memory| memory.check_before_update() == Some(true))?;
    (mode == Mode::V2).then_some(MemoryLimits {
        memory: memory.limit().unwrap_or(0),
        memory_and_swap: memory.swap().unwrap_or(0),
    })
}

/// The resources as the record keeps them: device rules stand there for themselves.
pub(super) fn without_devices(resources: &LinuxResources) -> LinuxResources {
    let mut resources = resources.clone();
    resources.set_devices(None);
    resources
}
