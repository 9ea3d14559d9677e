//! `spec`.

use super::options::Spec;
use crate::error::{Error, Kind, Result};

pub fn spec(_options: &Spec) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "spec is not implemented yet"))
}
