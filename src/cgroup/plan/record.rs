//! The record of a group: enough to find it again from another process.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use serde::{Deserialize, Serialize};

use super::devices::filter::Filter;
use super::location::{Location, member_locations};
use super::manager::Manager;
use super::systemd::unit::Unit;
use crate::error::Result;
use crate::host::cgroup::{Layout, Mode};

/// The group's part of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// It has been called `driver` in `state.json` since the first version.
    #[serde(rename = "driver")]
    pub manager: Manager,
    pub mode: Mode,
    #[serde(rename = "places")]
    pub locations: Vec<Location>,
    /// The unit, under the systemd manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// The resources that the group was made with or last changed to, without the device rules. An update is
    /// merged into them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<LinuxResources>,
    /// The device rules as configured or last changed, because the kernel does not show those of a v2 filter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<LinuxDeviceCgroup>,
    /// Whether the default device rules are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "own_device_rules_only")]
    pub without_default_devices: bool,
}

impl Record {
    /// Makes the record of a group that somebody else manages. `layout` has the groups of one of its
    /// processes as the own ones.
    pub fn of_members(layout: &Layout) -> Result<Self> {
        Ok(Self {
            manager: Manager::Disabled,
            mode: layout.mode(),
            locations: member_locations(layout)?,
            unit: None,
            resources: None,
            devices: Vec::new(),
            without_default_devices: false,
        })
    }

    /// Returns the filter that these device rules make in this group.
    pub fn filter(&self, rules: &[LinuxDeviceCgroup]) -> Result<Filter> {
        if self.without_default_devices {
            Filter::from_rules(rules)
        } else {
            Filter::with_default_devices(rules)
        }
    }

    /// Returns the index of the location whose files have a controller's values.
    pub fn location_of(&self, controller: &str) -> Option<usize> {
        Location::index_of(&self.locations, self.mode, controller)
    }
}
