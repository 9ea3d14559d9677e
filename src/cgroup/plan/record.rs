//! What is remembered of a group: enough to find it again from another process.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use serde::{Deserialize, Serialize};

use super::devices::Filter;
use super::path::Place;
use super::systemd::Unit;
use crate::error::Result;
use crate::host::cgroup::Mode;

/// Who makes the group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    #[default]
    Cgroupfs,
    Systemd,
    /// Nobody: the container stays in the groups that we are in.
    Disabled,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
            Self::Disabled => "disabled",
        })
    }
}

/// Part of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub driver: Driver,
    pub mode: Mode,
    pub places: Vec<Place>,
    /// Under the systemd driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// What the group was made with or last changed to, without the device rules: an update lays its own over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<LinuxResources>,
    /// The device rules as configured or last changed: the kernel does not tell what a v2 filter holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<LinuxDeviceCgroup>,
    /// Without what every container is allowed after its own rules.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_device_rules_only: bool,
}

impl Record {
    /// What these device rules come to in this group.
    pub fn filter(&self, rules: &[LinuxDeviceCgroup]) -> Result<Filter> {
        if self.own_device_rules_only { Filter::own(rules) } else { Filter::from_spec(rules) }
    }

    /// The place whose files carry a controller's values.
    pub fn place_of(&self, controller: &str) -> Option<usize> {
        place_of(self.mode, &self.places, controller)
    }
}

pub(crate) fn place_of(mode: Mode, places: &[Place], controller: &str) -> Option<usize> {
    places.iter().position(|place| match mode {
        Mode::V2 => place.is_unified(),
        Mode::V1 | Mode::Hybrid => place.controllers.iter().any(|name| name == controller),
    })
}
