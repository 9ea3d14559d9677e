//! `list`.

use super::options::Globals;
use super::state::State;
use crate::error::{Error, Kind, Result};

/// One container, and the user id that its directory belongs to.
#[derive(Debug)]
pub struct Listed {
    pub state: State,
    pub uid: u32,
}

pub fn list(_globals: &Globals) -> Result<Vec<Listed>> {
    Err(Error::new(Kind::Unsupported, "list is not implemented yet"))
}
