//! Reads the options of one mount: adds up the effects of its words (the table is `spec::mount_options`), of
//! which the last wins, and collects the mount(2) flags that they name.

use super::mount_parameters;
use crate::kernel::mount::{
    self, Attributes, MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME,
    MS_NOSYMFOLLOW,
};
use crate::spec::mount_options::{self, Effect, FlagEffect, MountOption};

pub(crate) use super::mount_parameters::Parameter;

/// A kind (MS_*), and whether it applies to all mounts below too.
pub(crate) type Propagation = (u64, bool);

const ATTR_ATIME: u64 = MOUNT_ATTR_ATIME;

/// The MS_* flags of mount(2) that the words name. For a bind it matters which were named, even if they are
/// cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExplicitFlags {
    pub set: u64,
    pub cleared: u64,
}

const MS_ATIME_ALL: u64 =
    mount::MS_NOATIME | mount::MS_NODIRATIME | mount::MS_RELATIME | mount::MS_STRICTATIME;
/// The flags other than access times, by both names.
const PLAIN: [(u64, u64); 5] = [
    (mount::MS_RDONLY, MOUNT_ATTR_RDONLY),
    (mount::MS_NOSUID, MOUNT_ATTR_NOSUID),
    (mount::MS_NODEV, MOUNT_ATTR_NODEV),
    (mount::MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    (MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
];

impl ExplicitFlags {
    fn add(&mut self, flag: FlagEffect) {
        const MS_ATIME_MODES: u64 = mount::MS_NOATIME | mount::MS_RELATIME | mount::MS_STRICTATIME;
        match flag {
            FlagEffect::Unnamed => {}
            FlagEffect::Sets(flag) => {
                if flag & MS_ATIME_MODES != 0 {
                    // There is only one mode at a time: the last word wins.
                    self.set &= !MS_ATIME_MODES;
                }
                self.set |= flag;
                self.cleared &= !flag;
            }
            FlagEffect::Clears(flag) => {
                self.cleared |= flag;
                self.set &= !flag;
            }
        }
    }

    /// Returns the attributes for a bind. If the options name any flag, it gets exactly these, as with
    /// MS_REMOUNT|MS_BIND. Access times stay if none is named; a named one without a mode becomes relatime.
    pub fn to_attributes(self) -> Attributes {
        let mut new = Attributes::default();
        if self == Self::default() {
            return new;
        }
        // A lone `rw` (engines write it on every bind) clears only read-only. runc ≥ 1.2 clears all flags; we
        // keep the source's nosuid, nodev, noexec. nosymfollow is cleared, as with runc.
        if self == (Self { set: 0, cleared: mount::MS_RDONLY }) {
            return Attributes { clear: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSYMFOLLOW, ..new };
        }
        for (flag, attribute) in PLAIN {
            *(if self.set & flag != 0 { &mut new.set } else { &mut new.clear }) |= attribute;
        }
        if self.set & MS_ATIME_ALL != 0 {
            self.access_time(&mut new);
        }
        new
    }

    fn access_time(self, new: &mut Attributes) {
        let if_set = |flag, attribute| if self.set & flag != 0 { attribute } else { 0 };
        new.clear |= ATTR_ATIME;
        new.set |= match if_set(mount::MS_STRICTATIME, MOUNT_ATTR_STRICTATIME) {
            0 => if_set(mount::MS_NOATIME, MOUNT_ATTR_NOATIME),
            strict => strict,
        };
        let directories = if_set(mount::MS_NODIRATIME, MOUNT_ATTR_NODIRATIME);
        new.set |= directories;
        new.clear |= MOUNT_ATTR_NODIRATIME & !directories;
    }

    /// Returns the attributes to set on a mount whose `existing` flags (MS_*) are locked, because it came
    /// from another user namespace. Locked flags stay, and the flags that options name are added. Returns
    /// `None` if an option asks for a locked flag to be cleared.
    pub fn attributes_keeping_locked(self, existing: u64) -> Option<Attributes> {
        let time = |flags: u64| match flags & MS_ATIME_ALL & !mount::MS_NODIRATIME {
            // statfs has no flag for strictatime: it is the absence of the others.
            0 => mount::MS_STRICTATIME | flags & mount::MS_NODIRATIME,
            named => named | flags & mount::MS_NODIRATIME,
        };
        let no_further_flags = existing & !MS_ATIME_ALL & !self.set & !MS_NOSYMFOLLOW == 0;
        let attributes = self.to_attributes();
        let same_time = self.set & MS_ATIME_ALL == 0 || time(existing) == implied(self.set & MS_ATIME_ALL);
        if no_further_flags && same_time {
            // All locked flags are asked for anyway, so nothing locked is cleared.
            return Some(attributes);
        }
        if existing & self.cleared & !MS_NOSYMFOLLOW != 0 || !same_time {
            // An option clears a locked flag (such as `rw` of a read-only source), or changes the access
            // time.
            return None;
        }
        // The mount has locked flags that no option names. They stay, and so does the access time. Nothing is
        // cleared except nosymfollow, which is never locked.
        let clear = attributes.clear & MOUNT_ATTR_NOSYMFOLLOW;
        Some(Attributes { clear, set: attributes.set & !(ATTR_ATIME | MOUNT_ATTR_NODIRATIME), ..attributes })
    }
}

/// Returns the access-time flags that take effect if these are named.
fn implied(flags: u64) -> u64 {
    let directories = flags & mount::MS_NODIRATIME;
    for mode in [mount::MS_STRICTATIME, mount::MS_NOATIME] {
        if flags & mode != 0 {
            return mode | directories;
        }
    }
    mount::MS_RELATIME | directories
}

/// All the options of one mount, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub attributes: Attributes,
    pub named: ExplicitFlags,
    pub recursive_attributes: Attributes,
    /// Whether the mount is a bind, and whether it includes all mounts below the source.
    pub bind: Option<bool>,
    /// Whether ids are mapped, and whether on all mounts below too.
    pub id_mapped: Option<bool>,
    /// The mappings of crun's `idmap=` and `ridmap=`, as they are written.
    pub id_maps: Option<String>,
    /// Words of propagation after the first, in order: each acts on the result of those before it (`slave`,
    /// `shared`).
    pub propagation: Vec<Propagation>,
    pub copy_up: bool,
    pub remount: bool,
    pub copy_symlink: bool,
    pub source_no_follow: bool,
    pub target_no_follow: bool,
    /// All other words: they go to the filesystem.
    pub parameters: Vec<Parameter>,
}

/// Reads the option words of a mount of a filesystem `kind`.
///
/// # Errors
/// The index of a word that contains a NUL character.
pub(crate) fn parse_options(words: &[String], kind: &str) -> Result<Options, usize> {
    let mut options = Options::default();
    for (index, word) in words.iter().enumerate().filter(|(_, word)| !word.is_empty()) {
        if let Some(option) = mount_options::find(word) {
            options.named.add(option.flag);
            options.add(option, index)?;
        } else if let Some((recursive, maps)) = id_maps(word) {
            options.id_mapped = Some(recursive);
            options.id_maps = Some(maps.to_owned());
        } else {
            options.parameters.extend(mount_parameters::parameters(word, kind).ok_or(index)?);
        }
    }
    Ok(options)
}

impl Options {
    fn add(&mut self, option: &MountOption, index: usize) -> Result<(), usize> {
        match option.effect {
            Effect::Attribute(set, clear) => change(&mut self.attributes, set, clear),
            Effect::Recursive(set, clear) => change(&mut self.recursive_attributes, set, clear),
            Effect::NotAccessTime { mode, recursive: false } => clear_access_time(&mut self.attributes, mode),
            Effect::NotAccessTime { mode, recursive: true } => {
                clear_access_time(&mut self.recursive_attributes, mode);
            }
            Effect::Propagation(kind, recursive) => self.propagate(kind, recursive),
            Effect::Bind { recursive } => self.bind = Some(recursive || self.bind == Some(true)),
            Effect::Superblock => {
                self.parameters.push(mount_parameters::parameter(option.word).ok_or(index)?);
            }
            Effect::IdMapped { recursive } => self.id_mapped = Some(recursive),
            Effect::CopyUp => self.copy_up = true,
            Effect::Remount => self.remount = true,
            Effect::CopySymlink => self.copy_symlink = true,
            Effect::SourceNoFollow => self.source_no_follow = true,
            Effect::TargetNoFollow => self.target_no_follow = true,
            Effect::Nothing => {}
        }
        Ok(())
    }

    /// Adds a word of propagation. The first one is changed together with the attributes: there is seldom
    /// another.
    fn propagate(&mut self, kind: u64, recursive: bool) {
        if self.attributes.propagation != 0 || self.recursive_attributes.propagation != 0 {
            self.propagation.push((kind, recursive));
        } else if recursive {
            self.recursive_attributes.propagation = kind;
        } else {
            self.attributes.propagation = kind;
        }
    }
}

/// Adds a change. The last word wins: a flag that is set is no longer cleared, and vice versa.
fn change(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = (attributes.set & !clear) | set;
    attributes.clear = (attributes.clear & !(set & !ATTR_ATIME)) | clear;
}

fn clear_access_time(attributes: &mut Attributes, mode: u64) {
    if attributes.set & ATTR_ATIME == mode {
        attributes.set &= !ATTR_ATIME;
    }
    attributes.clear |= ATTR_ATIME;
}

/// Returns the mappings of an option word, and whether they apply to all mounts below too.
fn id_maps(word: &str) -> Option<(bool, &str)> {
    match word.split_once('=')? {
        ("idmap", maps) => Some((false, maps)),
        ("ridmap", maps) => Some((true, maps)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::mount::MOUNT_ATTR_RELATIME;

    fn parse_words(words: &[&str]) -> Options {
        parse_options(&words.iter().map(ToString::to_string).collect::<Vec<_>>(), "tmpfs").unwrap()
    }

    #[test]
    fn the_last_word_wins() {
        let options = parse_words(&["ro", "rw", "nosuid", "suid", "nosuid"]);
        assert_eq!(options.attributes.set, MOUNT_ATTR_NOSUID);
        assert_eq!(options.attributes.clear, MOUNT_ATTR_RDONLY);
        let options = parse_words(&["noatime", "strictatime"]);
        assert_eq!(options.attributes.set & ATTR_ATIME, MOUNT_ATTR_STRICTATIME);
        assert_eq!(options.attributes.clear, ATTR_ATIME);
    }

    #[test]
    fn what_no_word_sets_is_relatime() {
        for (words, mode) in [
            (&["norelatime"][..], MOUNT_ATTR_RELATIME),
            (&["noatime", "norelatime"], MOUNT_ATTR_NOATIME),
            (&["noatime", "atime"], MOUNT_ATTR_RELATIME),
            (&["strictatime", "atime"], MOUNT_ATTR_STRICTATIME),
            (&["strictatime", "nostrictatime"], MOUNT_ATTR_RELATIME),
        ] {
            assert_eq!(parse_words(words).attributes.set & ATTR_ATIME, mode, "{words:?}");
            let recursive: Vec<_> = words.iter().map(|word| format!("r{word}")).collect();
            let recursive = parse_options(&recursive, "bind").unwrap().recursive_attributes;
            // Each of the words for a tree says something of it, whatever it had.
            assert_eq!((recursive.set & ATTR_ATIME, recursive.clear), (mode, ATTR_ATIME), "r: {words:?}");
        }
    }

    #[test]
    fn unknown_words_are_the_filesystems() {
        let options = parse_words(&["mode=755", "newinstance", "rbind", "rro", "rslave", "shared"]);
        assert_eq!(
            options.parameters,
            [(c"mode".into(), Some(c"755".into())), (c"newinstance".into(), None)]
        );
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.recursive_attributes.set, MOUNT_ATTR_RDONLY);
        assert_eq!(options.recursive_attributes.propagation, mount::MS_SLAVE);
        assert_eq!(options.propagation, [(mount::MS_SHARED, false)]);
    }
}
