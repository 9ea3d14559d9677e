//! `features`: JSON indented by four blanks.

use crate::error::Result;
use serde::Serialize;

pub(crate) fn json(features: &impl Serialize) -> Result<String> {
    Ok(super::indented(features, "    ")? + "\n")
}
