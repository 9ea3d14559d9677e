//! `pause`.

use super::options::Globals;
use crate::error::{Error, Kind, Result};

pub fn pause(_globals: &Globals, _id: &str) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "pause is not implemented yet"))
}
