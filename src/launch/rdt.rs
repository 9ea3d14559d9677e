//! The container's directories in resctrl: made before its process, joined by each of its processes, removed with it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::container::record::Rdt as Remembered;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::plan::rdt::{Existence, Rdt};

/// What will have to be undone: remembered before anything is done.
pub fn remember(plan: &Rdt) -> Remembered {
    Remembered {
        root: plan.root.clone(),
        class: plan.class.clone(),
        remove_class: plan.existence == Existence::Own && !plan.class.exists(),
        monitor: plan.monitor.clone(),
    }
}

/// Makes what is missing and writes the schemata.
pub fn make(plan: &Rdt) -> Result<()> {
    let made = class(plan).map_err(|error| in_the_words_of_resctrl(error, &plan.root));
    made.context("/linux/intelRdt")
}

fn class(plan: &Rdt) -> Result<()> {
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
        agrees(plan)?;
    }
    write_schemata(&plan.class, &plan.schemata)?;
    match &plan.monitor {
        Some(monitor) => fs::create_dir(monitor).with_context(|| format!("make {}", monitor.display())),
        None => Ok(()),
    }
}

/// An existing class must be what the configuration says (runtime-spec, config-linux.md, "IntelRdt").
fn agrees(plan: &Rdt) -> Result<()> {
    let path = plan.class.join("schemata");
    let theirs = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let theirs: Vec<_> = theirs.lines().filter_map(values).collect();
    for wanted in &plan.schemata[..plan.compared] {
        let same = |(resource, wanted): &Line<'_>| {
            let found = theirs.iter().find(|(name, _)| name == resource);
            found.is_some_and(|(_, theirs)| wanted.iter().all(|value| theirs.contains(value)))
        };
        if !values(wanted).as_ref().is_some_and(same) {
            let class = plan.class.display();
            return Err(fail!(Kind::Spec, "class {class} exists and does not agree with {wanted:?}"));
        }
    }
    Ok(())
}

/// A resource, and for each of its numbers a value.
type Line<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// `L3:0=00ff;1=f`, numbers and values without leading zeros.
fn values(line: &str) -> Option<Line<'_>> {
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

/// Another schemata for the class of a container that exists.
pub fn update(remembered: &Remembered, lines: &[String]) -> Result<()> {
    write_schemata(&remembered.class, lines).map_err(|error| in_the_words_of_resctrl(error, &remembered.root))
}

/// The lines that the class has now.
pub fn schemata(remembered: &Remembered) -> Result<Vec<String>> {
    let path = remembered.class.join("schemata");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

/// Puts a process into the class and the group.
pub fn join(remembered: &Remembered, pid: i32) -> Result<()> {
    for directory in std::iter::once(&remembered.class).chain(&remembered.monitor) {
        let path = directory.join("tasks");
        fs::write(&path, pid.to_string())
            .with_context(|| format!("add process {pid} to {}", path.display()))
            .map_err(|error| in_the_words_of_resctrl(error, &remembered.root))?;
    }
    Ok(())
}

/// Removes what was made for the container alone.
pub fn remove(remembered: &Remembered) -> Result<()> {
    let class = remembered.remove_class.then_some(&remembered.class);
    for directory in remembered.monitor.iter().chain(class) {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.with_context(|| format!("remove {}", directory.display()))?,
        }
    }
    Ok(())
}

/// The filesystem keeps a sentence about its last failure.
fn in_the_words_of_resctrl(error: Error, root: &Path) -> Error {
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
        assert_eq!(values("    L3:0=00ff; 01=f"), Some(("L3", vec![("", "ff"), ("1", "f")])));
        assert_eq!(values("L3"), None);
        assert_eq!(values("L3:x"), None);
    }
}
