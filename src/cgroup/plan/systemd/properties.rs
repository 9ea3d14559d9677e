//! Turns `linux.resources` into properties of a unit.

use std::fmt;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};
use zbus::Variant;

use super::unit::Unit;
use crate::cgroup::plan::convert::{
    DEFAULT_CFS_PERIOD_US, SwapMax, io_weight, quota_per_second, shares_to_weight, swap_max,
};
use crate::cgroup::plan::devices::{DeviceType, Filter};
use crate::cgroup::plan::pointer::{escape_pointer, invalid_resource, resource_pointer};
use crate::cgroup::plan::translation::{is_idle, sorted_by_name};
use crate::error::Result;
use crate::host::cgroup::Mode;
use crate::spec::cpu_list::CpuList;

/// systemd's "no limit".
const INFINITY: u64 = u64::MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub value: Variant<'static>,
    /// The first version of systemd that has the property. An older one does not get it.
    pub since: u32,
    /// The JSON pointer of the field that asked for it; empty for a property that every unit gets.
    pub pointer: String,
}

impl Property {
    pub fn new(name: &str, value: impl Into<Variant<'static>>, pointer: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into(), since: 0, pointer: pointer.into() }
    }

    /// Returns the property without a limit; `None` if systemd has no value for that.
    pub fn unset(&self) -> Option<Self> {
        let value = match &self.value {
            // These are protections and not limits.
            Variant::U64(_) if ["MemoryLow", "MemoryMin"].contains(&&*self.name) => 0_u64.into(),
            Variant::U64(_) => INFINITY.into(),
            // An empty list of the same type removes a list.
            Variant::Array(array) => Variant::Array(zbus::Array::new(array.element_signature())),
            _ => return None,
        };
        Some(Self { value, ..self.clone() })
    }

    fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)?;
        if self.since > 0 {
            write!(f, " since systemd {}", self.since)?;
        }
        if self.pointer.is_empty() { Ok(()) } else { write!(f, " ({})", self.pointer) }
    }
}

/// Returns all properties of a new unit.
pub(crate) fn group_properties(
    unit: &Unit,
    mode: Mode,
    resources: Option<&LinuxResources>,
    devices: Option<&Filter>,
) -> Result<Vec<Property>> {
    let mut all = unit_properties(unit, mode);
    if let Some(resources) = resources {
        all.extend(resource_properties(resources, mode)?);
    }
    all.extend(devices.into_iter().flat_map(device_properties));
    Ok(all)
}

/// Returns the properties that do not depend on limits. The processes are added when the unit is made.
pub fn unit_properties(unit: &Unit, mode: Mode) -> Vec<Property> {
    let plain = |name: &str, value: Variant<'static>| Property::new(name, value, "");
    let mut all = vec![plain("Description", format!("libcontainer container {}", unit.name).into())];
    if unit.is_slice() {
        all.push(plain("Wants", vec![unit.slice.clone()].into()));
    } else {
        all.push(plain("Slice", unit.slice.clone().into()));
        all.push(plain("Delegate", true.into()));
    }
    let io = if mode == Mode::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    all.extend(
        ["CPUAccounting", "MemoryAccounting", io, "TasksAccounting"].map(|name| plain(name, true.into())),
    );
    all.push(plain("DefaultDependencies", false.into()));
    all
}

/// Returns the limits that systemd has a property for.
pub(crate) fn resource_properties(resources: &LinuxResources, mode: Mode) -> Result<Vec<Property>> {
    let mut all = Vec::new();
    let v2 = mode == Mode::V2;
    if let Some(memory) = resources.memory() {
        if v2 { memory_properties_v2(memory, &mut all)? } else { memory_properties_v1(memory, &mut all) }
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu, v2, &mut all)?;
    }
    if let Some(pids) = resources.pids() {
        let limit = match pids.limit() {
            ..0 => INFINITY,
            0 => 1,
            limit => limit.unsigned_abs(),
        };
        all.push(Property::new("TasksMax", limit, resource_pointer("pids/limit")));
    }
    if let Some(io) = resources.block_io() {
        block_io(io, v2, &mut all);
    }
    for (key, value) in resources.unified().iter().flat_map(sorted_by_name) {
        unified(key, value, &mut all)?;
    }
    if is_idle(resources) {
        all.retain(|property| property.name != "CPUShares" && !is_weight_of_its_own(property));
    }
    // A key of `unified` overrides the field for the same value, as in the control files.
    let mut last: Vec<Property> = Vec::with_capacity(all.len());
    for property in all {
        last.retain(|other| other.name != property.name);
        last.push(property);
    }
    Ok(last)
}

fn is_weight_of_its_own(property: &Property) -> bool {
    property.name == "CPUWeight" && !property.pointer.ends_with("idle")
}

/// Converts bytes; -1 is no limit.
fn bytes(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(INFINITY)
}

fn memory_properties_v1(memory: &LinuxMemory, all: &mut Vec<Property>) {
    let limit = memory.limit().unwrap_or(0);
    if limit != 0 {
        all.push(Property::new("MemoryLimit", bytes(limit), resource_pointer("memory/limit")));
    }
}

fn memory_properties_v2(memory: &LinuxMemory, all: &mut Vec<Property>) -> Result<()> {
    let limit = memory.limit().unwrap_or(0);
    if limit != 0 {
        all.push(Property::new("MemoryMax", bytes(limit), resource_pointer("memory/limit")));
    }
    let reservation = memory.reservation().unwrap_or(0);
    if reservation != 0 {
        all.push(Property::new("MemoryLow", bytes(reservation), resource_pointer("memory/reservation")));
    }
    let field = resource_pointer("memory/swap");
    let swap = match swap_max(limit, memory.swap().unwrap_or(0), &field)? {
        None => return Ok(()),
        Some(SwapMax::Unlimited) => INFINITY,
        Some(SwapMax::Bytes(rest)) => bytes(rest),
    };
    all.push(Property::new("MemorySwapMax", swap, field));
    Ok(())
}

fn cpu(cpu: &LinuxCpu, v2: bool, all: &mut Vec<Property>) -> Result<()> {
    let shares = cpu.shares().unwrap_or(0);
    if v2 && cpu.idle() == Some(1) {
        all.push(Property::new("CPUWeight", 0_u64, resource_pointer("cpu/idle")).since(252));
    } else if v2 && shares != 0 {
        all.push(Property::new("CPUWeight", shares_to_weight(shares), resource_pointer("cpu/shares")));
    } else if v2 && cpu.idle() == Some(0) {
        // A group is idle by its weight: this resets the weight to the default.
        all.push(Property::new("CPUWeight", INFINITY, resource_pointer("cpu/idle")));
    } else if shares != 0 {
        all.push(Property::new("CPUShares", shares, resource_pointer("cpu/shares")));
    }
    quota(cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0), "cpu/quota", all);
    if !v2 {
        return Ok(());
    }
    for (list, name, field) in
        [(cpu.cpus(), "AllowedCPUs", "cpu/cpus"), (cpu.mems(), "AllowedMemoryNodes", "cpu/mems")]
    {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            all.push(Property::new(name, mask(list, field)?, resource_pointer(field)).since(244));
        }
    }
    Ok(())
}

/// Adds the quota: microseconds of processor time per second, in steps of 10 ms.
fn quota(quota: i64, period: u64, field: &str, all: &mut Vec<Property>) {
    if period != 0 {
        all.push(Property::new("CPUQuotaPeriodUSec", period, resource_pointer("cpu/period")).since(242));
    }
    if quota == 0 && period == 0 {
        return;
    }
    let period = if period == 0 { DEFAULT_CFS_PERIOD_US } else { period };
    let limit = u64::try_from(quota).ok().filter(|&quota| quota != 0);
    let share = limit.and_then(|quota| quota_per_second(quota, period));
    all.push(Property::new("CPUQuotaPerSecUSec", share.unwrap_or(INFINITY), resource_pointer(field)));
}

/// Returns the resources with the quota as systemd rounds it, so that we write what its next reload writes.
pub(crate) fn with_rounded_quota(resources: &LinuxResources) -> Option<LinuxResources> {
    let cpu = resources.cpu().as_ref()?;
    let quota = cpu.quota().and_then(|quota| u64::try_from(quota).ok()).filter(|&quota| quota != 0)?;
    let period = cpu.period().filter(|&period| period != 0).unwrap_or(DEFAULT_CFS_PERIOD_US);
    let quota = u128::from(quota_per_second(quota, period)?) * u128::from(period) / 1_000_000;
    let (mut cpu, mut resources) = (cpu.clone(), resources.clone());
    cpu.set_quota(i64::try_from(quota).ok());
    resources.set_cpu(Some(cpu));
    Some(resources)
}

/// Turns `0-2,4` into bits, lowest first, as systemd takes them.
fn mask(list: &str, field: &str) -> Result<Vec<u8>> {
    let wrong = || invalid_resource(field, format_args!("not a list of numbers like \"0-3,7\": {list:?}"));
    let words = CpuList::parse(list).map_err(|_| wrong())?.to_mask();
    let mut bits: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bits.truncate(bits.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
    if bits.is_empty() { Err(wrong()) } else { Ok(bits) }
}

fn block_io(io: &LinuxBlockIo, v2: bool, all: &mut Vec<Property>) {
    let weight = io.weight().unwrap_or(0);
    if weight != 0 {
        let (name, value) =
            if v2 { ("IOWeight", io_weight(weight)) } else { ("BlockIOWeight", u64::from(weight)) };
        all.push(Property::new(name, value, resource_pointer("blockIO/weight")));
    }
    let weights: Vec<(String, u64)> = io
        .weight_device()
        .iter()
        .flatten()
        .filter_map(|device| {
            let weight = device.weight().filter(|&weight| weight != 0)?;
            let value = if v2 { io_weight(weight) } else { u64::from(weight) };
            Some((block(device.major(), device.minor()), value))
        })
        .collect();
    if !weights.is_empty() {
        let name = if v2 { "IODeviceWeight" } else { "BlockIODeviceWeight" };
        all.push(Property::new(name, weights, resource_pointer("blockIO/weightDevice")));
    }
    let throttles: [(_, &Option<Vec<LinuxThrottleDevice>>, _, _); 4] = [
        (
            "throttleReadBpsDevice",
            io.throttle_read_bps_device(),
            "IOReadBandwidthMax",
            "BlockIOReadBandwidth",
        ),
        (
            "throttleWriteBpsDevice",
            io.throttle_write_bps_device(),
            "IOWriteBandwidthMax",
            "BlockIOWriteBandwidth",
        ),
        ("throttleReadIOPSDevice", io.throttle_read_iops_device(), "IOReadIOPSMax", ""),
        ("throttleWriteIOPSDevice", io.throttle_write_iops_device(), "IOWriteIOPSMax", ""),
    ];
    for (field, list, on_v2, on_v1) in throttles {
        let rate = |rate: u64| if rate == 0 { INFINITY } else { rate };
        let rates: Vec<(String, u64)> = list
            .iter()
            .flatten()
            .map(|device| (block(device.major(), device.minor()), rate(device.rate())))
            .collect();
        let name = if v2 { on_v2 } else { on_v1 };
        if !rates.is_empty() && !name.is_empty() {
            all.push(Property::new(name, rates, resource_pointer(&format!("blockIO/{field}"))));
        }
    }
}

/// Returns the name under which udev links a block device, whatever its own name.
fn block(major: i64, minor: i64) -> String {
    format!("/dev/block/{major}:{minor}")
}

/// Adds properties for the v2 files that systemd would overwrite.
fn unified(key: &str, value: &str, all: &mut Vec<Property>) -> Result<()> {
    let field = format!("unified/{}", escape_pointer(key));
    let at = resource_pointer(&field);
    let value = value.trim();
    let number = || -> Result<u64> {
        let wrong = || invalid_resource(&field, format_args!("neither a number nor \"max\": {value:?}"));
        if value == "max" { Ok(INFINITY) } else { value.parse().map_err(|_| wrong()) }
    };
    let name = match key {
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "cpu.idle" if value == "1" => {
            all.push(Property::new("CPUWeight", 0_u64, at).since(252));
            return Ok(());
        }
        "cpuset.cpus" => {
            all.push(Property::new("AllowedCPUs", mask(value, &field)?, at).since(244));
            return Ok(());
        }
        "cpuset.mems" => {
            all.push(Property::new("AllowedMemoryNodes", mask(value, &field)?, at).since(244));
            return Ok(());
        }
        "cpu.max" => {
            let (share, period) = value.split_once(' ').unwrap_or((value, "0"));
            let wrong =
                |_| invalid_resource(&field, format_args!("not \"QUOTA PERIOD\" in microseconds: {value:?}"));
            let share = if share == "max" { -1 } else { share.parse().map_err(wrong)? };
            quota(share, period.trim().parse().map_err(wrong)?, &field, all);
            return Ok(());
        }
        "memory.oom.group" => {
            let policy = if value == "1" { "kill" } else { "continue" };
            all.push(Property::new("OOMPolicy", policy.to_owned(), at).since(253));
            return Ok(());
        }
        _ => return Ok(()),
    };
    all.push(Property::new(name, number()?, at));
    Ok(())
}

/// Returns systemd's own device filter. A device must pass it and ours: if it cannot express a rule exactly,
/// it allows more.
pub(crate) fn device_properties(filter: &Filter) -> Vec<Property> {
    let field = resource_pointer("devices");
    if filter.allow {
        // Exceptions from "all" have no property.
        let none: Vec<(String, String)> = Vec::new();
        return vec![
            Property::new("DevicePolicy", "auto".to_owned(), &*field),
            Property::new("DeviceAllow", none, field),
        ];
    }
    let allow: Vec<(String, String)> = filter
        .exceptions
        .iter()
        .map(|(node, access)| {
            let kind = match node.kind {
                DeviceType::Block => "block",
                DeviceType::Char => "char",
            };
            let path = match (node.major, node.minor) {
                (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
                (Some(major), None) => format!("{kind}-{major}"),
                (None, _) => format!("{kind}-*"),
            };
            (path, access.to_string())
        })
        .collect();
    vec![
        Property::new("DevicePolicy", "strict".to_owned(), &*field),
        Property::new("DeviceAllow", allow, field),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::plan::devices::filter::tests::filter;
    use serde_json::{Value, json};

    fn short(resources: &Value, mode: Mode) -> Vec<String> {
        let resources = serde_json::from_value(resources.clone()).unwrap();
        let all = resource_properties(&resources, mode).unwrap();
        all.iter().map(|property| format!("{}={}", property.name, property.value)).collect()
    }

    #[test]
    fn the_quota_that_is_written_is_the_one_that_systemd_writes() {
        for (cpu, want) in [
            (json!({"quota": 500_000, "period": 900_000}), Some(504_000)),
            (json!({"quota": 50_000, "period": 100_000}), Some(50_000)),
            (json!({"quota": 12_345}), Some(13_000)),
            (json!({"quota": -1, "period": 900_000}), None),
            (json!({"shares": 7}), None),
        ] {
            let resources = serde_json::from_value(json!({ "cpu": cpu })).unwrap();
            let written =
                with_rounded_quota(&resources).and_then(|resources| resources.cpu().clone()?.quota());
            assert_eq!(written, want, "{cpu}");
        }
    }

    #[test]
    fn every_limit_that_systemd_knows_becomes_its_property() {
        for (resources, on_v1, on_v2) in [
            (
                json!({"memory": {"limit": 100, "swap": 150, "reservation": 50}}),
                &["MemoryLimit=uint64 100"][..],
                &["MemoryMax=uint64 100", "MemoryLow=uint64 50", "MemorySwapMax=uint64 50"][..],
            ),
            (
                json!({"memory": {"limit": -1}}),
                &["MemoryLimit=uint64 18446744073709551615"],
                &["MemoryMax=uint64 18446744073709551615", "MemorySwapMax=uint64 18446744073709551615"],
            ),
            (json!({"cpu": {"shares": 1024}}), &["CPUShares=uint64 1024"], &["CPUWeight=uint64 100"]),
            (json!({"cpu": {"shares": 1024, "idle": 1}}), &[], &["CPUWeight=uint64 0"]),
            (
                json!({"cpu": {"quota": 12345, "period": 50000}}),
                &["CPUQuotaPeriodUSec=uint64 50000", "CPUQuotaPerSecUSec=uint64 250000"],
                &["CPUQuotaPeriodUSec=uint64 50000", "CPUQuotaPerSecUSec=uint64 250000"],
            ),
            (
                json!({"cpu": {"quota": -1}}),
                &["CPUQuotaPerSecUSec=uint64 18446744073709551615"],
                &["CPUQuotaPerSecUSec=uint64 18446744073709551615"],
            ),
            (
                json!({"cpu": {"cpus": "0-1,9", "mems": "0"}}),
                &[],
                &["AllowedCPUs=[byte 0x03, 0x02]", "AllowedMemoryNodes=[byte 0x01]"],
            ),
            (json!({"pids": {"limit": 0}}), &["TasksMax=uint64 1"], &["TasksMax=uint64 1"]),
            (
                json!({"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
                    "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 5}]}}),
                &["BlockIOWeight=uint64 500", "BlockIODeviceWeight=[(\"/dev/block/8:0\", uint64 10)]"],
                &[
                    "IOWeight=uint64 4950",
                    "IODeviceWeight=[(\"/dev/block/8:0\", uint64 1)]",
                    "IOReadIOPSMax=[(\"/dev/block/8:0\", uint64 5)]",
                ],
            ),
            (
                json!({"memory": {"disableOOMKiller": false}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}}),
                &[],
                &[],
            ),
        ] {
            assert_eq!(short(&resources, Mode::V1), on_v1, "v1 {resources}");
            assert_eq!(short(&resources, Mode::V2), on_v2, "v2 {resources}");
        }
    }

    #[test]
    fn unified_keys_win_and_are_told_to_systemd_too() {
        let resources = json!({
            "memory": {"limit": 5},
            "unified": {"memory.max": "7", "cpu.max": "50000 100000", "memory.oom.group": "1", "pids.max": "max",
                "io.weight": "7"},
        });
        assert_eq!(
            short(&resources, Mode::V2),
            [
                "CPUQuotaPeriodUSec=uint64 100000",
                "CPUQuotaPerSecUSec=uint64 500000",
                "MemoryMax=uint64 7",
                "OOMPolicy=\"kill\"",
                "TasksMax=uint64 18446744073709551615",
            ]
        );
        let both = json!({"unified": {"cpu.idle": "1", "cpu.weight": "8"}});
        assert_eq!(short(&both, Mode::V2), ["CPUWeight=uint64 0"]);
        for (key, value) in [("memory.max", "lots"), ("cpu.max", "x 1"), ("cpuset.cpus", "2-1")] {
            let resources = serde_json::from_value(json!({"unified": {key: value}})).unwrap();
            let error = resource_properties(&resources, Mode::V2).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/linux/resources/unified/{key}: ")), "{error}");
        }
    }

    #[test]
    fn systemd_allows_at_least_what_the_filter_allows() {
        let text = |filter: &Filter| {
            device_properties(filter).iter().map(|p| format!("{}={}", p.name, p.value)).collect::<Vec<_>>()
        };
        assert_eq!(
            text(&filter(&["+c 1:3 rwm", "+c 136:* rw", "+b *:* m", "+c *:5 r"])),
            [
                "DevicePolicy=\"strict\"",
                "DeviceAllow=[(\"block-*\", \"m\"), (\"char-*\", \"r\"), (\"/dev/char/1:3\", \"rwm\"), (\"char-136\", \"rw\")]",
            ]
        );
        assert_eq!(
            text(&filter(&["+a *:* rwm", "-b 8:0 w"])),
            ["DevicePolicy=\"auto\"", "DeviceAllow=@a(ss) []"]
        );
    }
}
