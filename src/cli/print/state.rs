//! `state`: JSON indented by two blanks, no newline at the end, as runc prints it.

use crate::error::Result;
use crate::lifecycle::verbs::state::State;

pub(crate) fn json(state: &State) -> Result<String> {
    super::indented(state, "  ")
}
