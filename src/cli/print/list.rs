//! `list`: a table, one line of JSON, or ids.

use super::{columns, owner};
use crate::error::Result;
use crate::lifecycle::list::Listed;
use crate::lifecycle::state::State;

pub fn ids(listed: &[Listed]) -> String {
    listed.iter().map(|one| format!("{}\n", one.state.id)).collect()
}

/// One line; `null` when there is none, as Go writes a slice that was never made.
pub fn json(listed: Vec<Listed>, passwd: &str) -> Result<String> {
    if listed.is_empty() {
        return Ok(String::from("null\n"));
    }
    let states: Vec<State> = listed
        .into_iter()
        .map(|Listed { state, uid }| State { owner: owner::name(passwd, uid), ..state })
        .collect();
    Ok(super::compact(&states)? + "\n")
}

pub fn table(listed: &[Listed], passwd: &str) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let row = |Listed { state, uid }: &Listed| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            owner::name(passwd, *uid),
        ]
    };
    let rows: Vec<_> = std::iter::once(header).chain(listed.iter().map(row)).collect();
    columns::align(&rows)
}
