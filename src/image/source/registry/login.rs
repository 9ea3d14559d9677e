//! `tare-image login`: checks credentials with the registry and stores them, in the credential helper that
//! the user's file names, or in the file itself as Docker does.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::access::{Access, Credentials};
use super::auth_change::change_entries;
use super::auth_file::{auth_files, helper_for, server_url};
use super::credential_helper::Helper;
use super::endpoint::Endpoint;
use super::registries_conf::Location;
use crate::error::{Context, Kind, Result};
use crate::fail;

/// Checks the credentials with the registry and stores them. Returns the name of the helper or file.
pub(crate) fn login(host: &str, user: &str, password: &str, access: &Access) -> Result<String> {
    if host.is_empty() || host.contains('/') {
        return Err(fail!(Kind::Usage, "registry {host:?}: must be HOST[:PORT]"));
    }
    let credentials = Credentials::Password { user: user.into(), password: password.into() };
    let access = Access { credentials: Some(credentials), ..access.clone() };
    let location = Location { host: host.into(), repository: String::new(), insecure: false };
    Endpoint::new(location, &access)?.check_credentials().with_context(|| format!("log in to {host}"))?;
    let path = choose_auth_file(&access)?;
    match helper_for(&path, host)? {
        Some(helper) => {
            let entry = json!({ "ServerURL": server_url(host), "Username": user, "Secret": password });
            Helper { name: &helper, deadline: access.timeout }.store(&entry.to_string())?;
            Ok(format!("docker-credential-{helper}"))
        }
        None => {
            write_auth_file(&path, host, &format!("{user}:{password}"))?;
            Ok(path.display().to_string())
        }
    }
}

/// Chooses the first existing file in reading order, or else the file that persists over a reboot.
fn choose_auth_file(access: &Access) -> Result<PathBuf> {
    let all = auth_files(access.auth_file.as_deref(), &|name| std::env::var_os(name).map(PathBuf::from));
    for path in &all {
        if path.try_exists().with_context(|| format!("look for {}", path.display()))? {
            return Ok(path.clone());
        }
    }
    all.last().cloned().ok_or_else(|| fail!(Kind::NotFound, "there is no place for credentials"))
}

/// Adds one entry.
fn write_auth_file(path: &Path, host: &str, secret: &str) -> Result<()> {
    let entry = json!({ "auth": BASE64_STANDARD.encode(secret) });
    let add = |entries: &mut Map<String, Value>| {
        entries.insert(server_url(host).into(), entry);
        true
    };
    change_entries(path, add).map(drop)
}
