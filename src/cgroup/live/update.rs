//! Changes a group that is in use, completely or not at all.

use super::devices::attach;
use super::group::Group;
use super::write_limits;
use crate::cgroup::plan::Plan;
use crate::cgroup::plan::devices::Filter;
use crate::cgroup::plan::systemd::Property;
use crate::cgroup::plan::write::Write;
use crate::cgroup::systemd::scope;
use crate::error::Result;
use crate::log;

/// The values before a change.
struct Snapshot {
    writes: Vec<Write>,
    devices: Option<Filter>,
    properties: Vec<Property>,
}

impl Group {
    /// Writes changed limits and device rules. If something is refused, everything written before gets its
    /// former value back.
    pub fn update(&self, plan: &Plan) -> Result<()> {
        self.update_then(plan, || Ok(()))
    }

    /// Updates the group like [`update`](Self::update). If the `last` step fails, the change is undone too.
    pub fn update_then(&self, plan: &Plan, last: impl FnOnce() -> Result<()>) -> Result<()> {
        if let Some(limits) = plan.check_usage {
            write_limits::check_usage(self, limits)?;
        }
        let before = self.snapshot(plan)?;
        let set_properties =
            self.record().unit.as_ref().map_or(Ok(()), |unit| scope::set_properties(unit, &plan.properties));
        let changed = set_properties.and_then(|()| self.apply(plan)).and_then(|()| last());
        changed.inspect_err(|_| self.roll_back(&before))
    }

    fn snapshot(&self, plan: &Plan) -> Result<Snapshot> {
        let location = plan.devices.as_ref().and_then(|_| self.record().location_of("devices"));
        let devices = location.map(|location| attach::current(self.dir(location)?, self.record()));
        Ok(Snapshot {
            writes: write_limits::read_current(self, plan),
            devices: devices.transpose()?,
            properties: scope::current_properties(self.record(), &plan.properties)?,
        })
    }

    /// Undoes a change as far as the kernel and systemd allow. Failures are warnings: the error to report is
    /// the first one.
    fn roll_back(&self, before: &Snapshot) {
        if let Some(unit) = &self.record().unit
            && let Err(error) = scope::set_properties(unit, &before.properties)
        {
            log::warn(format_args!("undo the change: {error}"));
        }
        write_limits::restore(self, &before.writes);
        let location = self.record().location_of("devices").and_then(|location| self.dir(location).ok());
        if let (Some(filter), Some(dir)) = (&before.devices, location)
            && let Err(error) = attach::set(dir, filter, self.record().mode, false)
        {
            log::warn(format_args!("undo the change: {error}"));
        }
    }
}
