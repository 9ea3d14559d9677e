//! Reads the statistics of a container's class and monitoring group from resctrl, with runc's names.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::container::record;
use crate::error::{Context, Kind, Result};
use crate::fail;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rdt {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// The schemata of the class, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Memory bandwidth at each L3 cache, in the order of the directories. Occupancy below has the same
    /// order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<Bandwidth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<Occupancy>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CacheInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cbm_mask: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub min_cbm_bits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_closids: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct BandwidthInfo {
    #[serde(skip_serializing_if = "is_zero")]
    pub bandwidth_gran: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_linear: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub min_bandwidth: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_closids: u64,
}

/// Bytes transferred since the group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Bandwidth {
    pub mbm_total_bytes: u64,
    pub mbm_local_bytes: u64,
}

/// Bytes of the cache that are in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Occupancy {
    pub llc_occupancy: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's shape
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Reads the statistics of the features that this processor has, according to the directories under `info`.
pub(super) fn read(rdt: &record::RdtRecord) -> Result<Rdt> {
    let info = rdt.root.join("info");
    let (of_root, of_class) = (schemata(&rdt.root)?, schemata(&rdt.class)?);
    let line = |lines: &[String], name| {
        lines.iter().rfind(|line| line.starts_with(name)).cloned().unwrap_or_default()
    };
    let mut stats = Rdt { schemata: of_class.clone(), ..Rdt::default() };
    let cache = info.join("L3");
    if cache.is_dir() {
        stats.l3_cache_info = Some(CacheInfo {
            cbm_mask: text(&cache.join("cbm_mask"))?,
            min_cbm_bits: number(&cache.join("min_cbm_bits"))?,
            num_closids: number(&cache.join("num_closids"))?,
        });
        stats.l3_cache_schema_root = line(&of_root, "L3");
        stats.l3_cache_schema = line(&of_class, "L3");
    }
    let bandwidth = info.join("MB");
    if bandwidth.is_dir() {
        stats.mem_bw_info = Some(BandwidthInfo {
            bandwidth_gran: number(&bandwidth.join("bandwidth_gran"))?,
            delay_linear: number(&bandwidth.join("delay_linear"))?,
            min_bandwidth: number(&bandwidth.join("min_bandwidth"))?,
            num_closids: number(&bandwidth.join("num_closids"))?,
        });
        stats.mem_bw_schema_root = line(&of_root, "MB");
        stats.mem_bw_schema = line(&of_class, "MB");
    }
    // Without a monitoring group the class is read, which includes other containers.
    monitor(&info, rdt.monitor.as_ref().unwrap_or(&rdt.class), &mut stats)?;
    Ok(stats)
}

fn monitor(info: &Path, group: &Path, stats: &mut Rdt) -> Result<()> {
    let features = fs::read_to_string(info.join("L3_MON/mon_features")).unwrap_or_default();
    let has = |name: &str| features.lines().any(|feature| feature == name);
    if !["mbm_total_bytes", "mbm_local_bytes", "llc_occupancy"].into_iter().any(has) {
        return Ok(());
    }
    let (mut bandwidth, mut occupancy) = (Vec::new(), Vec::new());
    for node in nodes(&group.join("mon_data"))? {
        let count = |name: &str| if has(name) { number(&node.join(name)) } else { Ok(0) };
        if has("mbm_total_bytes") || has("mbm_local_bytes") {
            bandwidth.push(Bandwidth {
                mbm_total_bytes: count("mbm_total_bytes")?,
                mbm_local_bytes: count("mbm_local_bytes")?,
            });
        }
        if has("llc_occupancy") {
            occupancy.push(Occupancy { llc_occupancy: count("llc_occupancy")? });
        }
    }
    stats.mbm_stats = Some(bandwidth).filter(|list| !list.is_empty());
    stats.cmt_stats = Some(occupancy).filter(|list| !list.is_empty());
    Ok(())
}

/// Lists the directories `mon_L3_00`, `mon_L3_01`, … in order.
fn nodes(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    let doing = || format!("read {}", path.display());
    let mut nodes = Vec::new();
    for entry in fs::read_dir(path).with_context(doing)? {
        let path = entry.with_context(doing)?.path();
        if path.is_dir() {
            nodes.push(path);
        }
    }
    nodes.sort();
    Ok(nodes)
}

fn schemata(class: &Path) -> Result<Vec<String>> {
    let text = text(&class.join("schemata"))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

fn text(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Reads a counter; 0 if the file contains a word, because the hardware has no value at the moment.
fn number(path: &Path) -> Result<u64> {
    match &*text(path)? {
        "Unavailable" | "Error" | "Unassigned" => Ok(0),
        digits => digits
            .parse()
            .map_err(|_| fail!(Kind::Unsupported, "{}: not a number: {digits:?}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_resctrl_shows_is_told() {
        let root = std::env::temp_dir().join(format!("tare-rdt-stats-{}", std::process::id()));
        let files = [
            ("schemata", "    MB:0=100;1=100\n    L3:0=fff;1=fff\n"),
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "2\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
            ("c/schemata", "    MB:0=20;1=20\n    L3:0=f;1=f\n"),
            ("c/mon_groups/c/mon_data/mon_L3_01/mbm_total_bytes", "Unavailable\n"),
            ("c/mon_groups/c/mon_data/mon_L3_01/mbm_local_bytes", "4\n"),
            ("c/mon_groups/c/mon_data/mon_L3_01/llc_occupancy", "5\n"),
            ("c/mon_groups/c/mon_data/mon_L3_00/mbm_total_bytes", "1\n"),
            ("c/mon_groups/c/mon_data/mon_L3_00/mbm_local_bytes", "2\n"),
            ("c/mon_groups/c/mon_data/mon_L3_00/llc_occupancy", "3\n"),
        ];
        for (name, text) in files {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), text).unwrap();
        }
        let class = root.join("c");
        let monitor = Some(class.join("mon_groups/c"));
        let stats = read(&record::RdtRecord { root: root.clone(), class, remove_class: true, monitor });
        fs::remove_dir_all(&root).unwrap();
        let want = serde_json::json!({
            "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 2, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fff;1=fff",
            "l3_cache_schema": "L3:0=f;1=f",
            "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0=20;1=20",
            "schemata": ["MB:0=20;1=20", "L3:0=f;1=f"],
            "mbm_stats": [{"mbm_total_bytes": 1, "mbm_local_bytes": 2},
                {"mbm_total_bytes": 0, "mbm_local_bytes": 4}],
            "cmt_stats": [{"llc_occupancy": 3}, {"llc_occupancy": 5}],
        });
        assert_eq!(serde_json::to_value(stats.unwrap()).unwrap(), want);
    }
}
