//! Gives the reason for each member of config.json that `unpack` writes.

use oci_spec::image::{Config, ImageConfiguration};
use serde_json::Value;

use crate::image::bundle::config;
use crate::image::bundle::user::User;

/// A member of config.json, and why it has its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// A JSON pointer.
    pub(crate) pointer: String,
    pub(crate) value: Value,
    pub(crate) why: String,
}

/// The reasons for all members that `unpack` writes for this image without further options.
pub(crate) fn reasons(image: &ImageConfiguration) -> Vec<Reason> {
    let runtime = config::runtime(image, &User::default());
    let mut reasons = Vec::new();
    for (pointer, why) in reason_table(image) {
        let Some(value) = runtime.pointer(&pointer) else { continue };
        let value = match pointer.as_str() {
            "/process/user" => Value::from(config::user(image)),
            _ => value.clone(),
        };
        reasons.push(Reason { pointer, value, why });
    }
    reasons
}

/// The reasons by JSON pointer. A pointer may be one that this image's config.json does not have.
fn reason_table(image: &ImageConfiguration) -> Vec<(String, String)> {
    let mut table: Vec<(String, String)> = Vec::new();
    let mut add = |pointer: &str, why: &str| table.push((pointer.into(), why.into()));
    add("/ociVersion", "the oldest version of the specification that has all that is written");
    add("/process/terminal", "a terminal is asked for with --tty");
    add("/process/user", user(image));
    add("/process/args", args(image));
    add("/process/env", env(image));
    add("/process/cwd", cwd(image));
    add(
        "/process/capabilities",
        "what Podman gives: enough for package managers and services, none for raw sockets or devices; nothing is inheritable or ambient",
    );
    add("/process/noNewPrivileges", "setuid programs of the image gain nothing");
    add("/root", "where the layers are");
    for (number, (destination, why)) in mounts(image).into_iter().enumerate() {
        add(&format!("/mounts/{number}"), &format!("{destination}: {why}"));
    }
    let runtime = config::runtime(image, &User::default());
    for key in runtime["annotations"].as_object().into_iter().flat_map(|all| all.keys()) {
        let pointer = format!("/annotations/{}", key.replace('~', "~0").replace('/', "~1"));
        add(&pointer, annotation(image, key));
    }
    add("/linux/namespaces", "of its own: all but the user namespace, which needs a mapping (--rootless)");
    add(
        "/linux/resources",
        "no device but those that every container has; no limits, which the host decides",
    );
    add("/linux/maskedPaths", "what containerd masks: they tell about the host, or act on it");
    add("/linux/readonlyPaths", "what containerd makes read-only: writing there acts on the host");
    add(
        "/linux/seccomp",
        "the system calls that programs need, by a list of our own; --seccomp FILE|none replaces it",
    );
    table
}

fn image_config(image: &ImageConfiguration) -> Option<&Config> {
    image.config().as_ref()
}

fn user(image: &ImageConfiguration) -> &'static str {
    let text = config::user(image);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once(':') {
        _ if text.is_empty() => "the image's User is not set: root",
        Some((user, group)) if is_number(user) && is_number(group) => {
            "the image's User, both ids as they stand"
        }
        None if is_number(text) => {
            "the image's User, its id as it stands; the group from the image's /etc/passwd, else 0; no further groups"
        }
        Some(_) => "the image's User; names are looked up in the image's /etc/passwd and /etc/group",
        None => {
            "the image's User, looked up in the image's /etc/passwd; further groups from the image's /etc/group"
        }
    }
}

fn args(image: &ImageConfiguration) -> &'static str {
    let has = |words: Option<&Option<Vec<String>>>| {
        words.and_then(Option::as_ref).is_some_and(|words| !words.is_empty())
    };
    match (has(image_config(image).map(Config::entrypoint)), has(image_config(image).map(Config::cmd))) {
        (true, true) => "the image's Entrypoint, then its Cmd",
        (true, false) => "the image's Entrypoint",
        (false, true) => "the image's Cmd",
        (false, false) => "the image has neither Entrypoint nor Cmd",
    }
}

fn env(image: &ImageConfiguration) -> &'static str {
    let env = image_config(image).and_then(|config| config.env().as_ref());
    match env.is_some_and(|env| env.iter().any(|variable| variable.starts_with("PATH="))) {
        true => "the image's Env, as it stands",
        false => "the image's Env, with a PATH first, because it has none",
    }
}

fn cwd(image: &ImageConfiguration) -> &'static str {
    match image_config(image).and_then(|config| config.working_dir().as_deref()) {
        None | Some("") => "the image's WorkingDir is not set",
        Some(dir) if dir.starts_with('/') => "the image's WorkingDir; made where it is missing",
        Some(_) => "the image's WorkingDir, which is relative and means the root's; made where it is missing",
    }
}

fn mounts(image: &ImageConfiguration) -> Vec<(String, &'static str)> {
    let always = [
        ("/proc", "processes, of the container's own"),
        ("/dev", "few devices, of the container's own; nothing of the host's"),
        ("/dev/pts", "terminals of the container's own"),
        ("/dev/shm", "shared memory, limited"),
        ("/dev/mqueue", "message queues, of the container's own"),
        ("/sys", "read-only: the network's part of it is the container's own"),
        ("/sys/fs/cgroup", "read-only: the container sees its limits and changes none"),
    ];
    let mut all: Vec<(String, &'static str)> = always.map(|(path, why)| (path.to_owned(), why)).to_vec();
    let volume =
        "one of the image's Volumes: in memory, begun with what the image has there; --volume replaces it";
    all.extend(config::volumes(image).into_iter().map(|path| (path, volume)));
    all
}

fn annotation(image: &ImageConfiguration, key: &str) -> &'static str {
    let labels = image_config(image).and_then(|config| config.labels().as_ref());
    if labels.is_some_and(|labels| labels.contains_key(key)) {
        return "a label of the image";
    }
    match key.strip_prefix("org.opencontainers.image.") {
        Some("stopSignal") => "the image's StopSignal",
        Some("exposedPorts") => "the image's ExposedPorts",
        _ => "the image's configuration says so",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::bundle::config::image;
    use serde_json::json;

    /// Adds the members at or below `pointer` that have no reason.
    fn collect_uncovered(value: &Value, pointer: &str, reasons: &[Reason], found: &mut Vec<String>) {
        if reasons.iter().any(|reason| reason.pointer == pointer) {
            return;
        }
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, value) in members {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    collect_uncovered(value, &format!("{pointer}/{key}"), reasons, found);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (number, value) in items.iter().enumerate() {
                    collect_uncovered(value, &format!("{pointer}/{number}"), reasons, found);
                }
            }
            _ => found.push(pointer.to_owned()),
        }
    }

    #[test]
    fn every_member_of_the_configuration_has_a_reason() {
        for config in [
            json!({}),
            json!({ "Volumes": { "/b": {}, "/a": {} }, "Labels": { "a/b~c": "d" }, "StopSignal": "SIGQUIT", "User": "a:1" }),
        ] {
            let image = image(&config);
            let reasons = reasons(&image);
            let mut found = Vec::new();
            collect_uncovered(&config::runtime(&image, &User::default()), "", &reasons, &mut found);
            assert_eq!(found, [""; 0]);
            for reason in reasons.iter().filter(|reason| reason.pointer.starts_with("/mounts/")) {
                let destination = reason.value["destination"].as_str().unwrap();
                assert!(reason.why.starts_with(&format!("{destination}: ")), "{reason:?}");
            }
        }
    }
}
