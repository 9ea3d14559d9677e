//! `events`.

use super::options::{Events, Globals};
use crate::error::{Error, Kind, Result};

/// Hands each event to `each` as a line of JSON, as it happens.
pub fn events(
    _globals: &Globals,
    _options: &Events,
    _each: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "events is not implemented yet"))
}
