//! `kill`.

use super::options::{Globals, Kill};
use crate::error::{Error, Kind, Result};

pub fn kill(_globals: &Globals, _options: &Kill) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "kill is not implemented yet"))
}
