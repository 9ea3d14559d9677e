//! What is written down and still not given. Go, in which the specification's types are written, cannot tell an
//! empty string from none, so engines write both: here both become `None`, and no reader has to think of it.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, Process, Spec};

pub(super) fn settle(spec: &mut Spec, bytes: &[u8]) {
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
        self::linux(linux, bytes);
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

fn linux(linux: &mut Linux, bytes: &[u8]) {
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
    for device in linux.net_devices_mut().iter_mut().flatten() {
        text(device.1.name_mut());
    }
    resources(linux, bytes);
}

fn resources(linux: &mut Linux, bytes: &[u8]) {
    let Some(resources) = linux.resources_mut() else { return };
    if let Some(cpu) = resources.cpu_mut() {
        if cpu.cpus().as_deref() == Some("") {
            cpu.set_cpus(None);
        }
        if cpu.mems().as_deref() == Some("") {
            cpu.set_mems(None);
        }
    }
    // The type cannot say "pids without a limit", which leaves the limit alone, where 0 is the tightest there is.
    if resources.pids().is_some_and(|pids| pids.limit() == 0) && !pids_limit_is_written(bytes) {
        resources.set_pids(None);
    }
}

fn pids_limit_is_written(bytes: &[u8]) -> bool {
    let value: Result<serde_json::Value, _> = serde_json::from_slice(bytes);
    value
        .is_ok_and(|value| value.pointer("/linux/resources/pids/limit").is_some_and(|limit| !limit.is_null()))
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
