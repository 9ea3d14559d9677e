//! `checkpoint`.

use super::options::{Checkpoint, Globals};
use crate::error::{Error, Kind, Result};

pub fn checkpoint(_globals: &Globals, _options: &Checkpoint) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "checkpoint is not implemented yet"))
}
