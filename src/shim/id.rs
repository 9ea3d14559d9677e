//! The names that containerd gives: each becomes a name of files and an argument.

use crate::error::{Kind, Result};
use crate::fail;

/// Checks the id of a container. The runtime has its own rules besides.
pub(crate) fn check(id: &str) -> Result<()> {
    match is_plain(id) && !id.starts_with('-') {
        true => Ok(()),
        false => Err(fail!(Kind::Usage, "{id:?} is no id of a container")),
    }
}

/// Checks the name of a namespace, which is a directory's below the state of all containers.
pub(crate) fn check_namespace(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(fail!(Kind::Usage, "shim namespace cannot be empty"));
    }
    match is_plain(name) {
        true => Ok(()),
        false => Err(fail!(Kind::Usage, "{name:?} is no name of a namespace")),
    }
}

/// Whether it is one component of a path.
fn is_plain(name: &str) -> bool {
    !name.contains(['/', '\0']) && !matches!(name, "" | "." | "..")
}
