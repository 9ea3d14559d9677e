//! Rules for `linux`, and the way to those of its objects.

use oci_spec::runtime::{Linux, LinuxNamespace};

use super::fault::{At, Faults, quote};
use super::resources;

const PROPAGATION: &[&str] =
    &["shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"];

pub(super) fn rules(linux: &Linux, at: &At<'_>, faults: &mut Faults) {
    namespaces(linux.namespaces().as_deref().unwrap_or_default(), &at.key("namespaces"), faults);
    if let Some(word) = linux.rootfs_propagation().as_deref().filter(|word| !PROPAGATION.contains(word)) {
        faults
            .add(&at.key("rootfsPropagation"), format!("rootfsPropagation={} is not supported", quote(word)));
    }
    for (name, paths) in [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())] {
        absolute(paths.as_deref().unwrap_or_default(), &at.key(name), faults);
    }
    if let Some(wanted) = linux.resources() {
        resources::rules(wanted, &at.key("resources"), faults);
    }
}

fn namespaces(namespaces: &[LinuxNamespace], at: &At<'_>, faults: &mut Faults) {
    for (index, namespace) in namespaces.iter().enumerate() {
        let at = at.item(index);
        if namespaces[..index].iter().any(|before| before.typ() == namespace.typ()) {
            faults.add(
                &at.key("type"),
                format!("malformed spec file: duplicated ns {:?}", namespace.typ().to_string()),
            );
        }
        if namespace.path().as_ref().is_some_and(|path| !path.is_absolute()) {
            faults.add(&at.key("path"), "must be an absolute path");
        }
    }
}

fn absolute(paths: &[String], at: &At<'_>, faults: &mut Faults) {
    for (index, path) in paths.iter().enumerate().filter(|(_, path)| !path.starts_with('/')) {
        faults.add(&at.item(index), format!("{} is not an absolute path", quote(path)));
    }
}
