//! Reads a document into the types of `oci-spec`: one fast pass, and a second, lenient one where that fails.
//!
//! The second pass accepts what other runtimes accept and the `oci-spec` types do not ([`super::lenient`]), and
//! where that does not help, finds every member that is wrong, not only the first: what is wrong is noted, taken
//! out, and the rest is read again.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config_error::ConfigError;
use super::diagnostics::Diagnostics;
use super::strict::{Strict, Track};
use super::{lenient, locate, tree, type_messages};
use crate::error::{Error, Kind, matched};
use crate::fail;

/// The most wrong members that are reported.
const MAX_ERRORS: usize = 17;

/// A document that can be read: the configuration, or the process of `exec --process`.
pub(super) trait Document: Sized {
    /// The type that its members are read into.
    type Members: DeserializeOwned + Into<Self>;

    /// Changes what the types refuse and other runtimes accept.
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

/// Reads `bytes`; warnings about what was changed on the way go to `diagnostics`.
///
/// # Errors
/// Of kind `Spec`: no JSON (with line and column), or members of the wrong type, all of them with their pointers.
pub(super) fn document<T: Document>(bytes: &[u8], diagnostics: &mut Diagnostics) -> Result<Box<T>, Error> {
    parse(bytes).or_else(|(_, error)| parse_leniently(bytes, &error, diagnostics))
}

/// One pass; where it fails, the pointer of what could not be read.
fn parse<T: Document>(bytes: &[u8]) -> Result<Box<T>, (String, serde_json::Error)> {
    let track = Track::default();
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let members = T::Members::deserialize(Strict::new(&mut parser, &track));
    let members = members.and_then(|members| parser.end().map(|()| members));
    members.map(|members| Box::new(members.into())).map_err(|error| (track.pointer(), error))
}

#[cold]
#[inline(never)]
fn parse_leniently<T: Document>(
    bytes: &[u8],
    first: &serde_json::Error,
    diagnostics: &mut Diagnostics,
) -> Result<Box<T>, Error> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| syntax(bytes, &error))?;
    match &value {
        Value::Null => return Err(Error::new(Kind::Spec, matched::CONFIG_NULL)),
        Value::Object(_) => {}
        _ => return Err(fail!(Kind::Spec, "the document is not a JSON object")),
    }
    // `Value` keeps the last of two members of one name in silence; the types do not.
    if let Some(pointer) =
        locate::duplicate(bytes).filter(|_| first.to_string().starts_with("duplicate field"))
    {
        return Err(single_error(bytes, pointer, "this member stands here twice".to_owned()));
    }
    T::make_acceptable(&mut value, diagnostics);
    read_all(bytes, value, diagnostics)
}

/// Reads `value`, or names all its members that are of the wrong type.
fn read_all<T: Document>(
    bytes: &[u8],
    mut value: Value,
    diagnostics: &mut Diagnostics,
) -> Result<Box<T>, Error> {
    let mut wrong = Vec::<ConfigError>::new();
    for _ in 0..MAX_ERRORS {
        // As text again: reading values instead would be a second copy of all the readers, a quarter of a MiB.
        match parse(&serde_json::to_vec(&value).unwrap_or_default()) {
            Ok(document) if wrong.is_empty() => return Ok(document),
            Ok(_) => break,
            Err((pointer, error)) => {
                if let Some(name) = twice(&error).filter(|name| fold(&mut value, &pointer, name)) {
                    diagnostics.warnings.push(format!(
                        "{pointer}: \"{name}\" stands here in several spellings, taken together"
                    ));
                    continue;
                }
                let message =
                    type_messages::message(&pointer, tree::find(&value, &pointer), &unplaced(&error));
                let removed = take_out(&mut value, &pointer);
                // What is missing because it was taken out has been told.
                let told = wrong.iter().any(|fault| fault.pointer.starts_with(&pointer));
                if !told {
                    wrong.push(ConfigError { pointer, message });
                }
                if !removed {
                    break;
                }
            }
        }
    }
    let mut all = std::mem::take(diagnostics);
    wrong.into_iter().for_each(|fault| all.push(fault));
    all.into_result(Some(bytes))?;
    Err(fail!(Kind::Spec, "the document cannot be read"))
}

/// The member that a document has twice.
fn twice(error: &serde_json::Error) -> Option<String> {
    error.to_string().strip_prefix("duplicate field `")?.split_once('`').map(|(name, _)| name.to_owned())
}

/// Members whose names differ in case alone are one to Go, which reads one into the other. Where both say the same, it
/// is the spelling of the specification that holds.
fn fold(value: &mut Value, pointer: &str, name: &str) -> bool {
    let Some(members) = tree::find_mut(value, pointer).and_then(Value::as_object_mut) else { return false };
    let others = members.keys().filter(|key| *key != name && key.eq_ignore_ascii_case(name));
    let others: Vec<String> = others.cloned().collect();
    for other in &others {
        if let Some(more) = members.remove(other) {
            merge(members.entry(name).or_insert(Value::Null), more);
        }
    }
    !others.is_empty()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                let existing = into.keys().find(|existing| existing.eq_ignore_ascii_case(&key)).cloned();
                merge(into.entry(existing.unwrap_or(key)).or_insert(Value::Null), value);
            }
        }
        (into @ Value::Null, more) => *into = more,
        _ => {}
    }
}

fn single_error(bytes: &[u8], pointer: String, message: String) -> Error {
    let mut diagnostics = Diagnostics::default();
    diagnostics.push(ConfigError { pointer, message });
    match diagnostics.into_result(Some(bytes)) {
        Err(error) => error,
        Ok(_) => fail!(Kind::Spec, "the document cannot be read"),
    }
}

/// What is no JSON: line and column, and the parser's words.
fn syntax(bytes: &[u8], error: &serde_json::Error) -> Error {
    if bytes.is_empty() {
        return Error::new(Kind::Spec, "the file is empty");
    }
    if bytes.starts_with(b"\xef\xbb\xbf") || bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
    {
        return fail!(Kind::Spec, "line 1, column 1: a byte order mark, where plain UTF-8 is wanted");
    }
    fail!(Kind::Spec, "line {}, column {}: not JSON: {}", error.line(), error.column(), unplaced(error))
}

/// The parser's words without the place.
fn unplaced(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// Takes the member that holds the value at `pointer` out of its object. An item of an array takes the whole array
/// with it: what is left must keep its numbers. False at the root, which nothing holds.
fn take_out(value: &mut Value, mut pointer: &str) -> bool {
    while let Some((holder, token)) = pointer.rsplit_once('/') {
        if let Some(holder) = tree::find_mut(value, holder)
            && tree::remove(holder, &tree::unescape(token)).is_some()
        {
            return true;
        }
        pointer = holder;
    }
    false
}
