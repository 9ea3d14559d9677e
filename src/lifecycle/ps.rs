//! `ps`.

use super::options::Globals;
use crate::error::{Error, Kind, Result};

/// The host's ids of all processes of the container.
pub fn ps(_globals: &Globals, _id: &str) -> Result<Vec<i32>> {
    Err(Error::new(Kind::Unsupported, "ps is not implemented yet"))
}
