//! `create`.

use super::options::{Create, Globals};
use crate::error::{Error, Kind, Result};

pub fn create(_globals: &Globals, _options: &Create) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "create is not implemented yet"))
}
