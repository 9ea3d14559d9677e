//! The output of the verbs as text. These functions are pure, so that each format is tested without a
//! container.

pub(super) mod check;
pub(super) mod columns;
pub(super) mod events;
pub(super) mod features;
pub(super) mod inspect;
pub(super) mod list;
pub(super) mod openmetrics;
pub(super) mod owner;
pub(super) mod plan;
pub(super) mod ps;
pub(super) mod seccomp;
pub(super) mod state;
pub(super) mod top;

use serde::Serialize;

use crate::error::{Error, Kind, Result};

fn indented(value: &impl Serialize, indent: &str) -> Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer).map_err(unprintable)?;
    String::from_utf8(text).map_err(|error| Error::new(Kind::Spec, error.to_string()))
}

fn compact<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(unprintable)
}

/// JSON cannot contain paths that are not UTF-8.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn unprintable(error: serde_json::Error) -> Error {
    Error::new(Kind::Spec, error.to_string()).context("print as JSON")
}
