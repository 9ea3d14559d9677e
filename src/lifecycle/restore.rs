//! `restore`.

use super::options::{Globals, Restore};
use crate::error::{Error, Kind, Result};

pub fn restore(_globals: &Globals, _options: &Restore) -> Result<i32> {
    Err(Error::new(Kind::Unsupported, "restore is not implemented yet"))
}
