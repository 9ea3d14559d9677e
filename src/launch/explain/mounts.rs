//! Puts failures of mounts into words, and says what is to be done about the usual ones.

use std::ffi::CString;
use std::path::Path;

use crate::error::Error;
use crate::handshake::Report;
use crate::launch::explain::sentence::{during, show};
use crate::plan::mount_options::Parameter;
use crate::plan::mounts::{Mount, MountOperation};
use crate::spec::{mount_options, spelling};

/// Why a mount was not made.
pub(super) fn mount(report: &Report, mount: Option<&Mount>) -> Error {
    let Some(mount) = mount else { return during(report, "mount") };
    let (what, target) = (source_text(mount), show(Some(&mount.target)));
    let doing = format!("{}: error mounting {what:?} to rootfs at {target:?}", mount.origin);
    match (&mount.operation, report.errno) {
        (MountOperation::Bind { .. }, libc::ENOENT) if report.text() == "open_tree" => {
            during(report, &doing).with_hint("the source of a bind must exist on the host")
        }
        (MountOperation::Bind { .. }, libc::ENOTDIR) if report.text() == "move_mount" => {
            during(report, &doing)
                .with_hint("a directory is mounted over a directory, and a file over a file")
        }
        (MountOperation::Filesystem { .. }, libc::EINVAL) if names_unmapped_id(&report.text()) => during(
            report, &doing,
        )
        .with_hint("an ID among the options of a mount must be mapped in the container's user namespace"),
        (MountOperation::Filesystem { kind, .. }, libc::ENODEV) => {
            let error = during(report, &format!("{doing}: filesystem type {:?}", show(Some(kind))));
            error.with_hint(unknown_filesystem(&show(Some(kind)), Path::new(&what)))
        }
        _ => match mount_hint(report, mount) {
            Some(hint) => during(report, &doing).with_hint(hint),
            None => during(report, &doing),
        },
    }
}

/// What is to be done about a filesystem that the kernel does not know.
pub(crate) fn unknown_filesystem(kind: &str, source: &Path) -> &'static str {
    // mount(8) writes this type for a bind, which the option makes.
    let is_a_bind = matches!(kind, "none" | "rbind" | "volume") || source.is_absolute() && source.exists();
    match is_a_bind {
        true => {
            "what is shown at another place is no filesystem of its own: it takes the option \"bind\" or \"rbind\""
        }
        false => {
            "this kernel does not know the filesystem type; `cat /proc/filesystems` lists those it knows"
        }
    }
}

/// Returns the first directory of an overlay that is not there. A colon or comma in a name has a backslash.
fn missing_layer(parameters: &[Parameter]) -> Option<String> {
    let is_layers = |key: &CString| {
        [c"lowerdir", c"lowerdir+", c"datadir+", c"upperdir", c"workdir"].contains(&key.as_c_str())
    };
    let lists = parameters.iter().filter(|(key, _)| is_layers(key)).filter_map(|(_, value)| value.as_ref());
    let lists: Vec<String> = lists.map(|list| list.to_string_lossy().into_owned()).collect();
    let mut names = lists.iter().filter(|list| !list.contains('\\')).flat_map(|list| list.split(':'));
    let is_missing = |name: &&str| {
        Path::new(name).symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    names.find(|name| name.starts_with('/') && is_missing(name)).map(str::to_owned)
}

/// What is to be done about usual failures of a filesystem, or of its target.
fn mount_hint(report: &Report, mount: &Mount) -> Option<String> {
    let text = report.text();
    if text == "open the target" && report.errno == libc::EACCES {
        return Some(String::from(
            "the caller must be able to enter each directory down to the root file system and in it",
        ));
    }
    let MountOperation::Filesystem { kind, source, parameters, .. } = &mount.operation else { return None };
    let (kind, source) = (show(Some(kind)), show(Some(source)));
    Some(match (kind.as_str(), report.errno) {
        (_, libc::EINVAL) if text.contains("Unknown parameter '") => {
            let word = text.split('\'').nth(1).unwrap_or_default();
            let meant = mount_options::meant(word, &[]);
            format!("{word} is no option of a mount, nor one of {kind}{}", spelling::hint(meant))
        }
        ("overlay", libc::ENOENT) => {
            let rule = "overlay: each directory of lowerdir=, upperdir= and workdir= must exist on the host";
            missing_layer(parameters)
                .map_or_else(|| rule.into(), |missing| format!("{rule}: {missing} does not"))
        }
        ("overlay", libc::EINVAL) => String::from(
            "overlay needs lowerdir=, or upperdir= and workdir= on one filesystem that is no overlay itself",
        ),
        (_, libc::ENOTBLK) => {
            format!("{source} is no disk; a directory or a file is shown by the option \"bind\"")
        }
        ("sysfs", libc::EPERM) => {
            String::from("without root, sysfs takes a network namespace that the container makes itself")
        }
        ("proc", libc::EPERM) => String::from(
            "without root, proc takes a pid namespace that the container makes itself, and a /proc of the host \
             that nothing covers",
        ),
        (_, libc::EPERM) => {
            format!("in a user namespace the kernel mounts no {kind}; the host's root has to mount it")
        }
        _ => return None,
    })
}

/// Whether a message from the kernel's filesystem log is about an id that is not mapped.
fn names_unmapped_id(text: &str) -> bool {
    text.contains("Invalid gid") || text.contains("Invalid uid")
}

fn source_text(mount: &Mount) -> String {
    match &mount.operation {
        MountOperation::Filesystem { kind, source, .. } if kind == source => show(Some(kind)),
        MountOperation::Filesystem { source, .. } => show(Some(source)),
        MountOperation::Bind { path, .. } => show(Some(path)),
        MountOperation::Remount => "remount".into(),
        MountOperation::Symlink { to } => show(Some(to)),
    }
}

/// Why a mount was not taken away.
pub(super) fn unmount(report: &Report, index: usize, target: Option<&CString>) -> Error {
    let error = during(report, &format!("/mounts/{index}: unmount {}", show(target)));
    match report.errno {
        libc::EINVAL => {
            error.with_hint("nothing is mounted there, or it was mounted in another mount namespace")
        }
        libc::EBUSY => error.with_hint("it leads to the root of the container"),
        _ => error,
    }
}
