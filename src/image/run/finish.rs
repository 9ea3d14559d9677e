//! The end of a container: its process, its mounts and its network are removed, and with `--rm` its files too.
//! The same is done for containers whose process was killed, by the next command.

use std::os::fd::AsFd;
use std::time::Duration;

use super::network;
use super::record::{self, Exit, Owned, Record, now};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::bundle::{self, Bundle};
use crate::image::filesystem::remove;
use crate::image::parallel::both;
use crate::image::store::Store;
use crate::inroot::c_string;
use crate::log;

/// Ends what is left of the container, and removes it or records its exit code. `code` is given by the process
/// that has started it.
pub(super) fn finish(owned: &Owned, record: &mut Record, code: Option<i32>) -> Result<()> {
    let is_removed = record.remove;
    dismantle(owned, record, code.is_some(), || match is_removed {
        true => bundle::discard(&owned.store, &owned.bundle()),
        false => bundle::umount(&Bundle::open_to_change(&owned.bundle())?),
    })?;
    if is_removed {
        return discard_files(owned);
    }
    record.exit = Some(Exit { code, finished: now() });
    record.attachment = None;
    owned.write(record)
}

/// Removes the runtime's container, and then what `tidy` does, and the network. `has_ended` says that this process
/// has seen the end of the container: nothing in it needs the network, which is undone at the same time.
fn dismantle(
    owned: &Owned,
    record: &Record,
    has_ended: bool,
    tidy: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    let disconnect = || match &record.attachment {
        Some(attachment) => attachment.remove(&owned.dir, &owned.namespace()),
        None => Ok(()),
    };
    if !has_ended {
        record.runtime.delete(&owned.target())?;
        disconnect()?;
        return tidy();
    }
    let delete = || record.runtime.delete_own(&owned.target()).and_then(|()| tidy());
    if record.attachment.is_none() {
        return delete();
    }
    // The record stays until both are done: what has failed, the next command does again.
    let (disconnected, deleted) = both(disconnect, delete);
    deleted.and(disconnected)
}

/// Ends what is left of the container, and removes everything. Without a record it has not begun.
pub(super) fn discard(owned: &Owned, record: Option<&Record>) -> Result<()> {
    if let Some(record) = record {
        dismantle(owned, record, false, || Ok(()))?;
    }
    discard_files(owned)
}

/// Removes the directory of a container, and what is mounted in it.
fn discard_files(owned: &Owned) -> Result<()> {
    network::let_go(&owned.dir)?;
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
    if record::read(store, name)?.is_some_and(|record| record.exit.is_some()) {
        return Ok(());
    }
    let Some(owned) = Owned::lock(store, name, false)? else { return Ok(()) };
    match owned.read()? {
        Some(record) if record.exit.is_some() => Ok(()),
        Some(mut record) => {
            log::debug(format_args!("container {name}: the process that ran it was killed"));
            finish(&owned, &mut record, None)
        }
        None => discard(&owned, None),
    }
}

/// Fails if there is a container of this name.
pub(crate) fn refuse_if_taken(store: &Store, id: &ContainerId) -> Result<()> {
    if is_container(store, id.as_str())? { Err(record::taken(id)) } else { Ok(()) }
}

/// Whether there is a container of this name, running or ended.
pub(crate) fn is_container(store: &Store, name: &str) -> Result<bool> {
    Ok(record::names(store)?.iter().any(|known| known == name))
}

/// How often and how long a command is waited for that looks at an ended container.
const MOMENTS: u32 = 10;
const MOMENT: Duration = Duration::from_millis(20);

/// Removes a container; with `force` it is ended first if it runs.
///
/// # Errors
///
/// `Kind::NotFound` if there is none, `Kind::State` if it runs.
pub(crate) fn remove_container(store: &Store, name: &str, force: bool) -> Result<()> {
    for _ in 0..MOMENTS {
        if let Some(owned) = Owned::lock(store, name, false)? {
            return discard_read(&owned, force);
        }
        match record::read(store, name)? {
            None if !is_container(store, name)? => {
                return Err(fail!(Kind::NotFound, "there is no container {name}"));
            }
            Some(record) if record.exit.is_none() => {
                return if force { end_and_remove(store, name, &record) } else { Err(runs(name)) };
            }
            // It is being made, or another command looks at it.
            _ => std::thread::sleep(MOMENT),
        }
    }
    Err(fail!(Kind::State, "container {name}: another command is at work on it"))
}

/// Removes a container that is not running; with `force` even one whose record is damaged.
fn discard_read(owned: &Owned, force: bool) -> Result<()> {
    let record = match owned.read() {
        Err(error) if force => {
            log::warn(format_args!(
                "container {}: what its network has left is not known: {error}",
                owned.name
            ));
            None
        }
        Err(error) => return Err(error.with_hint("--force removes it nonetheless")),
        record => record?,
    };
    discard(owned, record.as_ref())
}

/// Ends a container that runs, and removes what its own process does not.
fn end_and_remove(store: &Store, name: &str, record: &Record) -> Result<()> {
    record.runtime.delete(&record::target(&store.containers()?.below(name)?, store, name))?;
    match Owned::lock(store, name, true)? {
        Some(owned) => discard_read(&owned, true),
        // --rm: its own process was faster.
        None => Ok(()),
    }
}

fn runs(name: &str) -> Error {
    fail!(Kind::State, "container {name} runs").with_hint(format!(
        "`tare kill {name} KILL` ends it; `tare-image remove --force {name}` ends and removes it"
    ))
}
