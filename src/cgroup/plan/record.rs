//! What is remembered of a group: enough to find it again from another process.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use serde::{Deserialize, Serialize};

use super::devices::filter::Filter;
use super::location::Location;
use super::manager::Manager;
use super::systemd::unit::Unit;
use crate::error::Result;
use crate::host::cgroup::Mode;

/// Part of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `driver` is its name in `state.json` since the first version.
    #[serde(rename = "driver")]
    pub manager: Manager,
    pub mode: Mode,
    #[serde(rename = "places")]
    pub locations: Vec<Location>,
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "own_device_rules_only")]
    pub without_default_devices: bool,
}

impl Record {
    /// What these device rules come to in this group.
    pub fn filter(&self, rules: &[LinuxDeviceCgroup]) -> Result<Filter> {
        if self.without_default_devices {
            Filter::from_rules(rules)
        } else {
            Filter::with_default_devices(rules)
        }
    }

    /// The index of the location whose files carry a controller's values.
    pub fn location_of(&self, controller: &str) -> Option<usize> {
        Location::index_of(&self.locations, self.mode, controller)
    }
}
