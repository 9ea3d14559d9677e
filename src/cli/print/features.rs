//! `features`: JSON indented by four blanks.

use crate::error::Result;
use crate::lifecycle::verbs::features::Features;

pub(crate) fn json(features: &Features) -> Result<String> {
    Ok(super::indented(features, "    ")? + "\n")
}
