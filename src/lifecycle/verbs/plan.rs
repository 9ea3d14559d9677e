//! `plan`: shows what `create` would do with a bundle. Only tare has this verb.

use std::path::Path;

use crate::bundle::{CONFIG, read_config};
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::lifecycle::examination::{all_facts, all_faults};
use crate::lifecycle::host_facts::HostFacts;
use crate::lifecycle::load;
use crate::lifecycle::options::{self, Globals};
use crate::plan::{Plan, Request, plan_container};

/// Makes the plan for the bundle as `create` would, on this host or on that of the facts. The id is the name
/// of the bundle's directory if none is given.
pub(crate) fn plan(options: &options::Plan, globals: &Globals) -> Result<Plan> {
    let path = load::canonical(&options.bundle)?;
    let id = match &options.id {
        Some(id) => id.clone(),
        None => ContainerId::from_lossy(&path.file_name().unwrap_or_default().to_string_lossy()),
    };
    let host = options.facts.as_deref().map(HostFacts::read).transpose()?;
    let rootless = match &host {
        Some(host) => host.rootless(globals),
        None => load::rootless(globals, globals.cgroup_manager)?,
    };
    let manager = globals.cgroup_manager;
    let request = Request { cgroup_manager: manager, rootless, ..Request::new(&id, path) };
    let loaded = match &host {
        Some(host) => read_config(&request.bundle).map(|(spec, _)| (spec, host.facts.clone())),
        None => load::bundle(Some(&options.bundle), None).map(|bundle| (bundle.spec, bundle.facts)),
    };
    let (spec, facts) = loaded.map_err(|refusal| {
        let facts = || host.as_ref().map_or_else(all_facts, |host| Ok(host.facts.clone()));
        all_faults(refusal, &request.bundle.join(CONFIG), &request, facts)
    })?;
    let mut plan = plan_container(&spec, &facts, &request)?;
    plan.warnings.splice(0..0, spec.warnings.iter().cloned());
    Ok(plan)
}

/// Makes the plan of another bundle for the same host and id, so that only what the bundles say is different.
pub(crate) fn plan_like(
    bundle: &Path,
    first: &Plan,
    options: &options::Plan,
    globals: &Globals,
) -> Result<Plan> {
    let id = Some(first.id.clone());
    plan(&options::Plan { bundle: bundle.to_owned(), id, facts: options.facts.clone() }, globals)
}
