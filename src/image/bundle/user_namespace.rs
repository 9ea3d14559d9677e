//! Changes config.json for a container in a user namespace.

use serde_json::{Value, json};

use crate::image::userns::mapping::{IdMapping, IdRange};

/// Adds a user namespace with `mapping`, for a container that root runs, and drops the mount options that
/// name ids outside the mapping.
pub(super) fn add_user_namespace(runtime: &mut Value, mapping: &IdMapping) {
    let linux = &mut runtime["linux"];
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.push(json!({ "type": "user" }));
    }
    linux["uidMappings"] = mappings_json(&mapping.uids);
    linux["gidMappings"] = mappings_json(&mapping.gids);
    drop_unmapped_options(runtime, mapping);
}

/// Changes config.json as `runc spec --rootless` does: a user namespace, the host's network, /sys bound from
/// the host because a new sysfs belongs to the owner of the network namespace, and no resources.
pub(super) fn make_rootless(runtime: &mut Value, mapping: &IdMapping) {
    add_user_namespace(runtime, mapping);
    let linux = &mut runtime["linux"];
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    let Some(mounts) = runtime["mounts"].as_array_mut() else { return };
    mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|path| path.starts_with("/sys")));
    let sys = ["rbind", "nosuid", "noexec", "nodev", "ro"];
    mounts.push(json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": sys }));
}

/// Drops mount options that name ids which the container does not have.
fn drop_unmapped_options(runtime: &mut Value, mapping: &IdMapping) {
    for mount in runtime["mounts"].as_array_mut().into_iter().flatten() {
        if let Some(options) = mount["options"].as_array_mut() {
            options
                .retain(|option| !option.as_str().is_some_and(|option| names_unmapped_id(option, mapping)));
        }
    }
}

fn names_unmapped_id(option: &str, mapping: &IdMapping) -> bool {
    let is_unmapped = |id: &str, has: &dyn Fn(u32) -> bool| id.parse().is_ok_and(|id| !has(id));
    option.strip_prefix("uid=").is_some_and(|id| is_unmapped(id, &|id| mapping.has_uid(id)))
        || option.strip_prefix("gid=").is_some_and(|id| is_unmapped(id, &|id| mapping.has_gid(id)))
}

/// The ranges as config.json lists them (runtime-spec, config-linux.md, "User namespace mappings").
fn mappings_json(ranges: &[IdRange]) -> Value {
    let to_json =
        |range: &IdRange| json!({ "containerID": range.inner, "hostID": range.host, "size": range.size });
    ranges.iter().map(to_json).collect()
}
