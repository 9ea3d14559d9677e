//! Finds a container by its id or by the beginning of one, in the state roots of this runtime and of others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::foreign::{self, Seen};
use super::target::Target;
use crate::container::Store;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::fail;
use crate::lifecycle::load;
use crate::lifecycle::options::Globals;

/// Where runtimes keep the state of containers, if nobody tells them another place.
const ROOTS: [&str; 3] = ["/run/tare", "/run/runc", "/run/crun"];

/// The directories of containerd's tasks, by namespace and id: each says which root its runtime was given.
const TASKS: [&str; 2] = [
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task",
];

/// At most so many containers are listed when an id means several.
const LISTED: usize = 10;

/// Finds the container.
///
/// # Errors
/// There is none, there are several, or it cannot be read.
pub(super) fn find(globals: &Globals, wanted: &ContainerId) -> Result<Target> {
    // Nobody pays for a search who knows what he wants.
    if globals.root.join(wanted.as_str()).is_dir() {
        return load(&globals.root, wanted, globals.root_in_xdg);
    }
    let found = candidates(&roots(globals, wanted.as_str()), wanted.as_str());
    let exact: Vec<_> = found.iter().filter(|(_, id)| id == wanted).collect();
    let chosen = if exact.is_empty() { found.iter().collect() } else { exact };
    match chosen[..] {
        [] => Err(unknown(globals, wanted)),
        [(root, id)] => load(root, id, false),
        _ => Err(ambiguous(wanted, &chosen)),
    }
}

fn unknown(globals: &Globals, wanted: &ContainerId) -> Error {
    let error = load::container(globals, wanted).err();
    let error = error.unwrap_or_else(|| fail!(Kind::NotFound, "container {wanted} does not exist"));
    if globals.root_explicit {
        return error;
    }
    error.with_hint(
        "looked for in the roots of tare, runc, crun, containerd, Docker and Podman; for another place, \
         give --root DIRECTORY-OF-IDS",
    )
}

fn ambiguous(wanted: &ContainerId, all: &[&(PathBuf, ContainerId)]) -> Error {
    let names: Vec<_> =
        all.iter().take(LISTED).map(|(root, id)| format!("{id} in {}", root.display())).collect();
    let more = if all.len() > LISTED { ", …" } else { "" };
    fail!(Kind::Usage, "{wanted} means {} containers: {}{more}", all.len(), names.join(", "))
        .with_hint("give more of the id, or the --root that it is in")
}

/// Returns the containers whose id begins with `wanted`, and their roots.
fn candidates(roots: &BTreeSet<PathBuf>, wanted: &str) -> Vec<(PathBuf, ContainerId)> {
    let in_root = |root: &PathBuf| {
        let root = root.clone();
        directories(&root)
            .into_iter()
            .filter_map(|path| ContainerId::parse(path.file_name()?.to_str()?).ok())
            .filter(|id| id.as_str().starts_with(wanted))
            .map(move |id| (root.clone(), id))
            .collect::<Vec<_>>()
    };
    roots.iter().flat_map(in_root).collect()
}

/// Returns every root to look in, without links, so that none is there twice.
fn roots(globals: &Globals, wanted: &str) -> BTreeSet<PathBuf> {
    let mut roots = vec![globals.root.clone()];
    if !globals.root_explicit {
        roots.extend(ROOTS.map(PathBuf::from));
        for runtime in directories(Path::new("/run/docker")) {
            if named(&runtime, |name| name.starts_with("runtime-")) {
                roots.extend(directories(&runtime));
            }
        }
        for runtime in directories(Path::new("/run/containerd")) {
            if named(&runtime, |name| !name.starts_with("io.containerd.")) {
                roots.extend(directories(&runtime));
            }
        }
        for task in TASKS.iter().flat_map(|tasks| directories(Path::new(tasks))) {
            roots.extend(roots_of_tasks(&task, wanted));
        }
        let users = directories(Path::new("/run/user")).into_iter();
        for user in users.chain(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)) {
            roots.extend(["tare", "runc", "crun"].map(|name| user.join(name)));
        }
    }
    roots.into_iter().filter_map(|root| fs::canonicalize(root).ok()).collect()
}

/// Returns the roots that containerd has given to the runtime of its tasks in one namespace.
fn roots_of_tasks(namespace: &Path, wanted: &str) -> Vec<PathBuf> {
    let Some(name) = namespace.file_name() else { return Vec::new() };
    let root_of = |task: &PathBuf| {
        let options = foreign::read_json(task, c"options.json").ok()??;
        let root = options.value.get("root").and_then(Value::as_str).filter(|root| !root.is_empty())?;
        Some(Path::new(root).join(name))
    };
    let tasks = directories(namespace).into_iter();
    tasks
        .filter(|task| named(task, |name| name.starts_with(wanted)))
        .filter_map(|task| root_of(&task))
        .collect()
}

fn named(path: &Path, is_it: impl Fn(&str) -> bool) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(is_it)
}

/// Returns the directories in a directory; nothing if it is not there, or not ours to read.
fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_dir).map(|entry| entry.path()).collect()
}

/// Loads the container, whoever has made it.
fn load(root: &Path, id: &ContainerId, in_xdg: bool) -> Result<Target> {
    match foreign::read(&root.join(id.as_str()))? {
        Seen::Own => {
            let entry = Store::new(root, in_xdg).entry(id);
            let owner = entry.owner()?;
            Target::own(&load::from_entry(entry)?, owner)
        }
        Seen::Foreign(record) => Target::foreign(id, &record),
    }
}
