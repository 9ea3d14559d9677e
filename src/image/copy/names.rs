//! Names of images in a layout: a further one, and one less. The blobs stay as they are.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::image::ANNOTATION_REF_NAME;
use serde_json::{Value, json};

use super::layout::{change_index, name_of, open};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::source::reference::{Reference, Selector};

/// The annotation in which containerd repeats the name: if it stayed, it would have the old name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Returns the name that `text` gives an image in the layout `dir`: `NAME`, or `oci:DIR:NAME` with the same
/// layout.
///
/// # Errors
///
/// `Kind::Usage` for another place, and for what the image specification does not allow as a name.
pub(crate) fn parse_name(dir: &Path, text: &str) -> Result<String> {
    let in_other_form = ["oci-archive:", "docker-archive:", "docker://"];
    let name = match Reference::parse(text) {
        Ok(Reference::Layout { path, select: Selector::Tag(tag) }) if text.starts_with("oci:") => {
            is_same(dir, &path)?.then_some(tag).ok_or_else(elsewhere)?
        }
        _ if in_other_form.iter().any(|form| text.starts_with(form)) => return Err(elsewhere()),
        _ => text.to_owned(),
    };
    check_name(&name).map(|()| name)
}

/// Whether both are one directory.
fn is_same(one: &Path, other: &Path) -> Result<bool> {
    let id = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let looking = |path: &Path| format!("look at {}", path.display());
    Ok(id(one).with_context(|| looking(one))? == id(other).with_context(|| looking(other))?)
}

fn elsewhere() -> Error {
    let error = fail!(Kind::Usage, "a further name is in the same place as the image");
    error.with_hint("tare-image pull SOURCE DEST copies an image to another place")
}

/// Checks a name by the grammar of the image specification (annotations.md): components with slashes between
/// them, of letters and digits, and between these one of `-._:@+`, or `--`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_separator = |run: &str| matches!(run, "-" | "." | "_" | ":" | "@" | "+" | "--");
    let is_component = |component: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric();
        let runs: Vec<&str> = component.split(is_plain).filter(|run| !run.is_empty()).collect();
        component.starts_with(is_plain) && component.ends_with(is_plain) && runs.into_iter().all(is_separator)
    };
    // `oci:DIR:NAME` must lead back to it.
    let is_readable = || matches!(Reference::parse(&format!("oci:x:{name}")), Ok(Reference::Layout { select: Selector::Tag(tag), .. }) if tag == name);
    match name.split('/').all(is_component) && is_readable() {
        true => Ok(()),
        false => Err(fail!(
            Kind::Usage,
            "name {name:?}: letters and digits, and between them one of - . _ : @ + or /"
        )),
    }
}

/// Gives the image that `select` means in the layout `dir` the further name `name`. The image that had this
/// name loses it; its digest is returned.
///
/// # Errors
///
/// `Kind::NotFound` without such an image; `Kind::Usage` if there are several.
pub(crate) fn add(dir: &Path, select: &Selector, name: &str) -> Result<Option<String>> {
    let mut lost = None;
    change_index(&open(dir)?, |entries| {
        let chosen = choose(entries, select)?;
        let is_chosen = |entry: &Value| chosen.iter().any(|one| one["digest"] == entry["digest"]);
        let mut changed = entries.clone();
        // An image without a name gets this one.
        changed.retain(|entry| name_of(entry).map_or_else(|| !is_chosen(entry), |known| known != name));
        let loses = |entry: &&Value| name_of(entry) == Some(name) && !is_chosen(entry);
        lost = entries.iter().find(loses).and_then(|entry| entry["digest"].as_str()).map(str::to_owned);
        for entry in chosen.iter().map(|entry| renamed(entry, name)) {
            if !changed.contains(&entry) {
                changed.push(entry);
            }
        }
        let is_changed = changed != *entries;
        *entries = changed;
        Ok(is_changed)
    })?;
    Ok(lost)
}

/// Removes the name that `select` means from the layout `dir`: a tag, or a digest that is there once.
///
/// # Errors
///
/// `Kind::NotFound` without it; `Kind::Usage` for an image of several names that is not named by one.
pub(crate) fn remove(dir: &Path, select: &Selector) -> Result<()> {
    change_index(&open(dir)?, |entries| {
        let chosen = choose(entries, select)?;
        if !matches!(select, Selector::Tag(_)) && chosen.len() > 1 {
            return Err(with_names(fail!(Kind::Usage, "the image has {} names", chosen.len()), &chosen));
        }
        entries.retain(|entry| !chosen.contains(entry));
        Ok(true)
    })
}

/// An entry under another name.
fn renamed(entry: &Value, name: &str) -> Value {
    let mut entry = entry.clone();
    if !entry["annotations"].is_object() {
        entry["annotations"] = json!({});
    }
    if let Some(annotations) = entry["annotations"].as_object_mut() {
        annotations.remove(CONTAINERD_NAME);
        annotations.insert(ANNOTATION_REF_NAME.into(), json!(name));
    }
    entry
}

/// The entries of one image: those of a tag, of a digest, or all there are.
fn choose(entries: &[Value], select: &Selector) -> Result<Vec<Value>> {
    let is_meant = |entry: &&Value| match select {
        Selector::Only => true,
        Selector::Tag(tag) => name_of(entry) == Some(tag),
        Selector::Digest(digest) => entry["digest"].as_str() == Some(digest.as_ref()),
    };
    let chosen: Vec<Value> = entries.iter().filter(is_meant).cloned().collect();
    // Under one tag there may be one image for each platform.
    let is_one = chosen.windows(2).all(|pair| pair[0]["digest"] == pair[1]["digest"]);
    let error = match (select, chosen.is_empty()) {
        (Selector::Tag(_), true) => fail!(Kind::NotFound, "there is no image of this tag"),
        (Selector::Digest(_), true) => fail!(Kind::NotFound, "there is no image of this digest"),
        (Selector::Only, true) => fail!(Kind::NotFound, "there is no image in it"),
        (Selector::Only, _) if !is_one => fail!(Kind::Usage, "there are {} images in it", chosen.len()),
        _ => return Ok(chosen),
    };
    Err(with_names(error, entries))
}

fn with_names(error: Error, entries: &[Value]) -> Error {
    let names: Vec<&str> = entries.iter().filter_map(name_of).take(20).collect();
    match names[..] {
        [] => error,
        _ => error.with_hint(format!("the tags are: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar_of_the_specification() {
        for name in ["v1", "latest", "1.0-rc.1", "docker.io/library/x:1", "a--b", "a@b", "A_b+c/d"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            " ",
            "a b",
            "-a",
            "a-",
            "a..b",
            "a---b",
            "a//b",
            "/a",
            "a/",
            "ä",
            "a\n",
            "a:b@c:d",
            "\u{1b}[2J",
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
