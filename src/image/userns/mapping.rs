//! Without privileges: a user namespace for the container, and what else must then be otherwise in config.json.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Kind, Result};
use crate::fail;

/// Which ids of the host the container's ids are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMapping {
    pub(crate) uids: Vec<IdRange>,
    pub(crate) gids: Vec<IdRange>,
}

/// `size` ids from `inner` in the container, from `host` outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdRange {
    pub(crate) inner: u32,
    pub(crate) host: u32,
    pub(crate) size: u32,
}

impl IdMapping {
    /// The ids of the host that these ids of the container are mapped to.
    ///
    /// # Errors
    ///
    /// `Kind::Unsupported` for an id outside the mapping.
    pub(crate) fn to_host(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        Ok((to_host(&self.uids, uid, "user")?, to_host(&self.gids, gid, "group")?))
    }

    /// The ids of the container that are mapped to these ids of the host. An id outside the mapping is returned as it is.
    pub(crate) fn to_container(&self, uid: u32, gid: u32) -> (u32, u32) {
        (to_container(&self.uids, uid), to_container(&self.gids, gid))
    }

    /// The same ids, for a namespace inside the one that has them.
    pub(crate) fn within(&self) -> Self {
        let all = |ranges: &[IdRange]| {
            let one = |range: &IdRange| IdRange { inner: range.inner, host: range.inner, size: range.size };
            ranges.iter().map(one).collect()
        };
        Self { uids: all(&self.uids), gids: all(&self.gids) }
    }

    /// Changes config.json for a container that root runs in a user namespace: nothing but that namespace.
    pub(crate) fn map(&self, runtime: &mut Value) {
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
    pub(crate) fn apply(&self, runtime: &mut Value) {
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
        let outside = |ranges: &[IdRange], id: &str| {
            let has = |id: u32| ranges.iter().any(|range| id >= range.inner && id - range.inner < range.size);
            id.parse().is_ok_and(|id| !has(id))
        };
        option.strip_prefix("uid=").is_some_and(|id| outside(&self.uids, id))
            || option.strip_prefix("gid=").is_some_and(|id| outside(&self.gids, id))
    }
}

fn listed(ranges: &[IdRange]) -> Value {
    let one =
        |range: &IdRange| json!({ "containerID": range.inner, "hostID": range.host, "size": range.size });
    ranges.iter().map(one).collect()
}

fn to_host(ranges: &[IdRange], id: u32, what: &str) -> Result<u32> {
    let range = ranges.iter().find(|range| id >= range.inner && id - range.inner < range.size);
    let range = range.ok_or_else(|| {
        let last = ranges.iter().map(|range| range.inner + (range.size - 1)).max().unwrap_or(0);
        fail!(Kind::Unsupported, "the image has {what} id {id}, the mapping goes to {last}")
    })?;
    Ok(range.host + (id - range.inner))
}

fn to_container(ranges: &[IdRange], id: u32) -> u32 {
    let range = ranges.iter().find(|range| id >= range.host && id - range.host < range.size);
    range.map_or(id, |range| range.inner + (id - range.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_there_and_back() {
        let ranges =
            vec![IdRange { inner: 0, host: 1000, size: 1 }, IdRange { inner: 1, host: 100_000, size: 65536 }];
        let mapping = IdMapping { uids: ranges.clone(), gids: ranges };
        assert_eq!(mapping.to_host(0, 5).unwrap(), (1000, 100_004));
        assert_eq!(mapping.to_container(1000, 100_004), (0, 5));
        let error = mapping.to_host(65537, 0).unwrap_err().to_string();
        assert_eq!(error, "the image has user id 65537, the mapping goes to 65536");
    }
}
