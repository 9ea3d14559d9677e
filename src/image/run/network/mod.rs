//! The network of a container: none, the host's, or one that plugins of CNI make in a namespace.

mod bridge;
mod firewall;
mod list;
mod namespace;
mod plugin;
pub(crate) mod ports;
pub(super) mod random;
pub(crate) mod user_mode;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::filesystem::directory::Directory;
use crate::image::parallel::both;
use crate::log;
use plugin::{AtWork, Call};
use ports::{Port, Reserved};

/// What `--network` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Network {
    /// A network namespace with nothing but the loopback device.
    None,
    /// The host's.
    Host,
    /// The list of plugins of this name.
    Plugins(String),
    /// A user's, by this program.
    User(user_mode::Program),
}

impl Network {
    /// Parses the value of `--network`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            "" => Err(fail!(Kind::Usage, "--network: the name is empty")),
            name if name.starts_with("container:") || name.starts_with("ns:") => {
                Err(fail!(Kind::Usage, "--network {name}: the network of another container is not offered"))
            }
            name => Ok(match user_mode::Program::of_name(name) {
                Some(program) => Self::User(program),
                None => Self::Plugins(name.into()),
            }),
        }
    }
}

/// Whether the plugin of the default network is installed.
pub(crate) fn has_bridge() -> bool {
    plugin::find("bridge").is_ok()
}

/// The device in the container.
const INTERFACE: &str = "eth0";

/// A network that plugins have made, or are making: all that is needed to undo it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attachment {
    /// What the plugins call the container: no other on this host has this name, whatever its store.
    container: String,
    list: Value,
    /// Whether it is the bridge that is built in, whose rules of the host are ours.
    #[serde(default)]
    is_built_in: bool,
    pub(crate) ports: Vec<Port>,
    /// What the last plugin has returned.
    result: Option<Value>,
}

impl Attachment {
    /// Finds the network `name`, and reserves the ports.
    pub(super) fn prepare(name: &str, container: String, ports: &[Port]) -> Result<(Self, Reserved)> {
        let list = list::find(name, !ports.is_empty())?;
        let kinds = plugins(&list)?.into_iter().map(|config| kind(config).and_then(plugin::find));
        kinds.collect::<Result<Vec<_>>>().with_context(|| format!("network {name}"))?;
        let takes_ports = |config: &Value| config["capabilities"]["portMappings"] == true;
        if !ports.is_empty() && !plugins(&list)?.into_iter().any(takes_ports) {
            return Err(fail!(Kind::Usage, "network {name}: none of its plugins publishes ports"));
        }
        let mut ports = ports.to_vec();
        let reserved = ports::reserve(&mut ports)?;
        let is_built_in = list == list::built_in(!ports.is_empty());
        Ok((Self { container, list, is_built_in, ports, result: None }, reserved))
    }

    /// Makes the namespace in the container's directory.
    pub(super) fn begin(&self, dir: &Directory) -> Result<usize> {
        namespace::make(dir)?;
        plugins(&self.list).map(|plugins| plugins.len())
    }

    /// Has the plugin of this number do its part. Its result is to be kept before the next one begins, which
    /// undoes its part by it. What they have done when one of them fails is left to `remove`.
    pub(super) fn add(&mut self, number: usize, dir: &Directory, path: &Path) -> Result<()> {
        let at_work = AtWork::begin(dir)?;
        let _kept = bridge::keep(&self.list)?;
        let config = plugins(&self.list)?[number];
        let call = self.call("ADD", path, &at_work);
        let add = || call.run(kind(config)?, &self.input(config, self.result.as_ref()));
        let (result, ruled) = match self.is_built_in && number == 0 {
            true => both(add, || firewall::ensure(bridge::DEVICE, bridge::SUBNET)),
            false => (add(), Ok(())),
        };
        if let Some(result) = result? {
            self.result = Some(result);
        }
        ruled
    }

    /// Has the plugins undo what they have done, in reverse order, and removes the namespace. What one of them
    /// cannot undo is told, and does not keep the others from it.
    pub(super) fn remove(&self, dir: &Directory, path: &Path) -> Result<()> {
        let at_work = AtWork::begin(dir)?;
        let warn = |error| log::warn(format_args!("container {}: {error}", self.container));
        let is_gone = match self.own_port() {
            Some(port) => self.undo_beside(port, path, &at_work)?,
            None => self.undo(path, &at_work).map(|()| false)?,
        };
        if !is_gone {
            self.remove_bridge(None).map_or_else(warn, drop);
        }
        namespace::remove(dir)
    }

    /// Has our own plugins undo what they have done, while the bridge is removed if the container's `port` is the only
    /// one; returns whether it is gone. The kernel waits for its own readers when a device goes, longer than the
    /// plugins work, so both go together, and the plugins begin when they no longer find theirs: it would not be
    /// forgiven if it went while they look at it. Two who end at once see each other's device here, and none later.
    fn undo_beside(&self, port: &str, path: &Path, at_work: &AtWork) -> Result<bool> {
        let (ended, told) = channel();
        let remove = move || {
            let _ended: Sender<()> = ended;
            self.remove_bridge(Some(port))
        };
        let undo = || {
            bridge::wait_for_end_of(port, &told);
            self.undo(path, at_work)
        };
        let (undone, is_gone) = both(undo, remove);
        undone?;
        Ok(is_gone.unwrap_or_else(|error| {
            log::debug(format_args!("container {}: {error}: once more", self.container));
            false
        }))
    }

    /// Has the plugins undo what they have done, in reverse order.
    fn undo(&self, path: &Path, at_work: &AtWork) -> Result<()> {
        for config in plugins(&self.list)?.into_iter().rev() {
            let call = self.call("DEL", path, at_work);
            let removed =
                kind(config).and_then(|kind| call.run(kind, &self.input(config, self.result.as_ref())));
            if let Err(error) = removed {
                log::warn(format_args!("container {}: {error}", self.container));
            }
        }
        Ok(())
    }

    /// The host's end of the container's device, on the bridge that is built in.
    fn own_port(&self) -> Option<&str> {
        let result = self.result.as_ref().filter(|_| self.is_built_in)?;
        let is_port = |one: &&Value| one["sandbox"].as_str().is_none_or(str::is_empty);
        let names =
            result["interfaces"].as_array()?.iter().filter(is_port).filter_map(|one| one["name"].as_str());
        names.into_iter().find(|name| *name != bridge::DEVICE)
    }

    /// Removes the bridge with its last container, and the rules of the host with it. `port` is a device that
    /// does not keep it. Returns whether it is gone.
    fn remove_bridge(&self, port: Option<&str>) -> Result<bool> {
        bridge::remove_if_unused(&self.list, port, || match self.is_built_in {
            true => firewall::remove(bridge::DEVICE, bridge::SUBNET),
            false => Ok(()),
        })
    }

    fn call<'a>(&'a self, command: &'a str, path: &'a Path, at_work: &'a AtWork) -> Call<'a> {
        Call { command, container: &self.container, namespace: path, interface: INTERFACE, at_work }
    }

    /// The configuration of one plugin, as it gets it on its standard input.
    fn input(&self, config: &Value, previous: Option<&Value>) -> Value {
        let mut input = config.clone();
        input["name"] = self.list["name"].clone();
        input["cniVersion"] = match &self.list["cniVersion"] {
            // Lists of old have none.
            Value::Null => json!("0.2.0"),
            version => version.clone(),
        };
        if let Some(previous) = previous {
            input["prevResult"] = previous.clone();
        }
        if config["capabilities"]["portMappings"] == true && !self.ports.is_empty() {
            input["runtimeConfig"] =
                json!({ "portMappings": self.ports.iter().map(mapping).collect::<Vec<_>>() });
        }
        input
    }

    /// The addresses of the container.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let Some(result) = &self.result else { return Vec::new() };
        let listed = result["ips"].as_array().into_iter().flatten().map(|ip| &ip["address"]);
        // As plugins before version 0.3 of the specification have them.
        let single = ["ip4", "ip6"].into_iter().map(|name| &result[name]["ip"]);
        let texts = listed.chain(single).filter_map(Value::as_str);
        texts.filter_map(|text| text.split('/').next()?.parse().ok()).collect()
    }
}

/// Lets go of the namespace in the directory of a container, if there is one.
pub(super) fn let_go(dir: &Directory) -> Result<()> {
    namespace::remove(dir)
}

/// The path of the namespace in the directory of a container.
pub(super) fn namespace_path(dir: &Path) -> PathBuf {
    dir.join(namespace::NAME)
}

/// The plugins of a list.
fn plugins(list: &Value) -> Result<Vec<&Value>> {
    match list["plugins"].as_array() {
        Some(plugins) if !plugins.is_empty() => Ok(plugins.iter().collect()),
        _ => Err(fail!(Kind::Spec, "the network has no plugins")),
    }
}

fn kind(config: &Value) -> Result<&str> {
    config["type"].as_str().ok_or_else(|| fail!(Kind::Spec, "a plugin of the network has no type"))
}

/// A port as plugins are told of it.
fn mapping(port: &Port) -> Value {
    let mut mapping = json!({ "hostPort": port.host_port, "containerPort": port.container_port, "protocol": port.protocol });
    if let Some(ip) = port.host_ip {
        mapping["hostIP"] = json!(ip);
    }
    mapping
}
