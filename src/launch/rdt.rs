//! Makes, joins and removes the container's directories in resctrl: its class and its monitoring group.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::container::record::RdtRecord;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::plan::rdt::{Existence, Rdt};

/// Returns what `delete` must remove. It is recorded before anything is made.
pub fn to_record(plan: &Rdt) -> RdtRecord {
    RdtRecord {
        root: plan.root.clone(),
        class: plan.class.clone(),
        remove_class: plan.existence == Existence::Own && !plan.class.exists(),
        monitor: plan.monitor.clone(),
    }
}

/// Makes the directories that are missing and writes the schemata.
pub fn make(plan: &Rdt) -> Result<()> {
    let made = make_class(plan).map_err(|error| with_last_cmd_status(error, &plan.root));
    made.context("/linux/intelRdt")
}

fn make_class(plan: &Rdt) -> Result<()> {
    let shown = plan.class.display();
    if plan.existence == Existence::Required && !plan.class.is_dir() {
        let why = "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)";
        return Err(fail!(Kind::Spec, "{why}: {shown}"));
    }
    let is_new = match fs::create_dir(&plan.class) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        other => other.map(|()| true).with_context(|| format!("make {shown}"))?,
    };
    if !is_new && plan.existence == Existence::Shared {
        check_agreement(plan)?;
    }
    write_schemata(&plan.class, &plan.schemata)?;
    match &plan.monitor {
        Some(monitor) => fs::create_dir(monitor).with_context(|| format!("make {}", monitor.display())),
        None => Ok(()),
    }
}

/// Checks that an existing class agrees with the configuration (runtime-spec, config-linux.md, "IntelRdt").
fn check_agreement(plan: &Rdt) -> Result<()> {
    let path = plan.class.join("schemata");
    let theirs = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let theirs: Vec<_> = theirs.lines().filter_map(parse_schemata).collect();
    for line in &plan.schemata[..plan.compared] {
        let agrees = |(resource, values): &SchemataLine<'_>| {
            let found = theirs.iter().find(|(name, _)| name == resource);
            found.is_some_and(|(_, theirs)| values.iter().all(|value| theirs.contains(value)))
        };
        if !parse_schemata(line).as_ref().is_some_and(agrees) {
            let class = plan.class.display();
            return Err(fail!(Kind::Spec, "class {class} exists and does not agree with {line:?}"));
        }
    }
    Ok(())
}

/// A resource, and a value for each of its numbers.
type SchemataLine<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// Parses `L3:0=00ff;1=f`. Leading zeros of numbers and values are dropped.
fn parse_schemata(line: &str) -> Option<SchemataLine<'_>> {
    let (resource, values) = line.trim().split_once(':')?;
    let values = values.split(';').map(|value| value.trim().split_once('='));
    let mut all = Vec::new();
    for value in values {
        let (number, value) = value?;
        all.push((number.trim_start_matches('0'), value.trim_start_matches('0')));
    }
    Some((resource, all))
}

fn write_schemata(class: &Path, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = class.join("schemata");
    let text = format!("{}\n", lines.join("\n"));
    fs::write(&path, &text).with_context(|| format!("write {text:?} to {}", path.display()))
}

/// Writes new schemata to the class of an existing container.
pub(crate) fn update(record: &RdtRecord, lines: &[String]) -> Result<()> {
    write_schemata(&record.class, lines).map_err(|error| with_last_cmd_status(error, &record.root))
}

/// Reads the lines that the class has now.
pub(crate) fn schemata(record: &RdtRecord) -> Result<Vec<String>> {
    let path = record.class.join("schemata");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

/// Puts a process into the class and the group.
pub fn join(record: &RdtRecord, pid: i32) -> Result<()> {
    for directory in std::iter::once(&record.class).chain(&record.monitor) {
        let path = directory.join("tasks");
        fs::write(&path, pid.to_string())
            .with_context(|| format!("add process {pid} to {}", path.display()))
            .map_err(|error| with_last_cmd_status(error, &record.root))?;
    }
    Ok(())
}

/// Removes what was made for this container alone.
pub fn remove(record: &RdtRecord) -> Result<()> {
    let class = record.remove_class.then_some(&record.class);
    for directory in record.monitor.iter().chain(class) {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.with_context(|| format!("remove {}", directory.display()))?,
        }
    }
    Ok(())
}

/// Adds the sentence that the filesystem keeps about its last failure.
fn with_last_cmd_status(error: Error, root: &Path) -> Error {
    match fs::read_to_string(root.join("info/last_cmd_status")) {
        Ok(status) if !matches!(status.trim(), "" | "ok") => {
            error.with_hint(format!("last_cmd_status: {}", status.trim()))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemata_are_compared_by_value() {
        assert_eq!(parse_schemata("    L3:0=00ff; 01=f"), Some(("L3", vec![("", "ff"), ("1", "f")])));
        assert_eq!(parse_schemata("L3"), None);
        assert_eq!(parse_schemata("L3:x"), None);
    }
}
