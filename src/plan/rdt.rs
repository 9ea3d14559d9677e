//! linux.intelRdt: the class of service and the monitoring group, as directories of resctrl with the lines
//! for their files.

use std::path::PathBuf;

use oci_spec::runtime::LinuxIntelRdt;

use crate::container_id::ContainerId;
use crate::host::resctrl::Resctrl;
use crate::spec::ConfigError;

/// Two directories of resctrl, and the lines of a schemata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rdt {
    /// The mounted filesystem.
    pub root: PathBuf,
    pub class: PathBuf,
    pub existence: Existence,
    /// The lines to write, in this order; empty for a class that is used unchanged.
    pub schemata: Vec<String>,
    /// How many of the lines an existing class must agree with.
    pub compared: usize,
    pub monitor: Option<PathBuf>,
}

/// Who owns the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// The container: the class is removed with it, if it was made for it.
    Own,
    /// Somebody else, by name. A missing class is made.
    Shared,
    /// Somebody else, by name. The class must exist.
    Required,
}

/// Plans the class and the monitoring group of the container `id`.
///
/// # Errors
/// A field that this host does not support.
pub fn plan_rdt(
    spec: Option<&LinuxIntelRdt>,
    resctrl: Option<&Resctrl>,
    id: &ContainerId,
) -> Result<Option<Rdt>, ConfigError> {
    let Some(spec) = spec else { return Ok(None) };
    let error = |field: &str, why: &str| ConfigError::new(format!("/linux/intelRdt{field}"), why);
    let resctrl =
        resctrl.ok_or_else(|| error("", "intelRdt is specified in config, but Intel RDT is not enabled"))?;
    let line = |line: &Option<String>| line.clone().filter(|line| !line.is_empty());
    let (cache, bandwidth) = (line(spec.l3_cache_schema()), line(spec.mem_bw_schema()));
    if cache.is_some() && !resctrl.cache {
        let why = "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled";
        return Err(error("/l3CacheSchema", why));
    }
    if bandwidth.is_some() && !resctrl.bandwidth {
        let why = "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled";
        return Err(error("/memBwSchema", why));
    }
    let mut schemata: Vec<String> = cache.into_iter().chain(bandwidth).collect();
    let compared = schemata.len();
    schemata.extend(spec.schemata().iter().flatten().filter(|line| !line.is_empty()).cloned());
    let class = spec.clos_id().as_deref().filter(|class| !class.is_empty());
    let existence = match (class, schemata.is_empty()) {
        (None, _) => Existence::Own,
        (Some(_), true) => Existence::Required,
        (Some(_), false) => Existence::Shared,
    };
    // "/" is the root: the class of every process. The rules allow no other slash.
    let class = resctrl.root.join(class.unwrap_or(id.as_str()).trim_start_matches('/'));
    let monitor =
        spec.enable_monitoring().unwrap_or(false).then(|| class.join("mon_groups").join(id.as_str()));
    Ok(Some(Rdt { root: resctrl.root.clone(), class, existence, schemata, compared, monitor }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: serde_json::Value) -> Result<Option<Rdt>, ConfigError> {
        let resctrl = Resctrl { root: "/sys/fs/resctrl".into(), cache: true, bandwidth: false };
        plan_rdt(
            Some(&serde_json::from_value(json).unwrap()),
            Some(&resctrl),
            &ContainerId::parse("id").unwrap(),
        )
    }

    #[test]
    fn the_class_is_the_containers_own_or_somebodys() {
        let rows = [
            (serde_json::json!({}), "/sys/fs/resctrl/id", Existence::Own),
            (serde_json::json!({"l3CacheSchema": "L3:0=f"}), "/sys/fs/resctrl/id", Existence::Own),
            (serde_json::json!({"closID": "gold"}), "/sys/fs/resctrl/gold", Existence::Required),
            (serde_json::json!({"closID": "/"}), "/sys/fs/resctrl/", Existence::Required),
            (
                serde_json::json!({"closID": "gold", "schemata": ["L3:0=f"]}),
                "/sys/fs/resctrl/gold",
                Existence::Shared,
            ),
        ];
        for (json, class, existence) in rows {
            let plan = plan(json).unwrap().unwrap();
            assert_eq!((plan.class, plan.existence), (class.into(), existence));
        }
    }

    #[test]
    fn lines_have_the_order_of_the_specification() {
        let json = serde_json::json!({"schemata": ["L2:0=1", "MB:0=20"], "l3CacheSchema": "L3:0=f",
            "enableMonitoring": true, "closID": "gold"});
        let plan = plan(json).unwrap().unwrap();
        assert_eq!((plan.schemata.join(" "), plan.compared), ("L3:0=f L2:0=1 MB:0=20".into(), 1));
        assert_eq!(plan.monitor, Some("/sys/fs/resctrl/gold/mon_groups/id".into()));
    }

    #[test]
    fn what_the_host_lacks_is_refused() {
        let why = plan(serde_json::json!({"memBwSchema": "MB:0=20"})).unwrap_err().message;
        assert_eq!(why, "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled");
        let why = plan_rdt(Some(&LinuxIntelRdt::default()), None, &ContainerId::parse("id").unwrap())
            .unwrap_err()
            .message;
        assert_eq!(why, "intelRdt is specified in config, but Intel RDT is not enabled");
        assert_eq!(plan_rdt(None, None, &ContainerId::parse("id").unwrap()), Ok(None));
    }
}
