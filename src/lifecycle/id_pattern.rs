//! crun's `--regex`: one command for every container whose id matches an expression.

use regex_lite::Regex;

use super::options::Globals;
use crate::container::Store;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::fail;

/// Calls `act` for each matching container, even after a failure. The failures become one error.
pub(super) fn for_each_match(
    globals: &Globals,
    expression: &str,
    act: impl Fn(&ContainerId) -> Result<()>,
) -> Result<()> {
    let expression = Regex::new(expression)
        .map_err(|error| fail!(Kind::Usage, "invalid regular expression {expression:?}: {error}"))?;
    let entries = Store::new(&globals.root, globals.root_in_xdg).entries()?.unwrap_or_default();
    let ids = entries.iter().map(|entry| entry.id());
    let act = |id: &ContainerId| act(id).err().map(|error| (id.clone(), error));
    let failures: Vec<_> = ids.filter(|id| expression.is_match(id.as_str())).filter_map(act).collect();
    match &failures[..] {
        [] => Ok(()),
        [(id, first), ..] => Err(together(first.kind(), id, &failures)),
    }
}

/// Joins the failures into one sentence, because engines read one error of a command.
fn together(kind: Kind, first: &ContainerId, failures: &[(ContainerId, Error)]) -> Error {
    if let [(_, only)] = failures {
        return only.clone().context(format!("container {first}"));
    }
    let all: Vec<_> = failures.iter().map(|(id, error)| format!("container {id}: {error}")).collect();
    fail!(kind, "{} containers: {}", failures.len(), all.join("; "))
}
