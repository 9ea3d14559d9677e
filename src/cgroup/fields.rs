//! What the two translations of `linux.resources` share: collecting writes, and values that no kernel takes.

use crate::error::{Error, Kind, Result};
use crate::fail;

use super::write::Write;

/// JSON pointer of the resources object.
pub const RESOURCES: &str = "/linux/resources";

/// Writes and warnings, as they come up.
#[derive(Debug, Default)]
pub struct Out {
    pub writes: Vec<Write>,
    /// Accepted fields that mean nothing to this interface.
    pub warnings: Vec<String>,
}

impl Out {
    pub fn put(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub fn ignored(&mut self, field: &str, why: &str) {
        self.warnings.push(format!("{RESOURCES}/{field} has no effect: {why}"));
    }
}

pub fn pointer(field: &str) -> String {
    format!("{RESOURCES}/{field}")
}

pub fn refuse(field: &str, what: impl std::fmt::Display) -> Error {
    fail!(Kind::Spec, "{RESOURCES}/{field}: {what}")
}

/// A number where 0 is "not asked for" and -1 "no limit".
pub fn limit(value: Option<i64>, field: &str) -> Result<i64> {
    match value.unwrap_or(0) {
        value if value < -1 => Err(refuse(field, format_args!("must be -1 (no limit) or more: {value}"))),
        value => Ok(value),
    }
}

/// A block weight; 0 is "not asked for".
pub fn weight(value: Option<u16>, field: &str) -> Result<Option<u16>> {
    match value.unwrap_or(0) {
        0 => Ok(None),
        value @ 1..=1000 => Ok(Some(value)),
        value => Err(refuse(field, format_args!("must be between 10 and 1000: {value}"))),
    }
}

/// The cgroup's `pids.max`: 0 is a limit of its own and a group needs at least one process.
pub fn pids(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        0 => "1".to_owned(),
        limit => limit.to_string(),
    }
}

/// A huge page size becomes part of a file name: `64KB`, `2MB`, `1GB`.
pub fn page_size<'a>(size: &'a str, field: &str) -> Result<&'a str> {
    let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    let good = digits.is_some_and(|d| !d.is_empty() && d.len() < 10 && d.bytes().all(|b| b.is_ascii_digit()));
    good.then_some(size).ok_or_else(|| refuse(field, format_args!("not a huge page size like \"2MB\": {size:?}")))
}

/// A device or interface name that stands in a line of its own.
pub fn word<'a>(name: &'a str, field: &str) -> Result<&'a str> {
    let good = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    good.then_some(name).ok_or_else(|| refuse(field, format_args!("not a name: {name:?}")))
}

/// The value for `rdma.max`: `NAME hca_handle=N hca_object=N`; None where neither is limited.
pub fn rdma(name: &str, handles: Option<u32>, objects: Option<u32>) -> Result<Option<String>> {
    let mut line = word(name, "rdma")?.to_owned();
    for (key, value) in [("hca_handle", handles), ("hca_object", objects)] {
        if let Some(value) = value {
            line.push_str(&format!(" {key}={value}"));
        }
    }
    Ok((handles.is_some() || objects.is_some()).then_some(line))
}

/// The members of a JSON object in an order that does not change between runs.
pub fn sorted<V>(map: &std::collections::HashMap<String, V>) -> Vec<(&String, &V)> {
    let mut all: Vec<_> = map.iter().collect();
    all.sort_by_key(|(name, _)| *name);
    all
}

/// A member name as a JSON pointer writes it (RFC 6901).
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
