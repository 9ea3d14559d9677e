//! Checks mounts: that their sources exist, and that the kernel knows their filesystems and options.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use oci_spec::runtime::{Mount, Spec};

use super::Findings;
use crate::launch::explain::mounts::unknown_filesystem;
use crate::plan::mount_options::{Parameter, parse_options};
use crate::plan::mounts::within;
use crate::spec::{mount_options, spelling};
use crate::sys::mount::{fsconfig_set, fsopen};

/// Options of tmpfs and other filesystems of containers, to suggest instead of a misspelt one.
const PARAMETERS: &[&str] = &[
    "size",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "huge",
    "mpol",
    "gid",
    "ptmxmode",
    "newinstance",
    "max",
    "lowerdir",
    "upperdir",
    "workdir",
    "hidepid",
    "subset",
];

/// More options than a filesystem has. Each that the kernel refuses is looked for among all words.
const MOST_ASKED: usize = 500;

pub(super) fn mounts(spec: &Spec, bundle: &Path, found: &mut Findings) {
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path()));
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let words = mount.options().as_deref().unwrap_or_default();
        let kind = mount.typ().as_deref().unwrap_or("bind");
        let Ok(options) = parse_options(words, kind) else { continue };
        if options.bind.is_some() || kind == "bind" {
            source(index, mount, bundle, rootfs.as_deref(), options.copy_symlink, found);
        } else if !options.remount && !kind.starts_with("cgroup") {
            filesystem(index, kind, mount.source().as_deref(), words, &options.parameters, found);
        }
    }
}

/// Checks that the source of a bind exists. A source inside the rootfs is not checked, because an earlier
/// mount may provide it.
fn source(
    index: usize,
    mount: &Mount,
    bundle: &Path,
    rootfs: Option<&Path>,
    is_link: bool,
    found: &mut Findings,
) {
    let Some(source) = mount.source().as_deref() else { return };
    let path = bundle.join(source);
    if rootfs.is_some_and(|rootfs| within(&path, rootfs).is_some()) {
        return;
    }
    let looked_up = if is_link { std::fs::symlink_metadata(&path) } else { std::fs::metadata(&path) };
    if looked_up.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        let message = format!("nothing to bind: {}: no such file or directory", path.display());
        let hint = (!source.is_absolute()).then_some("a relative source starts at the bundle");
        found.fault(&format!("/mounts/{index}/source"), message, None, hint);
    }
}

/// Asks the kernel whether it knows a filesystem and its options. This makes nothing: fsopen(2) and
/// fsconfig(2) make a filesystem only with FSCONFIG_CMD_CREATE.
fn filesystem(
    index: usize,
    kind: &str,
    source: Option<&Path>,
    words: &[String],
    parameters: &[Parameter],
    found: &mut Findings,
) {
    let Ok(name) = CString::new(kind) else { return };
    let context = match fsopen(&name) {
        Ok(context) => context,
        Err(Errno::ENODEV) => {
            let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
            let known: Vec<&str> = known.lines().filter_map(|line| line.split('\t').nth(1)).collect();
            let hint = spelling::hint(spelling::nearest(kind, known.iter().copied()));
            let message = format!("this kernel knows no filesystem {kind:?}{hint}");
            let host = Some(format!("filesystems {}", known.join(", ")));
            let hint = Some(unknown_filesystem(kind, source.unwrap_or_else(|| Path::new(kind))));
            return found.fault(&format!("/mounts/{index}/type"), message, host, hint);
        }
        // This user may not open filesystems, so nothing is known.
        Err(_) => return,
    };
    // Options of other filesystems may need what only a real mount has (a device, layers).
    if !matches!(kind, "tmpfs" | "proc" | "sysfs" | "devpts" | "mqueue") {
        return;
    }
    let asked = parameters.iter().filter(|(key, _)| key.as_c_str() != c"iversion").take(MOST_ASKED);
    for (key, value) in asked {
        if fsconfig_set(context.as_fd(), key, value.as_deref()) != Err(Errno::EINVAL) {
            continue;
        }
        let key = key.to_string_lossy();
        let hint = spelling::hint(mount_options::meant(&key, PARAMETERS));
        let word = words.iter().position(|word| word.contains(&*key)).unwrap_or(0);
        let said = match value {
            Some(value) => format!("{key}={}", value.to_string_lossy()),
            None => key.into_owned(),
        };
        let message = format!("{kind} takes no option {said:?}{hint}");
        found.fault(&format!("/mounts/{index}/options/{word}"), message, None, None);
    }
}
