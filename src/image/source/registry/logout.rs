//! `tare-image logout`: removes a registry's credentials wherever `login`, Docker or Podman keep them, so
//! that none are found afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::auth_change::change_entries;
use super::auth_file::{auth_files, canonical_host, kept_in, server_url};
use super::credential_helper::Helper;
use crate::error::{Error, Kind, Result};
use crate::fail;

/// What `logout` has found.
#[derive(Debug, Default)]
pub(crate) struct LoggedOut {
    /// The files and helpers that had the credentials.
    pub(crate) places: Vec<String>,
    /// Entries for parts of the registry, which stay, each with its file.
    pub(crate) others: Vec<(String, PathBuf)>,
}

/// Removes the credentials for `registry`, `HOST[:PORT]` or an entry for a part of it, `HOST[:PORT]/PATH`.
///
/// # Errors
///
/// `Kind::NotFound` if there are none. The first fault of a file or helper, when all have been tried.
pub(crate) fn logout(registry: &str, auth_file: Option<&Path>, deadline: Duration) -> Result<LoggedOut> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace();
    if registry.is_empty()
        || registry.contains("://")
        || registry.starts_with('/')
        || !registry.chars().all(is_plain)
    {
        return Err(fail!(Kind::Usage, "registry {registry:?}: must be HOST[:PORT], or HOST[:PORT]/PATH"));
    }
    let key = match canonical_host(registry) {
        "index.docker.io" => "docker.io",
        host => host,
    };
    let files = auth_files(auth_file, &|name| std::env::var_os(name).map(PathBuf::from));
    let (mut found, mut fault) = (LoggedOut::default(), None);
    for path in &files {
        if let Err(error) = remove_from(path, key, deadline, &mut found) {
            fault = fault.or(Some(error));
        }
    }
    match fault {
        Some(error) => Err(error),
        None if found.places.is_empty() => Err(not_logged_in(registry, &files, &found)),
        None => Ok(found),
    }
}

fn remove_from(path: &Path, key: &str, deadline: Duration, found: &mut LoggedOut) -> Result<()> {
    let Some(kept) = kept_in(path, key)? else { return Ok(()) };
    found.others.extend(kept.below.into_iter().map(|name| (name, path.to_owned())));
    if !kept.names.is_empty() {
        let remove = |entries: &mut Map<String, Value>| {
            let count = entries.len();
            entries.retain(|name, _| !kept.names.contains(name));
            entries.len() < count
        };
        if change_entries(path, remove)? && kept.has_secret {
            found.places.push(path.display().to_string());
        }
    }
    let Some(name) = kept.helper else { return Ok(()) };
    let helper = Helper { name: &name, deadline };
    let servers = [server_url(key), key];
    for server in if servers[0] == servers[1] { &servers[..1] } else { &servers[..] } {
        // One that is locked or broken may still forget.
        if !matches!(helper.get(server), Ok(None)) {
            helper.erase(server)?;
            let place = format!("docker-credential-{name}");
            if !found.places.contains(&place) {
                found.places.push(place);
            }
        }
    }
    Ok(())
}

fn not_logged_in(registry: &str, files: &[PathBuf], found: &LoggedOut) -> Error {
    let places: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let error = fail!(Kind::NotFound, "not logged in to {registry}: no credentials in {}", places.join(", "));
    let others: Vec<&str> = found.others.iter().map(|(name, _)| name.as_str()).collect();
    match others[..] {
        [] => error,
        _ => error.with_hint(format!("there are some for {}", others.join(", "))),
    }
}
