//! `delete`.

use super::options::{Delete, Globals};
use crate::error::{Error, Kind, Result};

pub fn delete(_globals: &Globals, _options: &Delete) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "delete is not implemented yet"))
}
