//! `exec`.

use super::options::{Exec, Globals};
use crate::error::{Error, Kind, Result};

pub fn exec(_globals: &Globals, _options: &Exec) -> Result<i32> {
    Err(Error::new(Kind::Unsupported, "exec is not implemented yet"))
}
