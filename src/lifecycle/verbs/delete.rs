//! `delete`: removes everything that the record of a container names. It can be repeated.
//!
//! What is removed, and the poststop hooks, are in [`cleanup`](crate::lifecycle::cleanup).

use crate::container::{Entry, Status};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::lifecycle::load;
use crate::lifecycle::options::{Delete, Globals, Targets};
use crate::lifecycle::{cleanup, id_pattern};
use crate::log;

/// Deletes each of `targets`.
pub(crate) fn delete(globals: &Globals, targets: &Targets, options: &Delete) -> Result<()> {
    match targets {
        Targets::One(id) => delete_container(globals, id, options.force),
        Targets::Matching(pattern) => {
            id_pattern::for_each_match(globals, pattern, |id| delete_container(globals, id, options.force))
        }
    }
}

fn delete_container(globals: &Globals, id: &ContainerId, force: bool) -> Result<()> {
    let entry = load::entry(globals, id);
    let _lock = match entry.lock() {
        Err(error) if error.kind() == Kind::NotFound && force => return Ok(()),
        other => other?,
    };
    let record = match entry.read_record() {
        Ok(record) => record,
        Err(error) => return without_record(&entry, error, force),
    };
    let container = load::from_record(entry, record)?;
    match container.status {
        Status::Stopped if !force => cleanup::remove_container(&container.entry, &container.record, None),
        Status::Created | Status::Stopped => cleanup::kill_and_remove(&container),
        _ if force => cleanup::kill_and_remove(&container),
        other => Err(Error::new(Kind::State, matched::not_stopped(id, other.word()))
            .with_hint("`tare delete --force` ends its processes first")),
    }
}

/// Deletes a directory without a readable record. Only if the record itself is missing or torn: another
/// failure to read it says nothing about the container.
fn without_record(entry: &Entry, error: Error, force: bool) -> Result<()> {
    let absent = error.kind() == Kind::NotFound;
    if !absent && error.kind() != Kind::State {
        return Err(error);
    }
    // This is left of a creation that was killed. Its id is freed, with or without force.
    if absent && entry.has_not_begun()? {
        entry.remove()?;
        return if force { Ok(()) } else { Err(error) };
    }
    if !force {
        return Err(error);
    }
    let Some(record) = entry.salvage()? else { return unknown(entry, error) };
    log::warn(format_args!("{error}: deleting what is still known of the container"));
    cleanup::kill_and_remove(&load::from_record(entry.clone(), record)?)
}

/// Handles a container of which no process and no group is known.
fn unknown(entry: &Entry, error: Error) -> Result<()> {
    if entry.has_not_begun()? || entry.is_of_an_earlier_boot()? {
        return entry.remove();
    }
    Err(error.context("its processes and control groups are not known").with_hint(format!(
        "if {} is the directory of a container of tare's: end its processes, remove its control groups, then remove it",
        entry.path().display()
    )))
}
