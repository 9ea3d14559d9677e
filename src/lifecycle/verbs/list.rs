//! `list`: lists the containers under the state root.

use super::state::{self, State};
use crate::cgroup::HierarchyRoots;
use crate::container::Store;
use crate::error::{Kind, Result};
use crate::lifecycle::load;
use crate::lifecycle::options::Globals;
use crate::{fail, log};

/// One container of the list, with the uid of its directory's owner.
#[derive(Debug)]
pub(crate) struct Listed {
    pub state: State,
    pub uid: u32,
}

/// Returns every container under the state root. An unreadable one is reported on stderr and left out.
pub(crate) fn list(globals: &Globals) -> Result<Vec<Listed>> {
    let entries = match Store::new(&globals.root, globals.root_in_xdg).entries()? {
        Some(entries) => entries,
        None if globals.root_explicit => {
            return Err(fail!(Kind::NotFound, "open {}: no such file or directory", globals.root.display()));
        }
        None => Vec::new(),
    };
    let mut all = Vec::with_capacity(entries.len());
    let mut hierarchies = HierarchyRoots::default();
    for entry in entries {
        let (id, owner) = (entry.id().clone(), entry.owner());
        let loaded = owner.and_then(|uid| Ok((uid, load::from_entry_with(entry, &mut hierarchies)?)));
        match loaded {
            Ok((uid, container)) => all.push(Listed { state: state::from_container(container), uid }),
            Err(error) => log::plain(format_args!("load container {id}: {error}")),
        }
    }
    Ok(all)
}
