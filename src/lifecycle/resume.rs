//! `resume`.

use super::options::Globals;
use crate::error::{Error, Kind, Result};

pub fn resume(_globals: &Globals, _id: &str) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "resume is not implemented yet"))
}
