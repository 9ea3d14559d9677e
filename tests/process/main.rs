//! The container's process as it finds itself: namespaces, identity, rights, limits, surroundings.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod capabilities;
mod confinement;
mod guest;
mod identity;
mod joined;
mod limits;
mod namespaces;
mod seccomp;
mod signals;
mod time;
mod users;

use serde_json::json;
use support::Bundle;

/// A line of /proc/self/status, by its name, as the container's process has it.
#[track_caller]
fn status(bundle: &mut Bundle, name: &str) -> String {
    let script = format!("sed -n 's/^{name}:[ \\t]*//p' /proc/self/status");
    bundle.output_of(&script).trim().to_owned()
}

/// The process is this user of the container.
fn user(bundle: &mut Bundle, uid: u32, gid: u32, groups: &[u32]) {
    bundle.patch(|config| {
        config["process"]["user"] = json!({"uid": uid, "gid": gid, "additionalGids": groups});
    });
}
