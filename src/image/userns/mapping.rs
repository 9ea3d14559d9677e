//! Without privileges: a user namespace for the container, and what else must then be otherwise in config.json.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which ids of the host the container's ids are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub uids: Vec<Range>,
    pub gids: Vec<Range>,
}

/// `size` ids from `inner` in the container, from `host` outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub inner: u32,
    pub host: u32,
    pub size: u32,
}

impl Mapping {
    /// The same ids, for a namespace inside the one that has them.
    pub fn within(&self) -> Self {
        let all = |ranges: &[Range]| {
            let one = |range: &Range| Range { inner: range.inner, host: range.inner, size: range.size };
            ranges.iter().map(one).collect()
        };
        Self { uids: all(&self.uids), gids: all(&self.gids) }
    }

    /// Changes config.json for a container that root runs in a user namespace: nothing but that namespace.
    pub fn map(&self, runtime: &mut Value) {
        let linux = &mut runtime["linux"];
        if let Some(namespaces) = linux["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "user" }));
        }
        linux["uidMappings"] = listed(&self.uids);
        linux["gidMappings"] = listed(&self.gids);
        self.drop_options(runtime);
    }

    /// Takes mount options away that name ids outside the mapping.
    fn drop_options(&self, runtime: &mut Value) {
        for mount in runtime["mounts"].as_array_mut().into_iter().flatten() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| !option.as_str().is_some_and(|option| self.is_outside(option)));
            }
        }
    }

    /// Changes config.json as `runc spec --rootless` does: own user namespace, the host's network, /sys from the host
    /// because sysfs belongs to the network's owner, no options that name ids outside the mapping, no resources.
    pub fn apply(&self, runtime: &mut Value) {
        self.map(runtime);
        let linux = &mut runtime["linux"];
        if let Some(namespaces) = linux["namespaces"].as_array_mut() {
            namespaces.retain(|one| one["type"] != "network");
        }
        if let Some(linux) = linux.as_object_mut() {
            linux.remove("resources");
        }
        let Some(mounts) = runtime["mounts"].as_array_mut() else { return };
        mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|path| path.starts_with("/sys")));
        let sys = ["rbind", "nosuid", "noexec", "nodev", "ro"];
        mounts.push(json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": sys }));
    }

    /// Whether a mount option names an id that the container has not.
    fn is_outside(&self, option: &str) -> bool {
        let outside = |ranges: &[Range], id: &str| {
            let has = |id: u32| ranges.iter().any(|range| id >= range.inner && id - range.inner < range.size);
            id.parse().is_ok_and(|id| !has(id))
        };
        option.strip_prefix("uid=").is_some_and(|id| outside(&self.uids, id))
            || option.strip_prefix("gid=").is_some_and(|id| outside(&self.gids, id))
    }
}

fn listed(ranges: &[Range]) -> Value {
    let one = |range: &Range| json!({ "containerID": range.inner, "hostID": range.host, "size": range.size });
    ranges.iter().map(one).collect()
}
