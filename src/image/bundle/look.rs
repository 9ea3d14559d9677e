//! What a bundle that a store knows is doing.

use std::path::Path;

use super::in_use::refuse_if_in_use;
use super::opened::Bundle;
use super::overlay::is_mounted;
use crate::error::Kind;

/// The bundle's state, in a word or two, and what is to be said of it.
pub(crate) fn look(path: &Path) -> (&'static str, Option<String>) {
    let bundle = match Bundle::open_to_change(path) {
        Ok(bundle) => bundle,
        Err(error) if error.kind() == Kind::NotFound => return ("gone", None),
        Err(error) => return ("unknown", Some(error.to_string())),
    };
    match refuse_if_in_use(&bundle).map(|()| is_mounted(&bundle)) {
        Err(error) if error.kind() == Kind::State => ("in use", Some(error.to_string())),
        Ok(Ok(true)) => ("mounted", None),
        Ok(Ok(false)) => ("not mounted", None),
        Err(error) | Ok(Err(error)) => ("unknown", Some(error.to_string())),
    }
}
