//! Errors for an id that is in use or missing, with a hint when another state root has it. The state roots of
//! engines and of other runtimes are searched only for that hint.

use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, matched};
use crate::fail;

/// Directories that hold state roots: each entry of the directory, with this path added, may be one.
const PARENTS: &[(&str, &str)] = &[("/run/containerd/runc", ""), ("/run/docker", "moby")];
/// The default state roots of tare, runc and crun.
const ROOTS: &[&str] = &["/run/tare", "/run/runc", "/run/crun"];
/// How many entries of each of `PARENTS` are searched.
const MOST: usize = 64;

/// Returns the error for an id that is in use in `root`.
pub(super) fn taken(id: &ContainerId, root: &Path) -> Error {
    let hint = format!("`tare delete {id}` removes a stopped one, `tare delete --force {id}` any");
    let name = id.as_str();
    fail!(Kind::Exists, "{}: {name:?} in {}", matched::ID_IN_USE, root.display()).with_hint(hint)
}

/// Returns the error for an id that is not in `root`.
pub(super) fn missing(id: &ContainerId, root: &Path) -> Error {
    let name = id.as_str();
    let error = fail!(Kind::NotFound, "{}: {name:?} is not in {}", matched::DOES_NOT_EXIST, root.display());
    match find(id, root) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Returns a hint that names the first root other than `root` with a container of this id.
fn find(id: &ContainerId, root: &Path) -> Option<String> {
    let found = roots().into_iter().find(|other| other != root && other.join(id.as_str()).is_dir())?;
    let directory = found.join(id.as_str());
    let found = found.display();
    Some(match directory.join("status").exists() {
        true => format!("crun has one of that ID in {found}"),
        // runc keeps no copy of the configuration.
        false if !directory.join("config.json").exists() => format!("runc has one of that ID in {found}"),
        false => format!("there is one of that ID in {found}: tare --root {found}"),
    })
}

/// Returns the state roots to search. Directories of other users are not searched: a FUSE mount there could
/// block root.
fn roots() -> Vec<PathBuf> {
    let below = |(parent, rest): &(&str, &str)| {
        let names = std::fs::read_dir(parent).into_iter().flatten().flatten().take(MOST);
        names.map(|name| name.path().join(rest)).collect::<Vec<_>>()
    };
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let user = user.unwrap_or_else(|| format!("/run/user/{}", nix::unistd::geteuid()).into());
    let own = ["tare", "runc", "crun"].map(|name| user.join(name));
    let known = ROOTS.iter().map(PathBuf::from);
    known.chain(own).chain(PARENTS.iter().flat_map(below)).collect()
}
