//! Checks the files that a configuration names: the program, hooks and namespaces.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use oci_spec::runtime::{Hook, Spec};

use super::Findings;
use crate::error::describe;
use crate::init::refusal::foreseen;
use crate::inroot::Root;
use crate::plan::process::candidates;

/// If there are more pairs of a candidate path and a mount than this, the program is not looked for.
const MOST_LOOKS: usize = 1 << 16;

/// Looks for the program in the rootfs. Reports nothing if a mount or a hook may provide it.
pub(super) fn program(spec: &Spec, bundle: &Path, found: &mut Findings) {
    let Some(Refused { name, why, missing, searched, rootfs }) = refused_program(spec, bundle) else {
        return;
    };
    let message = match searched && missing {
        true => format!("executable file {name:?} not found in the PATH of the container"),
        false => format!("{name}: {why}"),
    };
    let is_empty = std::fs::read_dir(&rootfs).is_ok_and(|mut entries| entries.next().is_none());
    let hint = is_empty.then_some("the rootfs is empty: is it mounted?");
    let message = format!("{message} (in the rootfs {})", rootfs.display());
    found.fault("/process/args/0", message, None, hint);
}

/// A program that the kernel would refuse, or that could not go on.
pub(super) struct Refused {
    pub name: String,
    pub why: String,
    /// Whether there is no such file.
    pub missing: bool,
    searched: bool,
    rootfs: PathBuf,
}

/// Judges the program in the rootfs. Returns `None` if it can be executed, or may be for all that is known.
pub(super) fn refused_program(spec: &Spec, bundle: &Path) -> Option<Refused> {
    let (process, root) = (spec.process().as_ref()?, spec.root().as_ref()?);
    let rootfs = bundle.join(root.path());
    let opened = Root::open(&rootfs).ok()?;
    let texts = |list: &Option<Vec<String>>| -> Vec<CString> {
        list.iter().flatten().filter_map(|text| CString::new(text.as_str()).ok()).collect()
    };
    let (args, env) = (texts(process.args()), texts(process.env()));
    if args.is_empty() || changes_the_rootfs(spec) {
        return None;
    }
    let (names, searched) = candidates(&args, &env);
    // No real configuration has so many, and looking at each pair would take hours.
    let mounts = spec.mounts().as_ref().map_or(0, Vec::len);
    let length = names.iter().map(|name| name.as_bytes().len()).max().unwrap_or_default();
    if length >= libc::PATH_MAX as usize || names.len().saturating_mul(mounts + 1) > MOST_LOOKS {
        return None;
    }
    let absolute =
        |name: &CString| process.cwd().join(Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())));
    let mut worst = None;
    for path in names.iter().map(absolute) {
        if under_a_mount(&path, spec, &opened, &rootfs) {
            return None;
        }
        let exists =
            |needed: &Path| under_a_mount(needed, spec, &opened, &rootfs) || !is_missing(needed, &opened);
        match judge(&path, &opened, exists) {
            None => return None,
            Some(why) if worst.is_none() || !why.1 => worst = Some(why),
            Some(_) => {}
        }
    }
    let name = args[0].to_string_lossy().into_owned();
    let (why, missing) = worst.unwrap_or_else(|| ("there is no PATH to search".to_owned(), true));
    Some(Refused { name, why, missing, searched, rootfs })
}

/// Whether there are hooks that run before the program is looked for: they may put anything into the rootfs.
fn changes_the_rootfs(spec: &Spec) -> bool {
    #[allow(deprecated)]
    let lists = spec.hooks().as_ref().map(|hooks| {
        [hooks.prestart(), hooks.create_runtime(), hooks.create_container(), hooks.start_container()]
            .map(|list| list.as_ref().is_some_and(|list| !list.is_empty()))
    });
    lists.is_some_and(|lists| lists.contains(&true))
}

/// Returns why the program at `path` cannot be executed, and whether the reason is that it is missing.
fn judge(path: &Path, root: &Root, exists: impl Fn(&Path) -> bool) -> Option<(String, bool)> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let opened = match root.resolve(&path, OFlag::O_PATH | OFlag::O_CLOEXEC) {
        Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => return Some((describe(errno), true)),
        opened => opened.ok()?,
    };
    match fstat(&opened) {
        // If we may not look at the file, nothing is known about it.
        Err(_) => None,
        Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => {
            Some(("is a directory".to_owned(), false))
        }
        Ok(stat) if stat.st_mode & 0o111 == 0 => {
            Some((format!("permission denied: mode {:04o} has no x bit", stat.st_mode & 0o7777), false))
        }
        // The kernel may execute any file through a registered format.
        Ok(_) if has_own_formats() => None,
        Ok(_) => foreseen(opened.as_fd(), exists).map(|why| (why, false)),
    }
}

fn is_missing(path: &Path, root: &Root) -> bool {
    let text = CString::new(path.as_os_str().as_bytes());
    text.is_ok_and(|text| {
        let looked_up = root.resolve(&text, OFlag::O_PATH | OFlag::O_CLOEXEC);
        matches!(looked_up, Err(Errno::ENOENT | Errno::ENOTDIR))
    })
}

/// Whether binfmt_misc has a registered format, besides those that the kernel executes itself.
fn has_own_formats() -> bool {
    let entries = std::fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name != "register" && name != "status")
}

/// Whether the path lies below a mount, whose files are not known yet. Both the path as it is written and the
/// one that the symlinks of the rootfs lead to are looked at.
fn under_a_mount(path: &Path, spec: &Spec, root: &Root, rootfs: &Path) -> bool {
    let mut real = vec![path.to_owned()];
    let rootfs = std::fs::canonicalize(rootfs).unwrap_or_else(|_| rootfs.to_owned());
    for above in path.ancestors() {
        let Ok(text) = CString::new(above.as_os_str().as_bytes()) else { continue };
        let Ok(opened) = root.resolve(&text, OFlag::O_PATH | OFlag::O_CLOEXEC) else {
            // A link that dangles here may lead below a mount.
            if root.resolve(&text, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).is_ok() {
                return spec.mounts().is_some();
            }
            continue;
        };
        let link = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).unwrap_or_default();
        let inside = link.strip_prefix(&rootfs).map(|inside| Path::new("/").join(inside));
        let rest = path.strip_prefix(above).unwrap_or_else(|_| Path::new(""));
        real.extend(inside.map(|inside| inside.join(rest)));
    }
    spec.mounts().iter().flatten().any(|mount| {
        let target = Path::new("/").join(mount.destination());
        // A mount on the root itself is refused elsewhere.
        let is_below = target != Path::new("/");
        is_below && real.iter().any(|path| path.starts_with(&target))
    })
}

/// Checks that hooks can be executed. Those of `startContainer` are not checked, because they are files of
/// the container.
pub(super) fn hooks(spec: &Spec, found: &mut Findings) {
    let Some(hooks) = spec.hooks() else { return };
    #[allow(deprecated)]
    let kinds = [
        ("prestart", hooks.prestart(), true),
        ("createRuntime", hooks.create_runtime(), true),
        ("createContainer", hooks.create_container(), true),
        ("poststart", hooks.poststart(), true),
        // A failure there is a warning.
        ("poststop", hooks.poststop(), false),
    ];
    for (kind, list, fails) in kinds {
        for (index, hook) in list.iter().flatten().enumerate() {
            let Some(why) = hook_fault(hook) else { continue };
            let pointer = format!("/hooks/{kind}/{index}/path");
            let message = format!("the hook cannot be executed: {}: {why}", hook.path().display());
            match fails {
                true => found.fault(&pointer, message, None, None),
                false => found.loss(&pointer, message, None),
            }
        }
    }
}

fn hook_fault(hook: &Hook) -> Option<String> {
    match std::fs::metadata(hook.path()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(describe(Errno::ENOENT)),
        Err(_) => None,
        Ok(metadata) if metadata.is_dir() => Some("is a directory".to_owned()),
        Ok(metadata) if metadata.mode() & 0o111 == 0 => {
            Some(format!("mode {:04o} has no x bit", metadata.mode() & 0o7777))
        }
        Ok(_) => None,
    }
}

/// Checks that a namespace to join exists and is of the right kind.
pub(super) fn namespace(path: &Path, name: &str, pointer: &str, found: &mut Findings) {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            found.fault(pointer, format!("{}: no such file or directory", path.display()), None, None);
        }
        Err(_) => {}
        Ok(_) => {
            // If it is a link of /proc, its text names the kind: `net:[4026531840]`.
            let link = std::fs::read_link(path).unwrap_or_default();
            let link = link.to_str().and_then(|link| link.split_once(":[")).map(|(kind, _)| kind.to_owned());
            if let Some(kind) = link.filter(|kind| kind != name) {
                found.fault(
                    pointer,
                    format!("{} is a namespace of another kind: {kind}", path.display()),
                    None,
                    None,
                );
            }
        }
    }
}
