//! Applies layers in memory: the same rules as in `unpack`, for paths and metadata only.

use std::collections::{BTreeMap, HashSet};

use nix::errno::Errno;

use super::lookup::{Found, is_directory, look};
use super::{Effect, Event, Explained, Layer, Origin};
use crate::error::{Error, Kind, Result};
use crate::fail;
use crate::image::archive::path::{clean, split};
use crate::image::archive::{Entry, EntryKind};
use crate::image::unpack::whiteout::{EntryMeaning, PSEUDOLINKS, classify};
use crate::inroot::MAX_SYMLINKS;

/// The layers applied so far.
#[derive(Debug, Default)]
pub(crate) struct MergedTree {
    paths: BTreeMap<Vec<u8>, Origin>,
    events: Vec<Event>,
    layers: Vec<Layer>,
    /// What whiteouts of the current layer have removed: another one of the same name finds nothing more, and
    /// need not look at all that this layer has put there.
    whiteouts: HashSet<Vec<u8>>,
    /// Bytes that all this takes, about.
    held: usize,
}

/// What the paths of an image may take of the memory, in bytes.
const MAX_HELD: usize = 512 << 20;
/// What each takes beside its own bytes: it stands in the tree and among the events.
const HELD_BESIDE: usize = 256;
/// The longest path that a link can have.
const LINK_MAX: usize = libc::PATH_MAX as usize - 1;

impl MergedTree {
    /// Begins the next layer: the entries that follow belong to it.
    pub(crate) fn begin_layer(&mut self) {
        self.remove_pseudolinks();
        self.whiteouts.clear();
        self.layers.push(Layer::default());
    }

    /// The number of the current layer, from 0.
    fn number(&self) -> usize {
        self.layers.len().saturating_sub(1)
    }

    /// Applies an entry of the current layer; `path` is its clean path.
    pub(crate) fn apply(&mut self, entry: &Entry, path: &[u8]) -> Result<()> {
        if matches!(entry.kind, EntryKind::Symlink | EntryKind::HardLink) && entry.link.len() > LINK_MAX {
            return Err(Errno::ENAMETOOLONG.into());
        }
        self.hold(2 * path.len() + entry.link.len() + capability(entry).map_or(0, Vec::len))?;
        let number = self.number();
        let size = if entry.kind == EntryKind::Regular { entry.size } else { 0 };
        self.layers[number].entries += 1;
        self.layers[number].bytes = self.layers[number].bytes.saturating_add(size);
        match classify(path)? {
            EntryMeaning::File => self.put(entry, path, size),
            // Links of this layer are made to it, and it is no part of the tree.
            EntryMeaning::Pseudolink if entry.kind == EntryKind::Regular => {
                self.add_event(path, Effect::Skipped);
                self.put(entry, path, size)
            }
            EntryMeaning::Reserved | EntryMeaning::Pseudolink => {
                self.add_event(path, Effect::Skipped);
                Ok(())
            }
            EntryMeaning::Opaque { dir } => {
                let Some(dir) = self.directory(dir) else { return self.nothing_to_hide(path) };
                let (layers, bytes) = self.remove_lower(&dir, false);
                self.add_event(&dir, Effect::Empties { layers, bytes });
                Ok(())
            }
            EntryMeaning::Whiteout { dir, name } => {
                let Some(dir) = self.directory(dir) else { return self.nothing_to_hide(path) };
                let path = join(&dir, name);
                let (layers, bytes) = self.remove_lower(&path, true);
                self.add_event(&path, Effect::Removes { layers, bytes });
                Ok(())
            }
        }
    }

    /// Counts an entry, a directory without one, or what a hard link copies, of `bytes` bytes.
    fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held += bytes + HELD_BESIDE;
        match self.held > MAX_HELD {
            true => {
                Err(fail!(Kind::Spec, "the paths of the image take more than {MAX_HELD} bytes of memory"))
            }
            false => Ok(()),
        }
    }

    /// A whiteout in what is no directory: there is nothing, as for unpacking.
    fn nothing_to_hide(&mut self, path: &[u8]) -> Result<()> {
        self.add_event(path, Effect::Removes { layers: Vec::new(), bytes: 0 });
        Ok(())
    }

    /// Ends a layer: removes the files that only its own hard links needed.
    fn remove_pseudolinks(&mut self) {
        let below: Vec<Vec<u8>> = self.below(PSEUDOLINKS).map(|(path, _)| path.clone()).collect();
        below.iter().chain([&PSEUDOLINKS.to_vec()]).for_each(|path| drop(self.paths.remove(path)));
    }

    fn add_event(&mut self, path: &[u8], effect: Effect) {
        self.events.push(Event { layer: self.number(), path: path.to_vec(), effect });
    }

    /// Removes what lower layers have below `path` and, with `itself`, at it. Returns the layers that the
    /// removed files came from, and their size.
    fn remove_lower(&mut self, path: &[u8], itself: bool) -> (Vec<usize>, u64) {
        // A slash stands behind no clean path.
        let key = [path, if itself { b"" } else { b"/" }].concat();
        self.held += key.len();
        if !self.whiteouts.insert(key) {
            return (Vec::new(), 0);
        }
        let number = self.number();
        let own = self.paths.get_key_value(path).filter(|_| itself);
        let gone: Vec<Vec<u8>> = own
            .into_iter()
            .chain(self.below(path))
            .filter(|(_, origin)| origin.layer < number)
            .map(|(path, _)| path.clone())
            .collect();
        let (mut layers, mut bytes) = (Vec::new(), 0);
        // What is in a directory comes before it.
        for path in gone.into_iter().rev() {
            // A directory in which this layer has put something stays.
            if self.below(&path).next().is_some() {
                continue;
            }
            let Some(origin) = self.paths.remove(&path) else { continue };
            layers.push(origin.layer);
            bytes = self.hide(&origin).saturating_add(bytes);
        }
        layers.sort_unstable();
        layers.dedup();
        (layers, bytes)
    }

    /// Counts a file as hidden. Returns its size; the size of a hard link is counted with its target.
    fn hide(&mut self, origin: &Origin) -> u64 {
        let bytes = if origin.is_hard_link { 0 } else { origin.size };
        let hidden = &mut self.layers[origin.layer].hidden;
        *hidden = hidden.saturating_add(bytes);
        bytes
    }

    /// Everything below `path`, itself excepted.
    fn below(&self, path: &[u8]) -> impl Iterator<Item = (&Vec<u8>, &Origin)> {
        // The paths that start with `PATH/` are contiguous, and `0` is the byte after `/`.
        let (from, to) = match path {
            b"" => (Vec::new(), vec![0xff; 1]),
            path => ([path, b"/"].concat(), [path, b"0"].concat()),
        };
        let is_all = path.is_empty();
        self.paths
            .range(from.clone()..)
            .take_while(move |(path, _)| is_all || **path < to)
            .filter(move |(path, _)| **path != from)
    }

    /// Inserts an entry at its path; missing directories above it are made.
    fn put(&mut self, entry: &Entry, path: &[u8], size: u64) -> Result<()> {
        let (above, name) = split(path);
        if path.is_empty() && entry.kind != EntryKind::Directory {
            return Err(fail!(Kind::Spec, "the root can only be a directory"));
        }
        let path = if path.is_empty() { Vec::new() } else { join(&self.make_dirs(above, 0)?, name) };
        // Symlinks may have made it longer.
        self.held += path.len();
        let mut origin = Origin { size, ..origin(self.number(), entry) };
        if origin.is_hard_link && self.is_link_to_itself(&origin, &path)? {
            // It is of this layer now, whose whiteouts leave it.
            self.paths.entry(path).and_modify(|itself| itself.layer = origin.layer);
            return Ok(());
        }
        if origin.is_hard_link {
            self.resolve_hard_link(&mut origin)?;
        }
        if let Some(before) = self.paths.remove(&path) {
            let is_merged = before.kind == EntryKind::Directory && origin.kind == EntryKind::Directory;
            if !is_merged {
                self.replace(&path, &before);
            }
            // A link that took the place of a directory with its target.
            if origin.is_hard_link && !self.paths.contains_key(&origin.link) {
                return Err(missing_target(&origin.link));
            }
        }
        self.paths.insert(path, origin);
        Ok(())
    }

    /// Records that another file replaces `before`, and removes everything below it.
    fn replace(&mut self, path: &[u8], before: &Origin) {
        let mut bytes = self.hide(before);
        let below: Vec<Vec<u8>> = self.below(path).map(|(path, _)| path.clone()).collect();
        for path in below {
            if let Some(origin) = self.paths.remove(&path) {
                bytes = self.hide(&origin).saturating_add(bytes);
            }
        }
        self.add_event(path, Effect::Replaces { layer: before.layer, bytes });
    }

    /// A link to itself changes nothing, whatever is there.
    fn is_link_to_itself(&self, origin: &Origin, path: &[u8]) -> Result<bool> {
        let target = clean(&origin.link);
        let (above, name) = split(&target);
        let is_itself =
            !target.is_empty() && self.directory(above).is_some_and(|dir| join(&dir, name) == path);
        if is_itself && !self.paths.contains_key(path) {
            return Err(missing_target(path));
        }
        Ok(is_itself)
    }

    /// Gives a hard link the metadata of its target.
    fn resolve_hard_link(&mut self, origin: &mut Origin) -> Result<()> {
        let target = clean(&origin.link);
        if target.is_empty() {
            let shown = origin.link.escape_ascii();
            return Err(fail!(Kind::Spec, "link to \"{shown}\": the root cannot be linked to"));
        }
        let (above, name) = split(&target);
        let above = self.directory(above).ok_or_else(|| missing_target(&target))?;
        let target = join(&above, name);
        let existing = self.paths.get(&target).cloned().ok_or_else(|| missing_target(&target))?;
        if existing.kind == EntryKind::Directory {
            let target = target.escape_ascii();
            return Err(fail!(Kind::Spec, "link to \"{target}\": a directory cannot be linked to"));
        }
        let layer = origin.layer;
        let link = if existing.kind == EntryKind::Symlink { existing.link.clone() } else { target };
        // An entry of a few bytes has all that the file has.
        self.hold(link.len() + existing.capability.as_ref().map_or(0, Vec::len))?;
        *origin = Origin { layer, link, is_hard_link: existing.kind != EntryKind::Symlink, ..existing };
        Ok(())
    }

    /// The directory that a path leads to; missing ones are made, and other files on the way replaced. `links`
    /// symlinks that lead nowhere were followed to it.
    fn make_dirs(&mut self, path: &[u8], links: u32) -> Result<Vec<u8>> {
        let mut end = path.len();
        while end > 0 && !is_directory(&path[..end], &self.paths) {
            end = split(&path[..end]).0.len();
        }
        let mut here = path[..end].to_vec();
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end = path[start..]
                .iter()
                .position(|&byte| byte == b'/')
                .map_or(path.len(), |length| start + length);
            here = self.enter_or_make(join(&here, &path[start..end]), &path[..end], links)?;
        }
        Ok(here)
    }

    /// The directory at `at`, which is in one and which `path` leads to.
    fn enter_or_make(&mut self, at: Vec<u8>, path: &[u8], links: u32) -> Result<Vec<u8>> {
        match self.paths.get(&at).map(|found| found.kind) {
            Some(EntryKind::Directory) => Ok(at),
            Some(EntryKind::Symlink) => match look(path, &self.paths)? {
                Found::Directory(found) => Ok(found),
                Found::Missing => self.make_missing(at, path, links),
                Found::OtherFile => self.make_dir(at),
            },
            _ => self.make_dir(at),
        }
    }

    /// Makes the directory that the symlink `at`, which `path` leads to, should lead to.
    fn make_missing(&mut self, at: Vec<u8>, path: &[u8], links: u32) -> Result<Vec<u8>> {
        let Some(link) = self.paths.get(&at) else { return self.make_dir(at) };
        if links == MAX_SYMLINKS {
            return Err(Errno::ELOOP.into());
        }
        let from = if link.link.starts_with(b"/") { b"" } else { split(path).0 };
        let target = clean(&[from, &link.link].join(&b'/'));
        self.make_dirs(&target, links + 1)
    }

    fn make_dir(&mut self, path: Vec<u8>) -> Result<Vec<u8>> {
        if let Some(before) = self.paths.remove(&path) {
            self.replace(&path, &before);
        }
        // One name may imply thousands of directories.
        self.hold(path.len())?;
        let implied = Origin {
            layer: self.number(),
            kind: EntryKind::Directory,
            mode: 0o755,
            is_implied: true,
            ..origin(0, &Entry::default())
        };
        self.paths.insert(path.clone(), implied);
        Ok(path)
    }

    /// The directory that a path leads to, if it leads to one.
    fn directory(&self, path: &[u8]) -> Option<Vec<u8>> {
        match look(path, &self.paths) {
            Ok(Found::Directory(found)) => Some(found),
            _ => None,
        }
    }

    /// Ends the merge, when all layers are applied.
    pub(crate) fn finish(mut self) -> Explained {
        self.remove_pseudolinks();
        Explained { layers: self.layers, paths: self.paths.into_iter().collect(), events: self.events }
    }
}

fn missing_target(target: &[u8]) -> Error {
    fail!(Kind::Spec, "link to \"{}\": there is no such file yet", target.escape_ascii())
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn capability(entry: &Entry) -> Option<&Vec<u8>> {
    entry.xattrs.iter().find(|(name, _)| name == b"security.capability").map(|(_, value)| value)
}

/// The metadata of an entry, without its size.
fn origin(layer: usize, entry: &Entry) -> Origin {
    Origin {
        layer,
        kind: entry.kind,
        mode: entry.mode,
        ids: (entry.uid, entry.gid),
        size: 0,
        link: entry.link.clone(),
        is_hard_link: entry.kind == EntryKind::HardLink,
        device: entry.device,
        capability: capability(entry).cloned(),
        is_implied: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryKind, size: u64, link: &str) -> Entry {
        Entry { kind, size, link: link.as_bytes().to_vec(), ..Entry::default() }
    }

    fn merged(layers: &[&[(&str, Entry)]]) -> Explained {
        let mut tree = MergedTree::default();
        for layer in layers {
            tree.begin_layer();
            for (path, entry) in *layer {
                tree.apply(entry, path.as_bytes()).unwrap();
            }
        }
        tree.finish()
    }

    fn paths(explained: &Explained) -> Vec<(String, usize)> {
        let shown =
            |(path, origin): &(Vec<u8>, Origin)| (String::from_utf8(path.clone()).unwrap(), origin.layer);
        explained.paths.iter().map(shown).collect()
    }

    #[test]
    fn layers_are_laid_over_each_other() {
        let file = |size| entry(EntryKind::Regular, size, "");
        let dir = || entry(EntryKind::Directory, 0, "");
        let explained = merged(&[
            &[
                ("usr/lib/a", file(1)),
                ("lib", entry(EntryKind::Symlink, 0, "usr/lib")),
                ("d", dir()),
                ("d/x", file(10)),
                ("d/y", file(20)),
                ("d.z", file(5)),
            ],
            &[
                ("lib/b", file(2)),
                ("d/new", file(3)),
                ("d/.wh..wh..opq", file(0)),
                (".wh.d.z", file(0)),
                (".wh.not", file(0)),
                ("usr/lib/c", entry(EntryKind::HardLink, 0, "lib/a")),
            ],
            &[("d", file(4))],
        ]);
        let expected = [
            ("d", 2),
            ("lib", 0),
            ("usr", 0),
            ("usr/lib", 0),
            ("usr/lib/a", 0),
            ("usr/lib/b", 1),
            ("usr/lib/c", 1),
        ];
        assert_eq!(paths(&explained), expected.map(|(path, layer)| (path.to_owned(), layer)));
        let effects: Vec<Effect> = explained.events.iter().map(|event| event.effect.clone()).collect();
        assert_eq!(
            effects,
            [
                Effect::Empties { layers: vec![0], bytes: 30 },
                Effect::Removes { layers: vec![0], bytes: 5 },
                Effect::Removes { layers: vec![], bytes: 0 },
                Effect::Replaces { layer: 0, bytes: 3 },
            ]
        );
        let hidden: Vec<u64> = explained.layers.iter().map(|layer| layer.hidden).collect();
        assert_eq!(hidden, [35, 3, 0]);
    }

    #[test]
    fn symlinks_are_counted_in_all_and_not_each_for_itself() {
        let link = |number: usize, target: &str| (format!("s{number}"), entry(EntryKind::Symlink, 0, target));
        // Each leads twice through the one before it.
        let mut links = vec![link(0, "d")];
        links.extend((1..60).map(|number| link(number, &format!("s{0}/../s{0}", number - 1))));
        let mut tree = MergedTree::default();
        tree.begin_layer();
        links.iter().for_each(|(path, entry)| tree.apply(entry, path.as_bytes()).unwrap());
        let file = entry(EntryKind::Regular, 0, "");
        tree.apply(&file, b"s4/f").unwrap();
        for path in ["s6/f", "s59/f"] {
            let error = tree.apply(&file, path.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "too many levels of symbolic links", "{path}");
        }
        tree.apply(&file, b"s59/.wh.f").unwrap();
        assert!(tree.finish().paths.iter().any(|(path, _)| path == b"d/f"));
    }

    #[test]
    fn a_directory_stays_for_what_a_layer_has_put_deep_into_it() {
        let file = || entry(EntryKind::Regular, 1, "");
        let lower: &[(&str, Entry)] =
            &[("l/a/x", file()), ("l/d/b", file()), ("l/d/e/y", file()), ("m", file())];
        for whiteout in [".wh.l", "l/.wh..wh..opq"] {
            let explained = merged(&[lower, &[("l/d/e/f", file()), (whiteout, file())]]);
            let expected = [("l", 0), ("l/d", 0), ("l/d/e", 0), ("l/d/e/f", 1), ("m", 0)];
            assert_eq!(
                paths(&explained),
                expected.map(|(path, layer)| (path.to_owned(), layer)),
                "{whiteout}"
            );
        }
    }

    #[test]
    fn directories_are_made_where_unpacking_makes_them() {
        let link = |target: &str| entry(EntryKind::Symlink, 0, target);
        let pipe = || entry(EntryKind::Fifo, 0, "");
        let file = || entry(EntryKind::Regular, 0, "");
        // A symlink to what is no directory is replaced, and what it leads to stays; the target of one that leads
        // nowhere is made.
        let found = merged(&[&[
            ("p", pipe()),
            ("s", link("p")),
            ("s/f", file()),
            ("n", link("to/x")),
            ("n/f", file()),
        ]]);
        let expected = ["n", "p", "s", "s/f", "to", "to/x", "to/x/f"];
        assert_eq!(paths(&found).into_iter().map(|(path, _)| path).collect::<Vec<_>>(), expected);
        // Nothing is behind what is not there.
        let mut tree = MergedTree::default();
        tree.begin_layer();
        tree.apply(&file(), b"t").unwrap();
        tree.apply(&link("missing/.."), b"up").unwrap();
        assert!(tree.apply(&entry(EntryKind::HardLink, 0, "up/t"), b"h").is_err());
        tree.apply(&link(&"n".repeat(300)), b"long").unwrap();
        assert!(tree.apply(&file(), b"long/f").is_err());
    }

    #[test]
    fn what_no_file_can_be_named_is_refused() {
        let long = |parts: usize| "d/".repeat(parts) + "f";
        let (fits, other) = (long(2047), long(2048));
        for (path, link, expected) in [
            (&fits[..], "", true),
            (&other, "", false),
            (&"n".repeat(255), "", true),
            (&"n".repeat(256), "", false),
            ("l", &fits, true),
            ("l", &other, false),
        ] {
            let kind = if link.is_empty() { EntryKind::Regular } else { EntryKind::Symlink };
            let mut tree = MergedTree::default();
            tree.begin_layer();
            let applied = tree.apply(&entry(kind, 0, link), path.as_bytes());
            assert_eq!(applied.is_ok(), expected, "{} {}", path.len(), link.len());
        }
    }

    #[test]
    fn a_few_entries_that_imply_or_copy_much_are_counted_as_much() {
        let deep = |first: usize| format!("{first}/{}f", "d/".repeat(2000));
        let file = entry(EntryKind::Regular, 0, "");
        let mut tree = MergedTree { held: MAX_HELD - (20 << 20), ..MergedTree::default() };
        tree.begin_layer();
        let applied = (0..20).try_for_each(|first| tree.apply(&file, deep(first).as_bytes()));
        assert!(applied.unwrap_err().to_string().contains("bytes of memory"));
        let mut tree = MergedTree { held: MAX_HELD - (20 << 20), ..MergedTree::default() };
        tree.begin_layer();
        tree.apply(&entry(EntryKind::Symlink, 0, &"t".repeat(4000)), b"s").unwrap();
        let link = entry(EntryKind::HardLink, 0, "s");
        let applied = (0..20_000).try_for_each(|number| tree.apply(&link, format!("h{number}").as_bytes()));
        assert!(applied.unwrap_err().to_string().contains("bytes of memory"));
    }

    #[test]
    fn the_memory_that_paths_take_is_limited() {
        let mut tree = MergedTree { held: MAX_HELD - 3 * HELD_BESIDE, ..MergedTree::default() };
        tree.begin_layer();
        let entry = Entry::default();
        tree.apply(&entry, b"a").unwrap();
        tree.apply(&entry, b"b").unwrap();
        assert!(tree.apply(&entry, b"c").unwrap_err().to_string().contains("bytes of memory"));
    }
}
