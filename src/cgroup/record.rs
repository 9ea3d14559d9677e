//! What is remembered of a group: enough to find it again from another process.

use std::fmt;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::path::Place;
use super::systemd::Unit;
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
}

impl Record {
    /// The place whose files carry a controller's values.
    pub fn place_of(&self, controller: &str) -> Option<usize> {
        place_of(self.mode, &self.places, controller)
    }
}

pub fn place_of(mode: Mode, places: &[Place], controller: &str) -> Option<usize> {
    places.iter().position(|place| match mode {
        Mode::V2 => place.is_unified(),
        Mode::V1 | Mode::Hybrid => place.controllers.iter().any(|name| name == controller),
    })
}
