//! Rules for `linux`, which call those of its objects. Seccomp has none here: the plan compiles it.

use std::collections::HashMap;

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxPersonality, LinuxTimeOffset};

use super::config_error::quote;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::{devices, mappings, memory_policy, net_devices, rdt, resources, spelling};

const PROPAGATION: &[&str] =
    &["shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"];

pub(super) fn rules(linux: &Linux, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    namespaces(linux.namespaces().as_deref().unwrap_or_default(), &at.key("namespaces"), diagnostics);
    mappings::rules(linux.uid_mappings().as_deref().unwrap_or_default(), &at.key("uidMappings"), diagnostics);
    mappings::rules(linux.gid_mappings().as_deref().unwrap_or_default(), &at.key("gidMappings"), diagnostics);
    time_offsets(linux.time_offsets().as_ref(), &at.key("timeOffsets"), diagnostics);
    propagation(linux, &at.key("rootfsPropagation"), diagnostics);
    absolute(linux.masked_paths().as_deref().unwrap_or_default(), &at.key("maskedPaths"), diagnostics);
    absolute(linux.readonly_paths().as_deref().unwrap_or_default(), &at.key("readonlyPaths"), diagnostics);
    devices::rules(linux.devices().as_deref().unwrap_or_default(), &at.key("devices"), diagnostics);
    net_devices::rules(linux.net_devices().as_ref(), &at.key("netDevices"), diagnostics);
    if let Some(wanted) = linux.resources() {
        resources::rules(wanted, &at.key("resources"), diagnostics);
    }
    if let Some(wanted) = linux.intel_rdt() {
        rdt::rules(wanted, &at.key("intelRdt"), diagnostics);
    }
    if let Some(wanted) = linux.memory_policy() {
        memory_policy::rules(wanted, &at.key("memoryPolicy"), diagnostics);
    }
    if let Some(wanted) = linux.personality() {
        personality(wanted, &at.key("personality"), diagnostics);
    }
}

fn namespaces(namespaces: &[LinuxNamespace], at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (index, namespace) in namespaces.iter().enumerate() {
        let at = at.item(index);
        if namespaces[..index].iter().any(|before| before.typ() == namespace.typ()) {
            let name = format!("{:?}", namespace.typ()).to_lowercase();
            diagnostics.error(&at.key("type"), format!("malformed spec file: duplicated ns {name:?}"));
        }
        if namespace.path().as_ref().is_some_and(|path| !path.is_absolute()) {
            diagnostics.error(&at.key("path"), "must be an absolute path");
        }
    }
}

fn time_offsets(
    offsets: Option<&HashMap<String, LinuxTimeOffset>>,
    at: &JsonPointer<'_>,
    diagnostics: &mut Diagnostics,
) {
    let mut offsets: Vec<_> = offsets.into_iter().flatten().collect();
    offsets.sort_unstable_by_key(|(clock, _)| *clock);
    for (clock, offset) in offsets {
        let at = at.key(clock);
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            diagnostics.error(
                &at,
                format!("{} is no clock with an offset: monotonic and boottime are", quote(clock)),
            );
        }
        if offset.nanosecs().is_some_and(|nanosecs| nanosecs >= 1_000_000_000) {
            diagnostics.error(&at.key("nanosecs"), "must be less than a second");
        }
    }
}

fn propagation(linux: &Linux, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if let Some(word) = linux.rootfs_propagation().as_deref().filter(|word| !PROPAGATION.contains(word)) {
        let hint = spelling::hint(spelling::nearest(word, PROPAGATION.iter().copied()));
        diagnostics
            .error(at, format!("rootfsPropagation={} is not supported{hint}", quote(word).trim_matches('"')));
    }
}

fn absolute(paths: &[String], at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (index, path) in paths.iter().enumerate().filter(|(_, path)| !path.starts_with('/')) {
        diagnostics.error(&at.item(index), format!("{} is not an absolute path", quote(path)));
    }
}

fn personality(personality: &LinuxPersonality, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    // The specification defines no flag yet.
    if let Some(flags) = personality.flags().as_ref().filter(|flags| !flags.is_empty()) {
        let names: Vec<String> = flags.iter().map(quote).collect();
        diagnostics
            .warn(&at.key("flags"), format!("ignoring unsupported personality flags: {}", names.join(", ")));
    }
}
