//! `linux.netDevices`: the host's network devices that move into the container.

use std::collections::HashMap;

use oci_spec::runtime::LinuxNetDevice;

use crate::spec::ConfigError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// The name on the host.
    pub name: String,
    /// The name in the container. If it contains `%d`, the kernel finds a number.
    pub inside: String,
}

/// Plans the moves in the order of their names, because the configuration's object has no order.
pub(crate) fn plan_net_devices(
    spec: Option<&HashMap<String, LinuxNetDevice>>,
    euid: u32,
) -> Result<Vec<NetDevice>, ConfigError> {
    let mut devices: Vec<_> = spec.into_iter().flatten().map(device).collect();
    if !devices.is_empty() && euid != 0 {
        let why = "network devices are not supported in rootless containers";
        return Err(ConfigError::new("/linux/netDevices", why));
    }
    devices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(devices)
}

fn device((name, spec): (&String, &LinuxNetDevice)) -> NetDevice {
    NetDevice { name: name.clone(), inside: spec.name().clone().unwrap_or_else(|| name.clone()) }
}
