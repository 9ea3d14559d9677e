//! `start`.

use super::options::Globals;
use crate::error::{Error, Kind, Result};

pub fn start(_globals: &Globals, _id: &str) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "start is not implemented yet"))
}
