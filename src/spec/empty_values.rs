//! Turns empty strings into `None`. The specification's types are written in Go, where an empty string is the
//! same as none, so engines write both. After this, no reader has to distinguish them.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxResources, Process, Spec};
use serde_json::Value;

use super::config_error::quote;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::tree;

pub(super) fn empty_to_none(spec: &mut Spec, bytes: &[u8], diagnostics: &mut Diagnostics) {
    text(spec.hostname_mut());
    text(spec.domainname_mut());
    if let Some(process) = spec.process_mut() {
        self::process(process);
    }
    for mount in spec.mounts_mut().iter_mut().flatten() {
        text(mount.typ_mut());
        path(mount.source_mut());
    }
    if let Some(linux) = spec.linux_mut() {
        self::linux(linux);
        if let Some(resources) = linux.resources_mut() {
            let at = JsonPointer::ROOT.key("linux");
            self::resources(resources, &at.key("resources"), bytes, diagnostics);
        }
    }
}

pub(super) fn process(process: &mut Process) {
    if process.apparmor_profile().as_deref() == Some("") {
        process.set_apparmor_profile(None);
    }
    if process.selinux_label().as_deref() == Some("") {
        process.set_selinux_label(None);
    }
}

fn linux(linux: &mut Linux) {
    text(linux.rootfs_propagation_mut());
    text(linux.mount_label_mut());
    path(linux.cgroups_path_mut());
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        if namespace.path().as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            namespace.set_path(None);
        }
    }
    if let Some(rdt) = linux.intel_rdt_mut() {
        text(rdt.clos_id_mut());
        text(rdt.l3_cache_schema_mut());
        text(rdt.mem_bw_schema_mut());
    }
    if let Some(seccomp) = linux.seccomp_mut()
        && seccomp.listener_path().as_ref().is_some_and(|path| path.as_os_str().is_empty())
    {
        seccomp.set_listener_path(None);
    }
    for device in linux.net_devices_mut().iter_mut().flatten() {
        text(device.1.name_mut());
    }
}

/// `at` is the place of the resources in the document `bytes`.
pub(super) fn resources(
    resources: &mut LinuxResources,
    at: &JsonPointer<'_>,
    bytes: &[u8],
    diagnostics: &mut Diagnostics,
) {
    if let Some(cpu) = resources.cpu_mut() {
        if cpu.cpus().as_deref() == Some("") {
            cpu.set_cpus(None);
        }
        if cpu.mems().as_deref() == Some("") {
            cpu.set_mems(None);
        }
    }
    for (index, rule) in resources.devices_mut().iter_mut().flatten().enumerate() {
        if let Some(access) = rule.access_mut() {
            access_letters(access, &at.key("devices").item(index).key("access"), diagnostics);
        }
    }
    // The type cannot express "pids without a limit", which keeps the limit, while 0 is the tightest limit.
    let at = at.key("pids");
    if resources.pids().is_some_and(|pids| pids.limit() == 0) && !is_written(bytes, &at.key("limit")) {
        resources.set_pids(None);
    }
}

fn is_written(bytes: &[u8], at: &JsonPointer<'_>) -> bool {
    let value: Result<Value, _> = serde_json::from_slice(bytes);
    value.is_ok_and(|value| tree::find(&value, &at.to_string()).is_some_and(|written| !written.is_null()))
}

/// runc ignores letters that it does not know. The other letters are the access.
fn access_letters(access: &mut String, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let known = |letter: char| "rwm".contains(letter);
    if access.contains(known) && !access.chars().all(known) {
        diagnostics.warn(at, format!("{} has letters other than r, w and m: ignored", quote(&*access)));
        access.retain(known);
    }
}

fn text(value: &mut Option<String>) {
    if value.as_deref() == Some("") {
        *value = None;
    }
}

fn path(value: &mut Option<PathBuf>) {
    if value.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        *value = None;
    }
}
