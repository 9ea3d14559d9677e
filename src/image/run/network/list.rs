//! The networks that `--network` names: lists of plugins, from /etc/cni/net.d or built in.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::bridge;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::document::manifest::parse_json_of_go;
use crate::image::filesystem::input_file;

/// Where lists of plugins are, if NETCONFPATH does not say so, as for cnitool.
const PLACE: &str = "/etc/cni/net.d";
/// The largest file of a network in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The name of the network that is built in.
pub(super) const BRIDGE: &str = "bridge";

/// The list of plugins of this name. `has_ports` says whether ports are published.
pub(super) fn find(name: &str, has_ports: bool) -> Result<Value> {
    let place = std::env::var_os("NETCONFPATH").map_or_else(|| PathBuf::from(PLACE), PathBuf::from);
    let mut known = Vec::new();
    for path in files(&place)? {
        let list = read(&path)?;
        match list["name"].as_str() {
            Some(found) if found == name => return Ok(list),
            found => known.extend(found.map(str::to_owned)),
        }
    }
    if name == BRIDGE {
        return Ok(built_in(has_ports));
    }
    known.extend(["none", "host", BRIDGE].map(str::to_owned));
    let error = fail!(Kind::NotFound, "there is no network {name:?} in {}", place.display());
    Err(error.with_hint(format!("there are: {}", known.join(", "))))
}

/// The files of networks, in the order of their names, as other engines read them.
fn files(place: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("read {}", place.display());
    let entries = match std::fs::read_dir(place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(reading)?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(reading)?;
    let is_network = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "conflist" || end == "conf" || end == "json")
    };
    paths.retain(is_network);
    paths.sort();
    Ok(paths)
}

/// Reads a list, or one plugin as a list of one.
fn read(path: &Path) -> Result<Value> {
    let place = || format!("network {}", path.display());
    let list: Value = parse_json_of_go(&input_file::read_small(path, MAX_FILE)?).with_context(place)?;
    if list["plugins"].is_array() {
        return Ok(list);
    }
    match list["type"].is_string() {
        true => Ok(json!({ "cniVersion": list["cniVersion"], "name": list["name"], "plugins": [list] })),
        false => Err(fail!(Kind::Spec, "it has no plugins")).with_context(place),
    }
}

/// A bridge with private addresses, from which the host leads on (`firewall`). What is kept of it is gone with the
/// next boot, as the devices are.
pub(super) fn built_in(has_ports: bool) -> Value {
    let mut plugins = vec![json!({
        "type": "bridge",
        "bridge": bridge::DEVICE,
        "isGateway": true,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": format!("{}/networks", bridge::STATE),
            "ranges": [[{ "subnet": bridge::SUBNET }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    })];
    if has_ports {
        plugins.push(json!({ "type": "portmap", "capabilities": { "portMappings": true } }));
    }
    json!({ "cniVersion": "1.0.0", "name": "tare", "plugins": plugins })
}
