//! What engines write, and runc and crun read, but the `oci-spec` types refuse: changed here, in the tree of
//! values, after the fast pass has failed. The happy path never comes here.
//!
//! Go reads `null` and a missing member alike as the zero value; names of capabilities grow with the kernel; the
//! crate misspells two scheduler flags and bounds a hugepage limit to an i64.

use oci_spec::runtime::Capability;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::cpuset;
use super::fault::{At, Faults, quote};

/// Members for other systems, and two that the crate alone has: what they hold is no concern of ours.
const FOREIGN: &[&str] = &["freebsd", "solaris", "vm", "windows", "zos", "uidMappings", "gidMappings"];

pub(super) fn config(value: &mut Value, faults: &mut Faults) {
    if let Some(members) = value.as_object_mut() {
        members.retain(|name, _| !FOREIGN.contains(&name.as_str()));
    }
    drop_nulls(value);
    if let Some(process) = value.get_mut("process") {
        self::process(process, &At::ROOT.key("process"), faults);
    }
    for mount in items(value.pointer_mut("/mounts")) {
        default(mount, "destination", json!(""));
    }
    if let Some(linux) = value.get_mut("linux") {
        self::linux(linux);
    }
}

/// The file of `exec --process`: a process alone.
pub(super) fn process_document(value: &mut Value, faults: &mut Faults) {
    drop_nulls(value);
    process(value, &At::ROOT, faults);
}

/// To Go, `null` is as good as absent. Depth is bounded by the parser.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn process(process: &mut Value, at: &At<'_>, faults: &mut Faults) {
    default(process, "user", json!({}));
    // The rules say what an empty one means.
    default(process, "cwd", json!(""));
    if let Some(Value::Object(sets)) = process.get_mut("capabilities") {
        capabilities(sets, &at.key("capabilities"), faults);
    }
    for flag in items(process.pointer_mut("/scheduler/flags")) {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
            _ => {}
        }
    }
    if let Some(Value::Object(affinity)) = process.get_mut("execCPUAffinity") {
        for name in ["initial", "final"] {
            cpu_list(affinity, name);
        }
    }
}

/// An empty list is no list, and spaces or extra commas do not matter.
fn cpu_list(affinity: &mut Map<String, Value>, name: &str) {
    let list = affinity.get(name).and_then(Value::as_str);
    match list.map(cpuset::ranges) {
        Some(Ok(ranges)) if ranges.is_empty() => drop(affinity.remove(name)),
        Some(Ok(ranges)) => drop(affinity.insert(name.to_owned(), json!(cpuset::print(&ranges)))),
        Some(Err(_)) | None => {}
    }
}

/// A capability that this build does not know cannot be granted: said once, not fatal (the specification: the
/// runtime logs a warning for those it cannot map).
fn capabilities(sets: &mut Map<String, Value>, at: &At<'_>, faults: &mut Faults) {
    let mut unknown = Vec::<String>::new();
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.retain(|name| {
            // What is no string is left for the types to refuse.
            let Some(text) = name.as_str() else { return true };
            let known = Capability::deserialize(name).is_ok();
            if !known && !unknown.iter().any(|seen| seen == text) {
                unknown.push(text.to_owned());
            }
            known
        });
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(quote).collect();
        faults.warn(at, format!("ignoring unknown or unavailable capabilities: {}", names.join(", ")));
    }
}

fn linux(linux: &mut Value) {
    for hugepages in items(linux.pointer_mut("/resources/hugepageLimits")) {
        // More than any machine has pages: the same as no limit.
        if hugepages.get("limit").and_then(Value::as_u64).is_some_and(|limit| i64::try_from(limit).is_err()) {
            hugepages["limit"] = json!(i64::MAX);
        }
    }
    let disabled = linux.get("seccomp").is_some_and(|seccomp| {
        seccomp.is_object() && empty(seccomp, "defaultAction") && empty(seccomp, "syscalls")
    });
    if disabled && let Some(members) = linux.as_object_mut() {
        members.remove("seccomp");
    }
    for syscall in items(linux.pointer_mut("/seccomp/syscalls")) {
        default(syscall, "names", json!([]));
        for argument in items(syscall.get_mut("args")) {
            default(argument, "index", json!(0));
            default(argument, "value", json!(0));
        }
    }
}

fn empty(object: &Value, name: &str) -> bool {
    match object.get(name) {
        None => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn items(value: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    value.and_then(Value::as_array_mut).into_iter().flatten()
}

fn default(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.entry(name).or_insert(value);
    }
}
