//! Changes config.json, as it follows from the image, by what `run` was asked for.

use std::path::Path;

use serde_json::{Value, json};

use super::files;
use super::network::Network;
use super::options::RunOptions;

/// The host name of a container.
pub(super) fn hostname(options: &RunOptions) -> String {
    if let Some(name) = &options.hostname {
        return name.clone();
    }
    if options.network == Network::Host
        && let Ok(host) = nix::unistd::gethostname()
    {
        return host.to_string_lossy().into_owned();
    }
    // Names of hosts have no underscores and dots, and 63 characters at most.
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = options.id.as_str().chars().map(plain).take(63).collect();
    name.trim_matches('-').to_owned()
}

/// Changes `config` for a container whose files are in the directory `dir`, with this network namespace.
pub(super) fn apply(options: &RunOptions, dir: &Path, namespace: Option<&Path>, config: &mut Value) {
    let hostname = hostname(options);
    add_variable(config, "HOSTNAME", &hostname);
    config["hostname"] = json!(hostname);
    options.resources.apply(&mut config["linux"]["resources"]);
    match (&options.network, namespace) {
        (Network::Host, _) => {
            namespaces(config, |namespaces| namespaces.retain(|one| one["type"] != "network"));
        }
        (_, Some(path)) => namespaces(config, |namespaces| {
            if !namespaces.iter().any(|one| one["type"] == "network") {
                namespaces.push(json!({ "type": "network" }));
            }
            let network = namespaces.iter_mut().find(|one| one["type"] == "network");
            network.into_iter().for_each(|one| one["path"] = json!(path));
        }),
        (_, None) => keep_network_apart(config),
    }
    if options.read_only {
        config["root"]["readonly"] = json!(true);
    }
    let Some(mounts) = config["mounts"].as_array_mut() else { return };
    // The image's volumes are in the layer of the container, which is on disk and its own already; where that is
    // read-only they are in memory, but not over what the kernel shows.
    let is_kept = |mount: &Value| options.read_only && !is_of_the_kernel(mount);
    mounts.retain(|mount| !is_volume(mount) || is_kept(mount));
    let mut own: Vec<Value> =
        files::NAMES.iter().map(|name| file_mount(dir, name, options.read_only)).collect();
    own.extend(options.mounts.iter().cloned());
    for mount in own {
        let destination = clean(&mount);
        mounts.retain(|other| clean(other) != destination);
        mounts.push(mount);
    }
    // What is mounted below another mount comes after it; a stable sort keeps the order of all others.
    mounts.sort_by_key(|mount| clean(mount).len());
}

/// Gives the container a network namespace of its own. The configuration of a user's bundle has none: it is run
/// with the host's network.
fn keep_network_apart(config: &mut Value) {
    namespaces(config, |namespaces| {
        if !namespaces.iter().any(|one| one["type"] == "network") {
            namespaces.push(json!({ "type": "network" }));
        }
    });
}

/// The components of a mount's destination.
fn clean(mount: &Value) -> Vec<String> {
    let path = mount["destination"].as_str().unwrap_or_default();
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

/// Whether a mount is one that the image asked for.
fn is_volume(mount: &Value) -> bool {
    mount["options"].as_array().is_some_and(|options| options.iter().any(|option| option == "tmpcopyup"))
}

/// Whether a mount is over or below /proc, /sys or /dev.
fn is_of_the_kernel(mount: &Value) -> bool {
    let path = clean(mount);
    path.first().is_none_or(|first| matches!(first.as_str(), "proc" | "sys" | "dev"))
        || path.iter().any(|part| part == "..")
}

/// The mount of a file of the container's directory in /etc.
fn file_mount(dir: &Path, name: &str, read_only: bool) -> Value {
    let mut options = vec!["rbind", "rprivate"];
    options.extend(read_only.then_some("ro"));
    json!({ "destination": format!("/etc/{name}"), "type": "bind", "source": dir.join(name), "options": options })
}

/// Sets a variable of the environment, if the image and the command line have not.
fn add_variable(config: &mut Value, name: &str, value: &str) {
    if let Some(env) = config["process"]["env"].as_array_mut() {
        let is_it = |text: &str| text.split('=').next() == Some(name);
        if !env.iter().filter_map(Value::as_str).any(is_it) {
            env.push(json!(format!("{name}={value}")));
        }
    }
}

fn namespaces(config: &mut Value, change: impl FnOnce(&mut Vec<Value>)) {
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        change(namespaces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_a_network_has_a_namespace_for_it() {
        let mut config = json!({ "linux": { "namespaces": [{ "type": "user" }] } });
        for _ in 0..2 {
            keep_network_apart(&mut config);
            let expected = json!([{ "type": "user" }, { "type": "network" }]);
            assert_eq!(config["linux"]["namespaces"], expected);
        }
    }
}
