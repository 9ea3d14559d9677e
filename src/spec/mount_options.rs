//! The table of mount option words: the only place that lists them and what each of them does.
//!
//! Everything else follows from this table: how `plan` reads options, which words a bind may have (those of
//! the table; all others belong to a filesystem), what `features` prints, and what docs/compatibility.md
//! lists.

use super::spelling;
use crate::kernel::mount::{
    MOUNT_ATTR_ATIME as ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_NOSYMFOLLOW,
    MS_PRIVATE, MS_RDONLY, MS_RELATIME, MS_SHARED, MS_SLAVE, MS_STRICTATIME, MS_UNBINDABLE,
};

/// One word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountOption {
    pub word: &'static str,
    pub effect: Effect,
    /// The MS_* flag of mount(2) that the word names: for a bind it matters which flags are named.
    pub flag: FlagEffect,
    pub origin: Origin,
}

/// The effect of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Sets (first) and clears (second) MOUNT_ATTR_* of the mount.
    Attribute(u64, u64),
    /// Sets and clears attributes of the mount and of all mounts below it, KERNEL(5.12).
    Recursive(u64, u64),
    /// Undoes an access-time mode (MOUNT_ATTR_*) of an earlier word. The result is relatime, even after
    /// `norelatime`, which names the kernel's default.
    NotAccessTime {
        mode: u64,
        recursive: bool,
    },
    /// An MS_* flag of propagation, and whether it applies to all mounts below too.
    Propagation(u64, bool),
    Bind {
        recursive: bool,
    },
    /// A flag of the superblock, which fsconfig(2) takes under the same name.
    Superblock,
    IdMapped {
        recursive: bool,
    },
    CopyUp,
    Remount,
    CopySymlink,
    SourceNoFollow,
    TargetNoFollow,
    /// No effect: the word names the default.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagEffect {
    Unnamed,
    Sets(u64),
    Clears(u64),
}

/// The origin of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The runtime specification (config.md, "Linux mount options") and mount(8).
    Spec,
    /// The specification, which has it in `linux.mountExtensions` of the features document too.
    Extension,
    /// Only crun.
    Crun,
}

use Effect::{
    Attribute, Bind, CopySymlink, CopyUp, IdMapped, NotAccessTime, Nothing, Propagation, Recursive, Remount,
    SourceNoFollow, Superblock, TargetNoFollow,
};
use FlagEffect::{Clears, Sets, Unnamed};
use Origin::{Crun, Extension, Spec};

const fn row(word: &'static str, effect: Effect, flag: FlagEffect, origin: Origin) -> MountOption {
    MountOption { word, effect, flag, origin }
}

/// The words, sorted.
pub(crate) const MOUNT_OPTIONS: &[MountOption] = &[
    row("async", Superblock, Unnamed, Spec),
    row("atime", NotAccessTime { mode: MOUNT_ATTR_NOATIME, recursive: false }, Clears(MS_NOATIME), Spec),
    row("bind", Bind { recursive: false }, Unnamed, Spec),
    row("copy-symlink", CopySymlink, Unnamed, Crun),
    row("defaults", Nothing, Unnamed, Spec),
    row("dest-nofollow", TargetNoFollow, Unnamed, Crun),
    row("dev", Attribute(0, MOUNT_ATTR_NODEV), Clears(MS_NODEV), Spec),
    row("diratime", Attribute(0, MOUNT_ATTR_NODIRATIME), Clears(MS_NODIRATIME), Spec),
    row("dirsync", Superblock, Unnamed, Spec),
    row("exec", Attribute(0, MOUNT_ATTR_NOEXEC), Clears(MS_NOEXEC), Spec),
    row("idmap", IdMapped { recursive: false }, Unnamed, Extension),
    row("iversion", Superblock, Unnamed, Spec),
    row("lazytime", Superblock, Unnamed, Spec),
    row("loud", Nothing, Unnamed, Spec),
    row("mand", Superblock, Unnamed, Spec),
    row("noatime", Attribute(MOUNT_ATTR_NOATIME, ATIME), Sets(MS_NOATIME), Spec),
    row("nodev", Attribute(MOUNT_ATTR_NODEV, 0), Sets(MS_NODEV), Spec),
    row("nodiratime", Attribute(MOUNT_ATTR_NODIRATIME, 0), Sets(MS_NODIRATIME), Spec),
    row("noexec", Attribute(MOUNT_ATTR_NOEXEC, 0), Sets(MS_NOEXEC), Spec),
    row("noiversion", Nothing, Unnamed, Spec),
    row("nolazytime", Superblock, Unnamed, Spec),
    row("nomand", Superblock, Unnamed, Spec),
    row(
        "norelatime",
        NotAccessTime { mode: MOUNT_ATTR_RELATIME, recursive: false },
        Clears(MS_RELATIME),
        Spec,
    ),
    row(
        "nostrictatime",
        NotAccessTime { mode: MOUNT_ATTR_STRICTATIME, recursive: false },
        Clears(MS_STRICTATIME),
        Spec,
    ),
    row("nosuid", Attribute(MOUNT_ATTR_NOSUID, 0), Sets(MS_NOSUID), Spec),
    row("nosymfollow", Attribute(MOUNT_ATTR_NOSYMFOLLOW, 0), Sets(MS_NOSYMFOLLOW), Spec),
    row("private", Propagation(MS_PRIVATE, false), Unnamed, Spec),
    row("ratime", NotAccessTime { mode: MOUNT_ATTR_NOATIME, recursive: true }, Unnamed, Spec),
    row("rbind", Bind { recursive: true }, Unnamed, Spec),
    row("rdev", Recursive(0, MOUNT_ATTR_NODEV), Unnamed, Spec),
    row("rdiratime", Recursive(0, MOUNT_ATTR_NODIRATIME), Unnamed, Spec),
    row("relatime", Attribute(MOUNT_ATTR_RELATIME, ATIME), Sets(MS_RELATIME), Spec),
    row("remount", Remount, Unnamed, Spec),
    row("rexec", Recursive(0, MOUNT_ATTR_NOEXEC), Unnamed, Spec),
    row("ridmap", IdMapped { recursive: true }, Unnamed, Extension),
    row("rnoatime", Recursive(MOUNT_ATTR_NOATIME, ATIME), Unnamed, Spec),
    row("rnodev", Recursive(MOUNT_ATTR_NODEV, 0), Unnamed, Spec),
    row("rnodiratime", Recursive(MOUNT_ATTR_NODIRATIME, 0), Unnamed, Spec),
    row("rnoexec", Recursive(MOUNT_ATTR_NOEXEC, 0), Unnamed, Spec),
    row("rnorelatime", NotAccessTime { mode: MOUNT_ATTR_RELATIME, recursive: true }, Unnamed, Spec),
    row("rnostrictatime", NotAccessTime { mode: MOUNT_ATTR_STRICTATIME, recursive: true }, Unnamed, Spec),
    row("rnosuid", Recursive(MOUNT_ATTR_NOSUID, 0), Unnamed, Spec),
    row("rnosymfollow", Recursive(MOUNT_ATTR_NOSYMFOLLOW, 0), Unnamed, Spec),
    row("ro", Attribute(MOUNT_ATTR_RDONLY, 0), Sets(MS_RDONLY), Spec),
    row("rprivate", Propagation(MS_PRIVATE, true), Unnamed, Spec),
    row("rrelatime", Recursive(MOUNT_ATTR_RELATIME, ATIME), Unnamed, Spec),
    row("rro", Recursive(MOUNT_ATTR_RDONLY, 0), Unnamed, Spec),
    row("rrw", Recursive(0, MOUNT_ATTR_RDONLY), Unnamed, Spec),
    row("rshared", Propagation(MS_SHARED, true), Unnamed, Spec),
    row("rslave", Propagation(MS_SLAVE, true), Unnamed, Spec),
    row("rstrictatime", Recursive(MOUNT_ATTR_STRICTATIME, ATIME), Unnamed, Spec),
    row("rsuid", Recursive(0, MOUNT_ATTR_NOSUID), Unnamed, Spec),
    row("rsymfollow", Recursive(0, MOUNT_ATTR_NOSYMFOLLOW), Unnamed, Spec),
    row("runbindable", Propagation(MS_UNBINDABLE, true), Unnamed, Spec),
    row("rw", Attribute(0, MOUNT_ATTR_RDONLY), Clears(MS_RDONLY), Spec),
    row("shared", Propagation(MS_SHARED, false), Unnamed, Spec),
    row("silent", Nothing, Unnamed, Spec),
    row("slave", Propagation(MS_SLAVE, false), Unnamed, Spec),
    row("src-nofollow", SourceNoFollow, Unnamed, Crun),
    row("strictatime", Attribute(MOUNT_ATTR_STRICTATIME, ATIME), Sets(MS_STRICTATIME), Spec),
    row("suid", Attribute(0, MOUNT_ATTR_NOSUID), Clears(MS_NOSUID), Spec),
    row("symfollow", Attribute(0, MOUNT_ATTR_NOSYMFOLLOW), Clears(MS_NOSYMFOLLOW), Spec),
    row("sync", Superblock, Unnamed, Spec),
    row("tmpcopyup", CopyUp, Unnamed, Spec),
    row("unbindable", Propagation(MS_UNBINDABLE, false), Unnamed, Spec),
];

/// Returns the row of `word`; `None` for a word that belongs to a filesystem.
pub(crate) fn find(word: &str) -> Option<&'static MountOption> {
    let row = MOUNT_OPTIONS.binary_search_by_key(&word, |option| option.word).ok()?;
    Some(&MOUNT_OPTIONS[row])
}

/// Words of other programs and languages for an option, in small letters without `-` and `_`.
const SYNONYMS: &[(&str, &str)] = &[
    ("readonly", "ro"),
    ("rdonly", "ro"),
    ("writable", "rw"),
    ("writeable", "rw"),
    ("readwrite", "rw"),
    ("recursivereadonly", "rro"),
    ("rreadonly", "rro"),
    ("bindmount", "bind"),
    ("recursive", "rbind"),
    ("recursivebind", "rbind"),
    ("rbindmount", "rbind"),
    ("nosetuid", "nosuid"),
    ("setuid", "suid"),
    ("nodevice", "nodev"),
    ("nodevices", "nodev"),
    ("device", "dev"),
    ("devices", "dev"),
    ("noexecute", "noexec"),
    ("executable", "exec"),
    ("recursiveprivate", "rprivate"),
    ("recursiveshared", "rshared"),
    ("recursiveslave", "rslave"),
    ("idmapped", "idmap"),
    ("nosymlinks", "nosymfollow"),
    ("nosymlink", "nosymfollow"),
    ("default", "defaults"),
    ("synchronous", "sync"),
    ("copyup", "tmpcopyup"),
];

/// Returns the option that a word was probably meant to be: one of the table, or of `more`.
pub(crate) fn meant(word: &str, more: &[&'static str]) -> Option<&'static str> {
    let plain = word.get(..64.min(word.len()))?.to_ascii_lowercase().replace(['-', '_'], "");
    let synonym = SYNONYMS.iter().find(|(known, _)| *known == plain).map(|(_, option)| *option);
    let names = MOUNT_OPTIONS.iter().map(|known| known.word).chain(more.iter().copied());
    synonym.or_else(|| spelling::nearest(word, names))
}

/// Returns the words of `mountOptions` in the features document, sorted as in runc's.
pub(crate) fn features() -> impl Iterator<Item = &'static str> {
    MOUNT_OPTIONS.iter().filter(|option| option.origin == Spec).map(|option| option.word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_another_program_means_an_option() {
        for (word, option) in [
            ("readonly", Some("ro")),
            ("ReadOnly", Some("ro")),
            ("read-only", Some("ro")),
            ("read_write", Some("rw")),
            ("recursive", Some("rbind")),
            ("no-exec", Some("noexec")),
            ("nosuit", Some("nosuid")),
            ("sise", Some("size")),
            ("ro", None),
            ("x", None),
        ] {
            assert_eq!(meant(word, &["size"]), option, "{word}");
        }
        assert!(SYNONYMS.iter().all(|(word, option)| find(word).is_none() && find(option).is_some()));
    }

    #[test]
    fn the_table_is_sorted_as_its_binary_search_needs() {
        assert!(MOUNT_OPTIONS.is_sorted_by_key(|option| option.word));
    }

    #[test]
    fn the_documentation_names_what_the_specification_does_not_list() {
        let page = include_str!("../../docs/compatibility.md");
        for option in MOUNT_OPTIONS.iter().filter(|option| option.origin != Spec) {
            assert!(page.contains(&format!("`{}`", option.word)), "{}", option.word);
        }
    }
}
