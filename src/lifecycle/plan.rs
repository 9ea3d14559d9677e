//! `plan`.

use std::path::Path;

use super::options::Globals;
use crate::error::{Error, Kind, Result};

pub fn plan(_bundle: &Path, _globals: &Globals) -> Result<Box<dyn std::fmt::Display>> {
    Err(Error::new(Kind::Unsupported, "plan is not implemented yet"))
}
