//! Prints a mount of the plan on one line.

use std::fmt::{self, Display, Formatter};

use super::operation::text;
use crate::kernel::mount::{
    self, Attributes, MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME,
};
use crate::plan::id_mapped::Ids;
use crate::plan::mounts::{Mount, MountOperation, TargetLookup};
use crate::plan::namespaces::IdMap;

impl Display for Mount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.operation {
            MountOperation::Filesystem { kind, source, parameters, inherit_mode, relabel, copy_up } => {
                write!(f, "{} {} at {}", text(kind), text(source), text(&self.target))?;
                for (key, value) in parameters {
                    write!(f, " {}", text(key))?;
                    if let Some(value) = value {
                        write!(f, "={}", text(value))?;
                    }
                }
                f.write_str(if *inherit_mode { " mode of the directory below" } else { "" })?;
                if let Some(label) = relabel {
                    write!(f, " labelled {}", text(label))?;
                }
                f.write_str(if *copy_up { " with a copy of what it covers" } else { "" })?;
            }
            MountOperation::Bind {
                path,
                recursive,
                no_follow,
                copy_symlink,
                id_mapped,
                source_in_rootfs: inside,
                ..
            } => {
                let kind = if *recursive { "rbind" } else { "bind" };
                write!(f, "{kind} {} at {}", text(path), text(&self.target))?;
                f.write_str(if *inside { " inside the rootfs" } else { "" })?;
                f.write_str(if *no_follow { " not following its source" } else { "" })?;
                f.write_str(if *copy_symlink { " or the same symlink" } else { "" })?;
                if let Some(id_mapped) = id_mapped {
                    write!(f, " {}idmap {}", if id_mapped.recursive { "r" } else { "" }, id_mapped.ids)?;
                }
            }
            MountOperation::Remount => write!(f, "remount {}", text(&self.target))?,
            MountOperation::Symlink { to } => write!(f, "symlink {} -> {}", text(&self.target), text(to))?,
        }
        attributes(f, "", self.attributes)?;
        attributes(f, "r", self.recursive_attributes)?;
        for &(kind, recursive) in &self.propagation {
            write!(f, " {}{}", if recursive { "r" } else { "" }, propagation(kind))?;
        }
        f.write_str(if self.late_read_only { " ro at the end" } else { "" })?;
        f.write_str(match self.lookup {
            TargetLookup::Follow => "",
            TargetLookup::NoSymlinks => " on an ordinary directory",
            TargetLookup::NoFollow => " not following its target",
        })
    }
}

impl Display for Ids {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maps(maps) => write!(f, "uids {} gids {}", ranges(&maps.uid), ranges(&maps.gid)),
            Self::Joined => f.write_str("of the joined user namespace"),
        }
    }
}

pub(super) fn ranges(maps: &[IdMap]) -> String {
    let show = |map: &IdMap| format!("{}:{}:{}", map.inner, map.host, map.size);
    maps.iter().map(show).collect::<Vec<_>>().join(",")
}

fn attributes(f: &mut Formatter<'_>, prefix: &str, attributes: Attributes) -> fmt::Result {
    let words = [
        (MOUNT_ATTR_RDONLY, "ro", "rw"),
        (MOUNT_ATTR_NOSUID, "nosuid", "suid"),
        (MOUNT_ATTR_NODEV, "nodev", "dev"),
        (MOUNT_ATTR_NOEXEC, "noexec", "exec"),
        (MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"),
        (MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    for (bit, set, clear) in words {
        if attributes.set & bit != 0 {
            write!(f, " {prefix}{set}")?;
        } else if attributes.clear & bit != 0 {
            write!(f, " {prefix}{clear}")?;
        }
    }
    if attributes.clear & MOUNT_ATTR_ATIME != 0 {
        let word = match attributes.set & MOUNT_ATTR_ATIME {
            MOUNT_ATTR_NOATIME => "noatime",
            MOUNT_ATTR_STRICTATIME => "strictatime",
            _ => "relatime",
        };
        write!(f, " {prefix}{word}")?;
    }
    match attributes.propagation {
        0 => Ok(()),
        kind => write!(f, " {prefix}{}", propagation(kind)),
    }
}

pub(super) fn propagation(flags: u64) -> String {
    let word = match flags & !mount::MS_REC {
        mount::MS_SHARED => "shared",
        mount::MS_SLAVE => "slave",
        mount::MS_UNBINDABLE => "unbindable",
        _ => "private",
    };
    format!("{}{word}", if flags & mount::MS_REC == 0 { "" } else { "r" })
}
