//! Reads a document into the types of `oci-spec`: one fast pass and, if it fails, a second, lenient one.
//!
//! The second pass accepts what other runtimes accept and the `oci-spec` types do not ([`super::lenient`]).
//! If that does not help, it finds every wrong member and not only the first: it notes the wrong one,
//! replaces it by something harmless or removes it, and reads the whole document again.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config_error::{ConfigError, quote};
use super::diagnostics::Diagnostics;
use super::removed::Removed;
use super::strict::{Strict, Track, UNKNOWN};
use super::{lenient, locate, tree, type_messages};
use crate::error::{Error, Kind, matched};
use crate::fail;

/// How often a document is read at most. Each time one more wrong member is found, or one member with several
/// spellings is put together. It is bounded because each reading of a large document takes time.
const MAX_READINGS: usize = 40;
/// The limit for a command that asks for all errors.
const MAX_READINGS_TO_EXAMINE: usize = 200;

/// Objects whose members may have any name: of two with one name, the last one counts.
const FREE_NAMES: &[&str] = &[
    "/annotations",
    "/linux/sysctl",
    "/linux/netDevices",
    "/linux/timeOffsets",
    "/linux/resources/unified",
    "/linux/resources/rdma",
    "/unified",
    "/rdma",
];

/// Members of the specification for other systems.
const OTHER_SYSTEMS: &[&str] =
    &["/windows", "/solaris", "/vm", "/zos", "/freebsd", "/process/commandLine", "/process/user/username"];

/// A document that can be read: the configuration, or the process of `exec --process`.
pub(super) trait Document: Sized {
    /// The type that its members are read into.
    type Members: DeserializeOwned + Into<Self>;

    /// Changes values that the types refuse and other runtimes accept.
    fn make_acceptable(value: &mut Value, diagnostics: &mut Diagnostics);
}

impl Document for oci_spec::runtime::Spec {
    type Members = super::document::Spec;

    fn make_acceptable(value: &mut Value, diagnostics: &mut Diagnostics) {
        lenient::config(value, diagnostics);
    }
}

impl Document for oci_spec::runtime::LinuxResources {
    type Members = Self;

    fn make_acceptable(value: &mut Value, _diagnostics: &mut Diagnostics) {
        lenient::resources_document(value);
    }
}

impl Document for oci_spec::runtime::Process {
    type Members = super::document::Process;

    fn make_acceptable(value: &mut Value, diagnostics: &mut Diagnostics) {
        lenient::process_document(value, diagnostics);
    }
}

/// Reads `bytes`. Errors and changes go to `diagnostics`. The returned document lacks the wrong members;
/// `None` if nothing is left.
///
/// # Errors
/// `Kind::Spec`: not JSON (with line and column), or no object.
pub(super) fn read_document<T: Document>(
    bytes: &[u8],
    diagnostics: &mut Diagnostics,
) -> Result<Option<Box<T>>, Error> {
    match parse(bytes, &Track::new(false)) {
        Ok(document) => Ok(Some(document)),
        Err((_, first)) => parse_leniently(bytes, duplicate_field_name(&first).is_some(), false, diagnostics),
    }
}

/// Reads like [`document`], and also reports members that nobody reads.
pub(super) fn examine<T: Document>(
    bytes: &[u8],
    diagnostics: &mut Diagnostics,
) -> Result<Option<Box<T>>, Error> {
    let first = parse::<T>(bytes, &Track::new(false)).err();
    let has_duplicates = first.is_some_and(|(_, first)| duplicate_field_name(&first).is_some());
    parse_leniently(bytes, has_duplicates, true, diagnostics)
}

/// Reads once. On failure it returns the pointer of the unreadable value.
fn parse<T: Document>(bytes: &[u8], track: &Track) -> Result<Box<T>, (String, serde_json::Error)> {
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let members = T::Members::deserialize(Strict::new(&mut parser, track));
    let members = members.and_then(|members| parser.end().map(|()| members));
    members.map(|members| Box::new(members.into())).map_err(|error| (track.pointer(), error))
}

#[cold]
#[inline(never)]
fn parse_leniently<T: Document>(
    bytes: &[u8],
    has_duplicates: bool,
    notes_unknown: bool,
    diagnostics: &mut Diagnostics,
) -> Result<Option<Box<T>>, Error> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| syntax(bytes, &error))?;
    match &value {
        Value::Null => return Err(Error::new(Kind::Spec, matched::CONFIG_NULL)),
        Value::Object(_) => {}
        _ => return Err(fail!(Kind::Spec, "the document is not a JSON object")),
    }
    duplicates(bytes, has_duplicates, notes_unknown, diagnostics);
    T::make_acceptable(&mut value, diagnostics);
    Ok(read_all(value, notes_unknown, diagnostics))
}

/// Reports doubled members. `Value` silently keeps the last one; the types refuse them where they know the
/// names.
fn duplicates(bytes: &[u8], are_wrong: bool, notes_unknown: bool, diagnostics: &mut Diagnostics) {
    for pointer in locate::duplicates(bytes) {
        let holder = pointer.rsplit_once('/').map_or("", |(holder, _)| holder);
        if are_wrong && !FREE_NAMES.contains(&holder) {
            diagnostics.unreadable(ConfigError::new(pointer, "this member stands here twice"));
        } else if notes_unknown {
            let message = "this member stands here twice: the last one holds";
            diagnostics.unknown.push(ConfigError::new(pointer, message));
        }
    }
}

/// Reads `value`, and reports all its members with a wrong type.
fn read_all<T: Document>(
    mut value: Value,
    notes_unknown: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Box<T>> {
    let mut replaced = Vec::<String>::new();
    for _ in 0..if notes_unknown { MAX_READINGS_TO_EXAMINE } else { MAX_READINGS } {
        let track = Track::new(notes_unknown);
        // The value is made text again: reading values directly would be a second copy of all readers, a
        // quarter of a MiB.
        let (pointer, error) = match parse(&serde_json::to_vec(&value).unwrap_or_default(), &track) {
            Ok(document) => return Some(document),
            Err(wrong) => wrong,
        };
        let refusal = without_position(&error);
        let original = diagnostics.removed.original(&pointer);
        if refusal.starts_with(UNKNOWN) {
            if !OTHER_SYSTEMS.contains(&&*original) {
                diagnostics.unknown.push(ConfigError::new(original, refusal));
            }
            remove_member(&mut value, &pointer, &mut diagnostics.removed);
            continue;
        }
        if let Some(name) = duplicate_field_name(&error)
            && merge_case_variants(&mut value, &pointer, &name, diagnostics)
        {
            continue;
        }
        // A member that is missing because it was removed has been reported already.
        if !diagnostics.errors.iter().any(|told| told.concerns(&original)) {
            let message = type_messages::message(&pointer, tree::find(&value, &pointer), &refusal);
            diagnostics.unreadable(ConfigError::new(original, message));
        }
        // Other errors are looked for in a document that is as complete as possible.
        if !replaced.contains(&pointer)
            && let Some(stand_in) = type_messages::stand_in(tree::find(&value, &pointer), &refusal)
            && let Some(wrong) = tree::find_mut(&mut value, &pointer)
        {
            *wrong = stand_in;
            replaced.push(pointer);
        } else if !remove_member(&mut value, &pointer, &mut diagnostics.removed) {
            return None;
        }
    }
    None
}

/// Makes the error for a document of which nothing could be read, if no other error says why.
pub(super) fn unreadable() -> Error {
    fail!(Kind::Spec, "the document cannot be read")
}

/// Returns the name of a doubled member. serde's English text has it; tests/spec_syntax.rs fails if that text
/// changes.
fn duplicate_field_name(error: &serde_json::Error) -> Option<String> {
    error.to_string().strip_prefix("duplicate field `")?.split_once('`').map(|(name, _)| name.to_owned())
}

/// Joins members whose names differ only in case: to Go they are one member, which it reads one after the
/// other. If both have the same member, the spelling of the specification wins.
fn merge_case_variants(value: &mut Value, pointer: &str, name: &str, diagnostics: &mut Diagnostics) -> bool {
    let Some(members) = tree::find_mut(value, pointer).and_then(Value::as_object_mut) else { return false };
    let others = members.keys().filter(|key| *key != name && key.eq_ignore_ascii_case(name));
    let others: Vec<String> = others.cloned().collect();
    let at = diagnostics.removed.original(pointer);
    for other in &others {
        let mut lost = Vec::new();
        if let Some(more) = members.remove(other) {
            merge(members.entry(name).or_insert(Value::Null), more, &format!("{at}/{name}"), &mut lost);
        }
        let shown = if at.is_empty() { "/" } else { &at };
        let mut message = format!("{shown}: {name:?} stands here also as {}, taken together", quote(other));
        for pointer in lost {
            message.push_str(&format!("; what {} says of {pointer} is lost", quote(other)));
        }
        diagnostics.warnings.push(message);
    }
    !others.is_empty()
}

/// Merges `more` into the value at `at`. Values that have no place beside others are `lost`.
fn merge(into: &mut Value, more: Value, at: &str, lost: &mut Vec<String>) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                let existing = into.keys().find(|existing| existing.eq_ignore_ascii_case(&key)).cloned();
                let key = existing.unwrap_or(key);
                let at = format!("{at}/{}", tree::escape(&key));
                merge(into.entry(key).or_insert(Value::Null), value, &at, lost);
            }
        }
        (into @ Value::Null, more) => *into = more,
        (into, more) if *into != more => lost.push(at.to_owned()),
        _ => {}
    }
}

/// Makes the error for text that is not JSON: line and column, and the parser's words.
fn syntax(bytes: &[u8], error: &serde_json::Error) -> Error {
    if bytes.is_empty() {
        return Error::new(Kind::Spec, "the file is empty");
    }
    if bytes.starts_with(b"\xef\xbb\xbf") || bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
    {
        return fail!(Kind::Spec, "line 1, column 1: a byte order mark, where plain UTF-8 is wanted");
    }
    fail!(
        Kind::Spec,
        "line {}, column {}: not JSON: {}{}",
        error.line(),
        error.column(),
        without_position(error),
        usual_mistake(bytes, error)
    )
}

/// Names what other notations have and JSON has not, if that stands where the parser stopped.
fn usual_mistake(bytes: &[u8], error: &serde_json::Error) -> &'static str {
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = error.column().saturating_sub(1).min(line.len());
    match (line[..at].trim_ascii_end().last(), line.get(at)) {
        (_, Some(b'/' | b'#')) => " (JSON has no comments)",
        (_, Some(b'\'')) => " (JSON quotes with \")",
        (Some(b','), Some(b'}' | b']')) => " (no comma stands before } or ])",
        (Some(b','), Some(b',')) => " (two commas)",
        _ => "",
    }
}

/// Returns the parser's words without the place.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// Removes the member or the item at `pointer` from its object or array. Returns false at the root, which
/// nothing contains.
fn remove_member(value: &mut Value, mut pointer: &str, removed: &mut Removed) -> bool {
    while let Some((above, token)) = pointer.rsplit_once('/') {
        match tree::find_mut(value, above) {
            Some(Value::Array(items)) => {
                if let Some(index) = token.parse().ok().filter(|index| *index < items.len()) {
                    items.remove(index);
                    removed.add(above, index);
                    return true;
                }
            }
            Some(holder) => {
                let removed = tree::remove(holder, &tree::unescape(token));
                if removed.is_some() {
                    return true;
                }
            }
            None => {}
        }
        pointer = above;
    }
    false
}
