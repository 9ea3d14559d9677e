//! The end of a container: its process, its mounts and its network are removed, and with `--rm` its files too.
//! The same is done for containers whose process was killed, by the next command.

use std::os::fd::AsFd;

use super::now;
use super::record::{self, Exit, Owned, Record};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::bundle::{self, Bundle};
use crate::image::filesystem::remove;
use crate::image::store::Store;
use crate::inroot::c_string;
use crate::log;

/// Ends what is left of the container and, unless it is to be removed, records its exit code.
pub(super) fn finish(owned: Owned, record: &mut Record, code: Option<i32>) -> Result<()> {
    record.runtime.delete(&owned.target())?;
    if record.remove {
        return discard(owned);
    }
    bundle::umount(&Bundle::open_to_change(&owned.bundle())?)?;
    record.exit = Some(Exit { code, finished: now() });
    owned.write(record)
}

/// Removes a container that does not run.
pub(super) fn discard(owned: Owned) -> Result<()> {
    bundle::discard(&owned.store, &owned.bundle())?;
    let removed = remove::tree(owned.containers.as_fd(), &c_string(owned.name.as_bytes())?);
    removed.map_err(Error::from).with_context(|| format!("remove {}", owned.path_of("").display()))
}

/// Ends what killed processes have left. A container that cannot be cleaned up is told and left to the next
/// command.
pub(crate) fn recover(store: &Store) -> Result<()> {
    for name in record::names(store)? {
        if let Err(error) = recover_one(store, &name) {
            log::warn(format_args!("container {name}: {error}"));
        }
    }
    Ok(())
}

fn recover_one(store: &Store, name: &str) -> Result<()> {
    let Some(owned) = Owned::lock(store, name, false)? else { return Ok(()) };
    match owned.read()? {
        Some(record) if record.exit.is_some() => Ok(()),
        Some(mut record) => {
            log::debug(format_args!("container {name}: the process that ran it was killed"));
            finish(owned, &mut record, None)
        }
        None => discard(owned),
    }
}

/// Removes a container.
///
/// # Errors
///
/// `Kind::NotFound` if there is none, `Kind::State` if it runs.
pub(crate) fn remove_container(store: &Store, name: &str) -> Result<()> {
    recover_one(store, name)?;
    match (Owned::lock(store, name, false)?, record::read(store, name)?) {
        (Some(owned), _) => discard(owned),
        (None, Some(_)) => Err(fail!(Kind::State, "container {name} runs")),
        (None, None) => Err(fail!(Kind::NotFound, "there is no container {name}")),
    }
}
