//! `update`.

use super::options::{Globals, Update};
use crate::error::{Error, Kind, Result};

pub fn update(_globals: &Globals, _options: &Update) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "update is not implemented yet"))
}
