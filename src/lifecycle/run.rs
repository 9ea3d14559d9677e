//! `run`.

use super::options::{Globals, Run};
use crate::error::{Error, Kind, Result};

pub fn run(_globals: &Globals, _options: &Run) -> Result<i32> {
    Err(Error::new(Kind::Unsupported, "run is not implemented yet"))
}
