//! Changes the credentials in a file that other programs use too: everything else in it stays, and it is
//! replaced as a whole.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, fchown, geteuid};
use serde_json::{Map, Value, json};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::document::manifest::parse_json;
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::input_file::read_small_if_present;
use crate::image::limits::MAX_SETTINGS;

/// Changes the entries of the file at `path`, which is made if it is missing and readable by its owner alone.
/// Nothing is written if `change` says that it did nothing.
pub(super) fn change_entries(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>) -> bool,
) -> Result<bool> {
    let writing = || format!("write {}", path.display());
    let path = &resolve_own_link(path).with_context(writing)?;
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).with_context(writing)?;
    let dir = Directory::open(parent).with_context(writing)?;
    let name =
        path.file_name().ok_or_else(|| fail!(Kind::Usage, "it names no file")).with_context(writing)?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    // Held until the end: another process that changes it at the same time changes what this one writes.
    let mut file = dir.lock_partial(&partial, 0o600).with_context(writing)?;
    let write = || match changed(path, change).with_context(writing)? {
        None => dir.remove_file(&partial).map(|()| false),
        Some(text) => {
            keep_owner(path, &file).with_context(writing)?;
            file.set_len(0)?;
            file.write_all(&text)?;
            dir.rename(&partial, name).map(|()| true)
        }
    };
    write().inspect_err(|_| drop(dir.remove_file(&partial)))
}

/// Where a link leads that we have made, or the administrator: the file there is changed, and the link stays.
/// That of anybody else is not followed.
fn resolve_own_link(path: &Path) -> Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => match found.uid() == geteuid().as_raw() || found.uid() == 0 {
            true => Ok(path.canonicalize()?),
            false => Err(fail!(Kind::Denied, "it is a symlink of user {}", found.uid())),
        },
        _ => Ok(path.to_owned()),
    }
}

/// The content of the file after the change; None if nothing is changed.
fn changed(path: &Path, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<Option<Vec<u8>>> {
    let mut document: Value = match read_small_if_present(path, MAX_SETTINGS)? {
        Some(bytes) => parse_json(&bytes)?,
        None => json!({}),
    };
    let members = document.as_object_mut().ok_or_else(|| fail!(Kind::Spec, "it is no JSON object"))?;
    // Docker reads the member in any case.
    let known = members.keys().find(|name| name.eq_ignore_ascii_case("auths")).cloned();
    let member = members.entry(known.unwrap_or_else(|| "auths".into())).or_insert_with(|| json!({}));
    if !member.is_object() {
        *member = json!({});
    }
    if !member.as_object_mut().is_some_and(change) {
        return Ok(None);
    }
    serde_json::to_vec_pretty(&document).map(Some).map_err(|e| fail!(Kind::Spec, "{e}"))
}

/// Gives the new file the owner of the one that it replaces: root may change a user's.
fn keep_owner(path: &Path, file: &File) -> Result<()> {
    let Ok(before) = fs::metadata(path) else { return Ok(()) };
    if before.uid() == geteuid().as_raw() {
        return Ok(());
    }
    let owner = (Uid::from_raw(before.uid()), Gid::from_raw(before.gid()));
    fchown(file, Some(owner.0), Some(owner.1)).with_context(|| format!("it belongs to user {}", owner.0))
}
