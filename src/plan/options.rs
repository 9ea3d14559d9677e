//! Mount option words: what each does to a mount. `spec` has a list of the same words, by name alone.

use std::ffi::CString;

use crate::kernel::mount::{
    self, Attributes, MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME, MS_NOSYMFOLLOW,
};

/// A filesystem parameter: `key=value` or a bare flag.
pub type Parameter = (CString, Option<CString>);

/// A kind (MS_*), and whether it is for all mounts below too.
pub type Propagation = (u64, bool);

/// What one word does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Sets (first) and clears (second) mount attributes.
    Attribute(u64, u64),
    /// The same for the mount and all below it, KERNEL(5.12).
    Recursive(u64, u64),
    /// MS_* propagation, and whether for all below too.
    Propagates(u64, bool),
    Bind {
        recursive: bool,
    },
    /// A flag of the superblock, spelled as fsconfig wants it.
    Superblock(&'static str),
    IdMapped {
        recursive: bool,
    },
    CopyUp,
    Remount,
    CopySymlink,
    SourceNoFollow,
    TargetNoFollow,
    /// Known, and already so.
    Nothing,
}

use Effect::{Attribute, Bind, IdMapped, Nothing, Propagates, Recursive, Superblock};

const ATIME: u64 = MOUNT_ATTR_ATIME;

/// Sorted by word; `features` prints the first column.
const WORDS: &[(&str, Effect)] = &[
    ("async", Superblock("async")),
    ("atime", Attribute(MOUNT_ATTR_RELATIME, ATIME)),
    ("bind", Bind { recursive: false }),
    ("copy-symlink", Effect::CopySymlink),
    ("defaults", Nothing),
    ("dest-nofollow", Effect::TargetNoFollow),
    ("dev", Attribute(0, MOUNT_ATTR_NODEV)),
    ("diratime", Attribute(0, MOUNT_ATTR_NODIRATIME)),
    ("dirsync", Superblock("dirsync")),
    ("exec", Attribute(0, MOUNT_ATTR_NOEXEC)),
    ("idmap", IdMapped { recursive: false }),
    ("iversion", Superblock("iversion")),
    ("lazytime", Superblock("lazytime")),
    ("loud", Nothing),
    ("mand", Superblock("mand")),
    ("noatime", Attribute(MOUNT_ATTR_NOATIME, ATIME)),
    ("nodev", Attribute(MOUNT_ATTR_NODEV, 0)),
    ("nodiratime", Attribute(MOUNT_ATTR_NODIRATIME, 0)),
    ("noexec", Attribute(MOUNT_ATTR_NOEXEC, 0)),
    ("noiversion", Nothing),
    ("nolazytime", Superblock("nolazytime")),
    ("nomand", Superblock("nomand")),
    ("norelatime", Attribute(MOUNT_ATTR_STRICTATIME, ATIME)),
    ("nostrictatime", Attribute(MOUNT_ATTR_RELATIME, ATIME)),
    ("nosuid", Attribute(MOUNT_ATTR_NOSUID, 0)),
    ("nosymfollow", Attribute(MOUNT_ATTR_NOSYMFOLLOW, 0)),
    ("private", Propagates(mount::MS_PRIVATE, false)),
    ("ratime", Recursive(MOUNT_ATTR_RELATIME, ATIME)),
    ("rbind", Bind { recursive: true }),
    ("rdev", Recursive(0, MOUNT_ATTR_NODEV)),
    ("rdiratime", Recursive(0, MOUNT_ATTR_NODIRATIME)),
    ("relatime", Attribute(MOUNT_ATTR_RELATIME, ATIME)),
    ("remount", Effect::Remount),
    ("rexec", Recursive(0, MOUNT_ATTR_NOEXEC)),
    ("ridmap", IdMapped { recursive: true }),
    ("rnoatime", Recursive(MOUNT_ATTR_NOATIME, ATIME)),
    ("rnodev", Recursive(MOUNT_ATTR_NODEV, 0)),
    ("rnodiratime", Recursive(MOUNT_ATTR_NODIRATIME, 0)),
    ("rnoexec", Recursive(MOUNT_ATTR_NOEXEC, 0)),
    ("rnorelatime", Recursive(MOUNT_ATTR_STRICTATIME, ATIME)),
    ("rnostrictatime", Recursive(MOUNT_ATTR_RELATIME, ATIME)),
    ("rnosuid", Recursive(MOUNT_ATTR_NOSUID, 0)),
    ("rnosymfollow", Recursive(MOUNT_ATTR_NOSYMFOLLOW, 0)),
    ("ro", Attribute(MOUNT_ATTR_RDONLY, 0)),
    ("rprivate", Propagates(mount::MS_PRIVATE, true)),
    ("rrelatime", Recursive(MOUNT_ATTR_RELATIME, ATIME)),
    ("rro", Recursive(MOUNT_ATTR_RDONLY, 0)),
    ("rrw", Recursive(0, MOUNT_ATTR_RDONLY)),
    ("rshared", Propagates(mount::MS_SHARED, true)),
    ("rslave", Propagates(mount::MS_SLAVE, true)),
    ("rstrictatime", Recursive(MOUNT_ATTR_STRICTATIME, ATIME)),
    ("rsuid", Recursive(0, MOUNT_ATTR_NOSUID)),
    ("rsymfollow", Recursive(0, MOUNT_ATTR_NOSYMFOLLOW)),
    ("runbindable", Propagates(mount::MS_UNBINDABLE, true)),
    ("rw", Attribute(0, MOUNT_ATTR_RDONLY)),
    ("shared", Propagates(mount::MS_SHARED, false)),
    ("silent", Nothing),
    ("slave", Propagates(mount::MS_SLAVE, false)),
    ("src-nofollow", Effect::SourceNoFollow),
    ("strictatime", Attribute(MOUNT_ATTR_STRICTATIME, ATIME)),
    ("suid", Attribute(0, MOUNT_ATTR_NOSUID)),
    ("symfollow", Attribute(0, MOUNT_ATTR_NOSYMFOLLOW)),
    ("sync", Superblock("sync")),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Propagates(mount::MS_UNBINDABLE, false)),
];

/// The words that the `features` command lists: without crun's, and without those that stand for themselves there.
pub fn words() -> impl Iterator<Item = &'static str> {
    let ours = ["copy-symlink", "dest-nofollow", "idmap", "ridmap", "src-nofollow"];
    WORDS.iter().map(|(word, _)| *word).filter(move |word| !ours.contains(word))
}

/// MS_* flags of mount(2) that the words name: for a bind it matters which were named, also those that are cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Named {
    pub set: u64,
    pub cleared: u64,
}

/// What a word names, sorted by word, and whether it clears it.
const NAMED: &[(&str, u64, bool)] = &[
    ("atime", mount::MS_NOATIME, true),
    ("dev", mount::MS_NODEV, true),
    ("diratime", mount::MS_NODIRATIME, true),
    ("exec", mount::MS_NOEXEC, true),
    ("noatime", mount::MS_NOATIME, false),
    ("nodev", mount::MS_NODEV, false),
    ("nodiratime", mount::MS_NODIRATIME, false),
    ("noexec", mount::MS_NOEXEC, false),
    ("norelatime", mount::MS_RELATIME, true),
    ("nostrictatime", mount::MS_STRICTATIME, true),
    ("nosuid", mount::MS_NOSUID, false),
    ("nosymfollow", MS_NOSYMFOLLOW, false),
    ("relatime", mount::MS_RELATIME, false),
    ("ro", mount::MS_RDONLY, false),
    ("rw", mount::MS_RDONLY, true),
    ("strictatime", mount::MS_STRICTATIME, false),
    ("suid", mount::MS_NOSUID, true),
    ("symfollow", MS_NOSYMFOLLOW, true),
];

const ACCESS_TIME: u64 =
    mount::MS_NOATIME | mount::MS_NODIRATIME | mount::MS_RELATIME | mount::MS_STRICTATIME;
/// The flags besides access times, by both names.
const PLAIN: [(u64, u64); 5] = [
    (mount::MS_RDONLY, MOUNT_ATTR_RDONLY),
    (mount::MS_NOSUID, MOUNT_ATTR_NOSUID),
    (mount::MS_NODEV, MOUNT_ATTR_NODEV),
    (mount::MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    (MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
];

impl Named {
    fn add(&mut self, word: &str) {
        let Ok(found) = NAMED.binary_search_by_key(&word, |(word, ..)| word) else { return };
        let (_, flag, clears) = NAMED[found];
        const MODES: u64 = mount::MS_NOATIME | mount::MS_RELATIME | mount::MS_STRICTATIME;
        if !clears && flag & MODES != 0 {
            // One mode at a time: the last word wins.
            self.set &= !MODES;
        }
        let (on, off) =
            if clears { (&mut self.cleared, &mut self.set) } else { (&mut self.set, &mut self.cleared) };
        *on |= flag;
        *off &= !flag;
    }

    /// A bind with any flag named has the named ones and no others, as mount(2) with MS_REMOUNT|MS_BIND makes it.
    /// Access times stay where none is named, and are relatime where nothing more is said of them.
    pub fn alone(self) -> Attributes {
        let mut new = Attributes::default();
        if self == Self::default() {
            return new;
        }
        // Engines write a bare rw on every bind. runc did nothing for it before 1.2 and takes all other flags away since:
        // here a source's nosuid, nodev and noexec stay: they protect. nosymfollow goes, as with runc.
        if self == (Self { set: 0, cleared: mount::MS_RDONLY }) {
            return Attributes { clear: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSYMFOLLOW, ..new };
        }
        for (flag, attribute) in PLAIN {
            *(if self.set & flag != 0 { &mut new.set } else { &mut new.clear }) |= attribute;
        }
        if self.set & ACCESS_TIME != 0 {
            self.access_time(&mut new);
        }
        new
    }

    fn access_time(self, new: &mut Attributes) {
        let of = |flag, attribute| if self.set & flag != 0 { attribute } else { 0 };
        new.clear |= ATIME;
        new.set |= match of(mount::MS_STRICTATIME, MOUNT_ATTR_STRICTATIME) {
            0 => of(mount::MS_NOATIME, MOUNT_ATTR_NOATIME),
            strict => strict,
        };
        let directories = of(mount::MS_NODIRATIME, MOUNT_ATTR_NODIRATIME);
        new.set |= directories;
        new.clear |= MOUNT_ATTR_NODIRATIME & !directories;
    }

    /// What the kernel allows of that on a mount with `existing` flags (MS_*) that are locked, because it came from
    /// another user namespace: they stay, and the named ones are added. None where one of them was to go.
    pub fn beside(self, existing: u64) -> Option<Attributes> {
        let time = |flags: u64| match flags & ACCESS_TIME & !mount::MS_NODIRATIME {
            // The kernel has no word for it: it is what is neither of the others.
            0 => mount::MS_STRICTATIME | flags & mount::MS_NODIRATIME,
            named => named | flags & mount::MS_NODIRATIME,
        };
        let kept = existing & !ACCESS_TIME & !self.set & !MS_NOSYMFOLLOW == 0;
        let wanted = self.alone();
        let same_time = self.set & ACCESS_TIME == 0 || time(existing) == implied(self.set & ACCESS_TIME);
        if kept && same_time {
            return Some(wanted);
        }
        if existing & self.cleared & !MS_NOSYMFOLLOW != 0 || !same_time {
            return None;
        }
        // The one flag that is never locked.
        let clear = wanted.clear & MOUNT_ATTR_NOSYMFOLLOW;
        Some(Attributes { clear, set: wanted.set & !(ATIME | MOUNT_ATTR_NODIRATIME), ..wanted })
    }
}

/// Of named access times, those that hold.
fn implied(flags: u64) -> u64 {
    let directories = flags & mount::MS_NODIRATIME;
    for one in [mount::MS_STRICTATIME, mount::MS_NOATIME] {
        if flags & one != 0 {
            return one | directories;
        }
    }
    mount::MS_RELATIME | directories
}

/// All the options of one mount, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub attributes: Attributes,
    pub named: Named,
    pub recursive: Attributes,
    /// Whether it is a bind, and whether of all below the source too.
    pub bind: Option<bool>,
    /// Whether ids are mapped, and whether on all mounts below too.
    pub id_mapped: Option<bool>,
    /// The mappings of `idmap=` and `ridmap=`, crun's, as they are written.
    pub id_maps: Option<String>,
    /// Words of propagation after the first, in order: each acts on what those before it left (`slave`, `shared`).
    pub propagation: Vec<Propagation>,
    pub copy_up: bool,
    pub remount: bool,
    pub copy_symlink: bool,
    pub source_no_follow: bool,
    pub target_no_follow: bool,
    /// Everything else goes to the filesystem.
    pub parameters: Vec<Parameter>,
}

/// Reads the option words of a mount. Fails with the index of a word that has a NUL within.
pub fn read(words: &[String]) -> Result<Options, usize> {
    let mut options = Options::default();
    for (index, word) in words.iter().enumerate().filter(|(_, word)| !word.is_empty()) {
        match WORDS.binary_search_by_key(&word.as_str(), |(word, _)| word) {
            Ok(found) => {
                options.named.add(word);
                options.add(WORDS[found].1, index)?;
            }
            Err(_) => match id_maps(word) {
                Some((recursive, maps)) => {
                    options.id_mapped = Some(recursive);
                    options.id_maps = Some(maps.to_owned());
                }
                None => options.parameters.push(parameter(word).ok_or(index)?),
            },
        }
    }
    Ok(options)
}

impl Options {
    fn add(&mut self, effect: Effect, index: usize) -> Result<(), usize> {
        match effect {
            Attribute(set, clear) => change(&mut self.attributes, set, clear),
            Recursive(set, clear) => change(&mut self.recursive, set, clear),
            Propagates(kind, recursive) => self.propagate(kind, recursive),
            Bind { recursive } => self.bind = Some(recursive || self.bind == Some(true)),
            Superblock(word) => self.parameters.push(parameter(word).ok_or(index)?),
            IdMapped { recursive } => self.id_mapped = Some(recursive),
            Effect::CopyUp => self.copy_up = true,
            Effect::Remount => self.remount = true,
            Effect::CopySymlink => self.copy_symlink = true,
            Effect::SourceNoFollow => self.source_no_follow = true,
            Effect::TargetNoFollow => self.target_no_follow = true,
            Nothing => {}
        }
        Ok(())
    }
}

impl Options {
    /// The first word is changed with the attributes: there is seldom another one.
    fn propagate(&mut self, kind: u64, recursive: bool) {
        if self.attributes.propagation != 0 || self.recursive.propagation != 0 {
            self.propagation.push((kind, recursive));
        } else if recursive {
            self.recursive.propagation = kind;
        } else {
            self.attributes.propagation = kind;
        }
    }
}

/// The last word wins: what is set here is no longer cleared, and the other way round.
fn change(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = (attributes.set & !clear) | set;
    attributes.clear = (attributes.clear & !(set & !ATIME)) | clear;
}

/// The mappings that an option word gives, and whether it is for all mounts below too.
fn id_maps(word: &str) -> Option<(bool, &str)> {
    match word.split_once('=')? {
        ("idmap", maps) => Some((false, maps)),
        ("ridmap", maps) => Some((true, maps)),
        _ => None,
    }
}

/// `key=value` or a bare flag; an empty word is nothing a filesystem knows, so it is left for it to refuse.
fn parameter(word: &str) -> Option<Parameter> {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(CString::new(value).ok()?)),
        None => (word, None),
    };
    Some((CString::new(key).ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Options {
        read(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_table_is_sorted_as_its_binary_search_needs() {
        assert!(WORDS.is_sorted_by_key(|(word, _)| *word));
    }

    #[test]
    fn the_words_are_those_that_the_rules_of_the_configuration_know() {
        let mut known: Vec<_> = crate::spec::mounts::WORDS.concat();
        known.sort_unstable();
        assert_eq!(WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>(), known);
    }

    #[test]
    fn the_last_word_wins() {
        let options = of(&["ro", "rw", "nosuid", "suid", "nosuid"]);
        assert_eq!(options.attributes.set, MOUNT_ATTR_NOSUID);
        assert_eq!(options.attributes.clear, MOUNT_ATTR_RDONLY);
        let options = of(&["noatime", "strictatime"]);
        assert_eq!(options.attributes.set & ATIME, MOUNT_ATTR_STRICTATIME);
        assert_eq!(options.attributes.clear, ATIME);
    }

    #[test]
    fn unknown_words_are_the_filesystems() {
        let options = of(&["mode=755", "newinstance", "rbind", "rro", "rslave", "shared"]);
        assert_eq!(
            options.parameters,
            [(c"mode".into(), Some(c"755".into())), (c"newinstance".into(), None)]
        );
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.recursive.set, MOUNT_ATTR_RDONLY);
        assert_eq!(options.recursive.propagation, mount::MS_SLAVE);
        assert_eq!(options.propagation, [(mount::MS_SHARED, false)]);
    }
}
