//! Changes config.json, as it follows from the image, by what `run` was asked for.

use serde_json::{Value, json};

use super::network::Network;
use super::options::RunOptions;

/// Changes `config` for a container with this id.
pub(super) fn apply(options: &RunOptions, id: &str, config: &mut Value) {
    let hostname = options.hostname.clone().unwrap_or_else(|| hostname(id));
    add_variable(config, "HOSTNAME", &hostname);
    config["hostname"] = json!(hostname);
    if options.read_only {
        config["root"]["readonly"] = json!(true);
    }
    if options.network == Network::Host {
        remove_namespace(config, "network");
    }
}

/// A host name like the id: names of hosts have no underscores and dots, and 63 characters at most.
fn hostname(id: &str) -> String {
    let name: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    name.trim_matches('-').to_owned()
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

fn remove_namespace(config: &mut Value, kind: &str) {
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != kind);
    }
}
