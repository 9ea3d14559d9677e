//! Changing a group that is in use: all of it, or none of it.

use super::apply;
use super::devices::attach;
use super::group::Group;
use crate::cgroup::plan::Plan;
use crate::cgroup::plan::devices::Filter;
use crate::cgroup::plan::systemd::Property;
use crate::cgroup::plan::write::Write;
use crate::cgroup::systemd::scope;
use crate::error::Result;
use crate::log;

/// What stood before a change.
struct Before {
    writes: Vec<Write>,
    devices: Option<Filter>,
    properties: Vec<Property>,
}

impl Group {
    /// Writes changed limits and device rules. When something is refused, what came before it gets its former value.
    pub fn change(&self, plan: &Plan) -> Result<()> {
        self.change_with(plan, || Ok(()))
    }

    /// As `change`, with a last step that belongs to it.
    pub fn change_with(&self, plan: &Plan, last: impl FnOnce() -> Result<()>) -> Result<()> {
        if let Some(limits) = plan.check_usage {
            apply::check_usage(self, limits)?;
        }
        let before = self.before(plan)?;
        let told = self.record().unit.as_ref().map_or(Ok(()), |unit| scope::change(unit, &plan.properties));
        let changed = told.and_then(|()| self.apply(plan)).and_then(|()| last());
        changed.inspect_err(|_| self.back(&before))
    }

    fn before(&self, plan: &Plan) -> Result<Before> {
        let place = plan.devices.as_ref().and_then(|_| self.record().place_of("devices"));
        let devices = place.map(|place| attach::current(self.dir(place)?, self.record()));
        Ok(Before {
            writes: apply::values(self, plan),
            devices: devices.transpose()?,
            properties: scope::former(self.record(), &plan.properties)?,
        })
    }

    /// As far as the kernel and systemd let: the error to tell is the one that led here.
    fn back(&self, before: &Before) {
        if let Some(unit) = &self.record().unit
            && let Err(error) = scope::change(unit, &before.properties)
        {
            log::warn(format_args!("undo the change: {error}"));
        }
        apply::restore(self, &before.writes);
        let place = self.record().place_of("devices").and_then(|place| self.dir(place).ok());
        if let (Some(filter), Some(dir)) = (&before.devices, place)
            && let Err(error) = attach::set(dir, filter, self.record().mode, false)
        {
            log::warn(format_args!("undo the change: {error}"));
        }
    }
}
