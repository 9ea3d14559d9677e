//! `plan`: shows what `create` would do with a bundle. Only tare has this verb.

use std::path::Path;

use crate::bundle::CONFIG;
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::lifecycle::examination::all_faults;
use crate::lifecycle::load;
use crate::lifecycle::options::Globals;
use crate::plan::{Plan, Request, plan_container};

/// Makes the plan for the bundle as `create` would on this host. The id is the name of the bundle's
/// directory.
pub(crate) fn plan(bundle: &Path, globals: &Globals) -> Result<Plan> {
    let path = load::canonical(bundle)?;
    let id = ContainerId::from_lossy(&path.file_name().unwrap_or_default().to_string_lossy());
    let request = Request {
        cgroup_manager: globals.cgroup_manager,
        rootless: load::rootless(globals, globals.cgroup_manager)?,
        ..Request::new(&id, path)
    };
    let bundle = load::bundle(Some(bundle), None)
        .map_err(|refusal| all_faults(refusal, &request.bundle.join(CONFIG), &request))?;
    let mut plan = plan_container(&bundle.spec, &bundle.facts, &request)?;
    plan.warnings.splice(0..0, bundle.spec.warnings.iter().cloned());
    Ok(plan)
}
