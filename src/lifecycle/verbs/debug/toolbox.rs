//! Opens the tree with the tools.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::bundle::read_config;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::inroot::Root;
use crate::lifecycle::load::canonical;
use crate::plan::toolbox::{SHELL, Toolbox};

/// The tree, which the process takes its tools from.
#[derive(Debug)]
pub(super) struct OpenToolbox {
    pub plan: Toolbox,
    pub root: OwnedFd,
    /// The shell that it has.
    pub shell: &'static str,
}

/// Opens this host's root, or the root file system of a bundle.
pub(super) fn open(image: Option<&Path>) -> Result<OpenToolbox> {
    match image {
        None => Ok(opened(Toolbox::of_host(), Root::open(Path::new("/")).context("open /")?)),
        Some(bundle) => of_image(bundle).with_context(|| format!("--image {}", bundle.display())),
    }
}

fn of_image(bundle: &Path) -> Result<OpenToolbox> {
    let bundle = canonical(bundle)?;
    let (config, _) = read_config(&bundle)?;
    let root = config.root().as_ref().map(|root| bundle.join(root.path()));
    let root = root.ok_or_else(|| fail!(Kind::Spec, "/root: is missing"))?;
    let doing = || format!("/root/path: open {}", root.display());
    let opened_root = Root::open(&root).with_context(doing)?;
    let names = directory_names(&opened_root, c".").with_context(doing)?;
    if names.is_empty() {
        let error = fail!(Kind::State, "{}: is empty", root.display());
        return Err(error.with_hint("is its overlay mounted? `tare-image mount` does it"));
    }
    let etc = directory_names(&opened_root, c"etc").unwrap_or_default();
    let path =
        CString::new(root.as_os_str().as_bytes()).map_err(|_| fail!(Kind::Usage, "the path has a NUL"))?;
    Ok(opened(Toolbox::of_image(path, &names, &etc), opened_root))
}

fn opened(plan: Toolbox, root: Root) -> OpenToolbox {
    let has = |path: &&CStr| root.resolve(path, OFlag::O_PATH).is_ok();
    let shell = if [c"/bin/bash", c"/usr/bin/bash"].iter().any(has) { SHELL } else { "sh" };
    OpenToolbox { plan, root: root.into(), shell }
}

/// Returns the names in a directory, sorted.
fn directory_names(root: &Root, path: &CStr) -> std::result::Result<Vec<CString>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = root.resolve(path, flags)?;
    let mut dir = Dir::openat(dir.as_fd(), c".", flags, Mode::empty())?;
    let is_dots = |name: &CString| matches!(name.to_bytes(), b"." | b"..");
    let names: std::result::Result<Vec<_>, _> =
        dir.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned())).collect();
    let mut names: Vec<_> = names?.into_iter().filter(|name| !is_dots(name)).collect();
    names.sort();
    Ok(names)
}
