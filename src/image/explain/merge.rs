//! Applying layers in memory: the rules of `entry` and `tree`, for paths only.

use std::collections::BTreeMap;

use super::{Event, Explained, Layer, Origin, What};
use crate::error::{Kind, Result};
use crate::fail;
use crate::image::archive::path::{clean, split};
use crate::image::archive::{Entry, Type};
use crate::image::unpack::whiteout::{Mark, mark};

/// As many symlinks as the kernel follows in one path.
const LINKS: u32 = 40;

#[derive(Debug, Default)]
pub struct Merging {
    paths: BTreeMap<Vec<u8>, Origin>,
    events: Vec<Event>,
    layers: Vec<Layer>,
}

impl Merging {
    /// From here on entries are the next layer's.
    pub fn begin(&mut self) {
        self.layers.push(Layer::default());
    }

    fn number(&self) -> usize {
        self.layers.len().saturating_sub(1)
    }

    pub fn entry(&mut self, entry: &Entry, path: &[u8]) -> Result<()> {
        let number = self.number();
        let size = if entry.kind == Type::Regular { entry.size } else { 0 };
        self.layers[number].entries += 1;
        self.layers[number].bytes += size;
        match mark(path)? {
            Mark::None => self.put(entry, path, size),
            Mark::Reserved | Mark::Pseudolink => {
                self.event(path, What::Skipped);
                Ok(())
            }
            Mark::Opaque { dir } => {
                let dir = self.resolve(dir, LINKS)?;
                let (layers, bytes) = self.take(&dir, false);
                self.event(&dir, What::Empties { layers, bytes });
                Ok(())
            }
            Mark::Whiteout { dir, name } => {
                let path = joined(&self.resolve(dir, LINKS)?, name);
                let (layers, bytes) = self.take(&path, true);
                self.event(&path, What::Removes { layers, bytes });
                Ok(())
            }
        }
    }

    fn event(&mut self, path: &[u8], what: What) {
        self.events.push(Event { layer: self.number(), path: path.to_vec(), what });
    }

    /// Takes away what lower layers have below `path`, and at it. Returns whose it was, and how many bytes.
    fn take(&mut self, path: &[u8], itself: bool) -> (Vec<usize>, u64) {
        let number = self.number();
        let mut gone: Vec<Vec<u8>> = self
            .below(path)
            .filter(|(_, origin)| origin.layer < number)
            .map(|(path, _)| path.clone())
            .collect();
        if itself && self.paths.get(path).is_some_and(|origin| origin.layer < number) {
            gone.push(path.to_vec());
        }
        let (mut layers, mut bytes) = (Vec::new(), 0);
        for path in gone {
            // A directory that this layer has put something into stays.
            if self.below(&path).next().is_some_and(|(_, inside)| inside.layer == number) {
                continue;
            }
            let Some(origin) = self.paths.remove(&path) else { continue };
            layers.push(origin.layer);
            bytes += self.hide(&origin);
        }
        layers.sort_unstable();
        layers.dedup();
        (layers, bytes)
    }

    fn hide(&mut self, origin: &Origin) -> u64 {
        let bytes = if origin.is_hard_link { 0 } else { origin.size };
        self.layers[origin.layer].hidden += bytes;
        bytes
    }

    fn below(&self, path: &[u8]) -> impl Iterator<Item = (&Vec<u8>, &Origin)> {
        // What starts with `PATH/` stands together, and `0` comes after `/`.
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

    fn put(&mut self, entry: &Entry, path: &[u8], size: u64) -> Result<()> {
        let (above, name) = split(path);
        let path = if path.is_empty() { Vec::new() } else { joined(&self.dir(above)?, name) };
        let mut origin = Origin { size, ..origin(self.number(), entry) };
        if origin.is_hard_link {
            self.linked(&mut origin)?;
        }
        if let Some(before) = self.paths.remove(&path) {
            let is_merged = before.kind == Type::Directory && origin.kind == Type::Directory;
            if !is_merged {
                self.replaced(&path, &before);
            }
        }
        self.paths.insert(path, origin);
        Ok(())
    }

    /// Something else takes a path's place: what was in it goes too.
    fn replaced(&mut self, path: &[u8], before: &Origin) {
        let mut bytes = self.hide(before);
        let below: Vec<Vec<u8>> = self.below(path).map(|(path, _)| path.clone()).collect();
        for path in below {
            if let Some(origin) = self.paths.remove(&path) {
                bytes += self.hide(&origin);
            }
        }
        self.event(path, What::Replaces { layer: before.layer, bytes });
    }

    /// A hard link is what its target is.
    fn linked(&self, origin: &mut Origin) -> Result<()> {
        let target = clean(&origin.link);
        let (above, name) = split(&target);
        let target = joined(&self.resolve(above, LINKS)?, name);
        let missing =
            || fail!(Kind::Spec, "link to \"{}\": there is no such file yet", target.escape_ascii());
        let known = self.paths.get(&target).ok_or_else(missing)?;
        let layer = origin.layer;
        let link = if known.kind == Type::Symlink { known.link.clone() } else { target };
        *origin = Origin { layer, link, is_hard_link: known.kind != Type::Symlink, ..known.clone() };
        Ok(())
    }

    /// The directory that a path leads to, made where it is missing.
    fn dir(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let mut so_far = Vec::new();
        for part in self.resolve(path, LINKS)?.split(|&byte| byte == b'/') {
            so_far = joined(&so_far, part);
            let before = match self.paths.get(&so_far) {
                Some(origin) if origin.kind == Type::Directory => continue,
                before => before.cloned(),
            };
            let implied = Origin {
                layer: self.number(),
                kind: Type::Directory,
                mode: 0o755,
                is_implied: true,
                ..origin(0, &Entry::default())
            };
            if let Some(before) = before {
                self.paths.remove(&so_far);
                self.replaced(&so_far, &before);
            }
            if !so_far.is_empty() {
                self.paths.insert(so_far.clone(), implied);
            }
        }
        Ok(so_far)
    }

    /// A path with its symlinks followed inside the root.
    fn resolve(&self, path: &[u8], links: u32) -> Result<Vec<u8>> {
        let mut so_far = Vec::new();
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            let next = joined(&so_far, part);
            so_far = match self.paths.get(&next) {
                Some(origin) if origin.kind == Type::Symlink => {
                    let links = links
                        .checked_sub(1)
                        .ok_or_else(|| fail!(Kind::Spec, "too many levels of symbolic links"))?;
                    let from: &[u8] = if origin.link.starts_with(b"/") { b"" } else { &so_far };
                    self.resolve(&clean(&[from, &origin.link].join(&b'/')), links)?
                }
                _ => next,
            };
        }
        Ok(so_far)
    }

    pub fn finish(self) -> Explained {
        Explained { layers: self.layers, paths: self.paths.into_iter().collect(), events: self.events }
    }
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn origin(layer: usize, entry: &Entry) -> Origin {
    let capability = entry.xattrs.iter().find(|(name, _)| name == b"security.capability");
    Origin {
        layer,
        kind: entry.kind,
        mode: entry.mode,
        ids: (entry.uid, entry.gid),
        size: 0,
        link: entry.link.clone(),
        is_hard_link: entry.kind == Type::HardLink,
        device: entry.device,
        capability: capability.map(|(_, value)| value.clone()),
        is_implied: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Type, size: u64, link: &str) -> Entry {
        Entry { kind, size, link: link.as_bytes().to_vec(), ..Entry::default() }
    }

    fn merged(layers: &[&[(&str, Entry)]]) -> Explained {
        let mut merging = Merging::default();
        for layer in layers {
            merging.begin();
            for (path, entry) in *layer {
                merging.entry(entry, path.as_bytes()).unwrap();
            }
        }
        merging.finish()
    }

    fn paths(explained: &Explained) -> Vec<(String, usize)> {
        let shown =
            |(path, origin): &(Vec<u8>, Origin)| (String::from_utf8(path.clone()).unwrap(), origin.layer);
        explained.paths.iter().map(shown).collect()
    }

    #[test]
    fn layers_are_laid_over_each_other() {
        let file = |size| entry(Type::Regular, size, "");
        let dir = || entry(Type::Directory, 0, "");
        let explained = merged(&[
            &[
                ("usr/lib/a", file(1)),
                ("lib", entry(Type::Symlink, 0, "usr/lib")),
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
                ("usr/lib/c", entry(Type::HardLink, 0, "lib/a")),
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
        let what: Vec<What> = explained.events.iter().map(|event| event.what.clone()).collect();
        assert_eq!(
            what,
            [
                What::Empties { layers: vec![0], bytes: 30 },
                What::Removes { layers: vec![0], bytes: 5 },
                What::Removes { layers: vec![], bytes: 0 },
                What::Replaces { layer: 0, bytes: 3 },
            ]
        );
        let hidden: Vec<u64> = explained.layers.iter().map(|layer| layer.hidden).collect();
        assert_eq!(hidden, [35, 3, 0]);
    }
}
