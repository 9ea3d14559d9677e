//! `tare-image login`: checks credentials with the registry and stores them, in the credential helper that
//! the user's file names, or in the file itself as Docker does.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::access::{Access, Credentials};
use super::auth_file::{auth_files, helper_for, server_url};
use super::credential_helper::Helper;
use super::endpoint::Endpoint;
use super::registries_conf::Location;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::document::manifest::parse_json;
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::input_file::read_small_if_present;
use crate::image::limits::MAX_SETTINGS;

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

/// Adds one entry and keeps everything else; the file is replaced as a whole and readable by its owner alone.
fn write_auth_file(path: &Path, host: &str, secret: &str) -> Result<()> {
    let writing = || format!("write {}", path.display());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(writing)?;
    let dir = Directory::open(parent).with_context(writing)?;
    let name =
        path.file_name().ok_or_else(|| fail!(Kind::Usage, "it names no file")).with_context(writing)?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    // Held until the end: another login at the same time adds its entry to what this one writes.
    let mut file = dir.lock_partial(&partial, 0o600).with_context(writing)?;
    let text = with_entry(path, host, secret).with_context(writing);
    let write = || {
        file.set_len(0)?;
        file.write_all(&text?)?;
        dir.rename(&partial, name)
    };
    write().inspect_err(|_| drop(dir.remove_file(&partial)))
}

/// The content of the file with one entry more.
fn with_entry(path: &Path, host: &str, secret: &str) -> Result<Vec<u8>> {
    let mut document: Value = match read_small_if_present(path, MAX_SETTINGS)? {
        Some(bytes) => parse_json(&bytes)?,
        None => json!({}),
    };
    if !document.is_object() {
        return Err(fail!(Kind::Spec, "it is no JSON object"));
    }
    if !document["auths"].is_object() {
        document["auths"] = json!({});
    }
    document["auths"][server_url(host)] = json!({ "auth": BASE64_STANDARD.encode(secret) });
    serde_json::to_vec_pretty(&document).map_err(|e| fail!(Kind::Spec, "{e}"))
}
