//! Changes values that engines write and runc and crun accept, but the `oci-spec` types refuse. It works on
//! the tree of values, after the fast pass has failed.
//!
//! Go reads both `null` and a missing member as the zero value; names of capabilities become more with the
//! kernel; the crate misspells two scheduler flags and limits a hugepage limit to an i64.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::capability;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::tree::{default, find, items_mut, member, member_mut, remove};

pub(super) fn config(value: &mut Value, diagnostics: &mut Diagnostics) {
    drop_nulls(value);
    if let Some(process) = member_mut(value, "process") {
        self::process(process, &JsonPointer::ROOT.key("process"), diagnostics);
    }
    for mount in items_mut(value, "/mounts") {
        default(mount, "destination", json!(""));
    }
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        for hook in items_mut(value, &format!("/hooks/{kind}")) {
            default(hook, "path", json!(""));
        }
    }
    if let Some(linux) = member_mut(value, "linux") {
        self::linux(linux);
    }
}

/// Changes the file of `exec --process`: a process alone.
pub(super) fn process_document(value: &mut Value, diagnostics: &mut Diagnostics) {
    drop_nulls(value);
    process(value, &JsonPointer::ROOT, diagnostics);
}

/// Changes the file of `update --resources`: resources alone.
pub(super) fn resources_document(value: &mut Value) {
    drop_nulls(value);
    resources(value);
}

/// Removes members that are `null`: to Go they are the same as missing ones. The parser bounds the depth.
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

fn process(process: &mut Value, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    default(process, "user", json!({}));
    // An empty string makes the later checks report the missing member.
    default(process, "cwd", json!(""));
    items_mut(process, "/rlimits").for_each(|limit| default(limit, "type", json!("")));
    if let Some(scheduler) = member_mut(process, "scheduler") {
        default(scheduler, "policy", json!(""));
    }
    if let Some(sets) = member_mut(process, "capabilities") {
        capabilities(sets, &at.key("capabilities"), diagnostics);
    }
    for flag in items_mut(process, "/scheduler/flags") {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
            _ => {}
        }
    }
}

/// More names than there are capabilities. A suggestion for each of very many would take minutes.
const MOST_SHOWN: usize = 64;

/// A name that this build does not know exactly grants nothing. That is a warning, and no error (by the
/// specification, the runtime logs a warning for names that it cannot map).
fn capabilities(sets: &mut Value, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    // Each name with the places where it stands.
    let mut unknown = BTreeMap::<String, Vec<String>>::new();
    for (name, set) in sets.as_object_mut().into_iter().flatten() {
        let mut index = 0;
        set.as_array_mut().into_iter().for_each(|set| {
            set.retain(|entry| {
                index += 1;
                // The types refuse what is no string.
                let Some(text) = entry.as_str() else { return true };
                let known = capability::parse_exact(text).is_some();
                if !known {
                    unknown.entry(text.to_owned()).or_default().push(format!("{name}/{}", index - 1));
                }
                known
            });
        });
    }
    if !unknown.is_empty() {
        let shown = |(name, places): (&String, &Vec<String>)| {
            format!("{} at {}", capability::quote_with_suggestion(name), places.join(", "))
        };
        let mut names: Vec<String> = unknown.iter().take(MOST_SHOWN).map(shown).collect();
        if unknown.len() > MOST_SHOWN {
            names.push(format!("and {} more", unknown.len() - MOST_SHOWN));
        }
        diagnostics.warn(at, format!("ignoring unknown or unavailable capabilities: {}", names.join("; ")));
    }
}

fn linux(linux: &mut Value) {
    for array in ["/namespaces", "/devices"] {
        items_mut(linux, array).for_each(|item| default(item, "type", json!("")));
    }
    for (object, word) in [("memoryPolicy", "mode"), ("personality", "domain")] {
        if let Some(object) = member_mut(linux, object) {
            default(object, word, json!(""));
        }
    }
    if let Some(resources) = member_mut(linux, "resources") {
        self::resources(resources);
    }
    if member(linux, "seccomp").is_some_and(says_nothing) {
        remove(linux, "seccomp");
    }
    if let Some(seccomp) = member_mut(linux, "seccomp") {
        self::seccomp(seccomp);
    }
}

fn resources(resources: &mut Value) {
    for limit in
        items_mut(resources, "/hugepageLimits").filter_map(|hugepages| member_mut(hugepages, "limit"))
    {
        // No machine has so many pages, so this is the same as no limit.
        if limit.as_u64().is_some_and(|limit| i64::try_from(limit).is_err()) {
            *limit = json!(i64::MAX);
        }
    }
}

/// Whether a profile has no default action and no rules: to Go this is no profile.
fn says_nothing(seccomp: &Value) -> bool {
    let empty = |pointer| match find(seccomp, pointer) {
        None => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    seccomp.is_object() && empty("/defaultAction") && empty("/syscalls")
}

fn seccomp(seccomp: &mut Value) {
    default(seccomp, "defaultAction", json!(""));
    for syscall in items_mut(seccomp, "/syscalls") {
        default(syscall, "names", json!([]));
        default(syscall, "action", json!(""));
        for argument in items_mut(syscall, "/args") {
            default(argument, "index", json!(0));
            default(argument, "value", json!(0));
            default(argument, "op", json!(""));
        }
    }
}
