//! `--memory`, `--cpus` and `--pids-limit`, as Docker spells them, as resources of config.json.

use serde_json::{Value, json};

/// The period of CPU quotas in microseconds, as Docker and Podman have it.
const PERIOD: u64 = 100_000;
/// The least memory, in bytes: with less no process begins (Docker's limit).
const LEAST_MEMORY: i64 = 6 << 20;
/// How many processes a container may have if nothing is said: Podman's limit.
const PIDS: i64 = 2048;

/// The limits of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resources {
    /// In bytes; 0 for no limit.
    pub(crate) memory: i64,
    /// Microseconds in each `PERIOD`; 0 for no limit.
    pub(crate) cpu_quota: u64,
    /// -1 for no limit.
    pub(crate) pids: i64,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory: 0, cpu_quota: 0, pids: PIDS }
    }
}

impl Resources {
    /// Adds the limits to `linux.resources`.
    pub(super) fn apply(&self, resources: &mut Value) {
        if self.memory > 0 {
            // As much swap as memory, as Docker: the limit of swap counts both.
            resources["memory"] = json!({ "limit": self.memory, "swap": self.memory.saturating_mul(2) });
        }
        if self.cpu_quota > 0 {
            resources["cpu"] = json!({ "quota": self.cpu_quota, "period": PERIOD });
        }
        if self.pids > 0 {
            resources["pids"] = json!({ "limit": self.pids });
        }
    }
}

/// Parses a number of bytes with Docker's suffixes: b, k, m, g, t, p; also `kb`, `kib` and so on.
pub(crate) fn parse_memory(text: &str) -> Result<i64, String> {
    let bad = || format!("{text:?} is no size: a number with b, k, m or g, for example 512m");
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad()),
    };
    let bytes = match digits.split_once('.') {
        None => digits.parse::<i64>().ok().and_then(|number| number.checked_mul(1 << shift)),
        Some(_) => digits.parse::<f64>().ok().map(|number| (number * f64::from(2).powi(shift)) as i64),
    };
    match bytes.ok_or_else(bad)? {
        0 => Ok(0),
        bytes if bytes < 0 => Err(bad()),
        bytes if bytes < LEAST_MEMORY => Err(format!("{text:?} is too little: at least 6m")),
        bytes => Ok(bytes),
    }
}

/// Parses a number of CPUs as a quota.
pub(crate) fn parse_cpus(text: &str) -> Result<u64, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let cpus: f64 =
        text.parse().ok().filter(|_| is_plain).ok_or_else(|| format!("{text:?} is no number of CPUs"))?;
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    match (cpus * PERIOD as f64).round() as u64 {
        0 if cpus == 0.0 => Ok(0),
        // The kernel's least quota is a millisecond.
        quota if quota < 1000 => Err(format!("{text:?} is too little: at least 0.01")),
        quota if cpus > most as f64 => {
            Err(format!("this host has {most} CPUs, which {quota} microseconds of {PERIOD} exceed"))
        }
        quota => Ok(quota),
    }
}

/// Parses the greatest number of processes; 0 and -1 mean no limit.
pub(crate) fn parse_pids(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(0 | -1) => Ok(-1),
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err(format!("{text:?} is no number of processes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_spells_them() {
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("1.5G", 3 << 29),
            ("6291456", 6 << 20),
            ("8192k", 8 << 20),
            ("16MiB", 16 << 20),
            ("16mb", 16 << 20),
            ("0", 0),
        ] {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        for bad in ["", "m", "-1", "5m", "1x", "1mm", "9999999999999g", "0x10", " 1g", "1ig2"] {
            assert!(parse_memory(bad).is_err(), "{bad}");
        }
        assert_eq!((parse_cpus("0.5"), parse_cpus("1"), parse_cpus("0")), (Ok(50_000), Ok(100_000), Ok(0)));
        for bad in ["", "x", "-1", "0.001", "1e3", "inf", "99999", "1.2.3"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
        assert_eq!((parse_pids("5"), parse_pids("-1"), parse_pids("0")), (Ok(5), Ok(-1), Ok(-1)));
        assert!(parse_pids("-2").is_err() && parse_pids("").is_err());
    }
}
