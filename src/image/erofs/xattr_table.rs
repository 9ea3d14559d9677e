//! Extended attributes as an index has them: those that several files have in the shared area, the others
//! behind the inode.

use std::collections::HashMap;

use super::xattr_sets::{SetId, Xattr, XattrSets};

/// The header of an inode's attributes.
const HEADER: usize = 12;
/// How many shared attributes an inode may name.
const MAX_SHARED: usize = 255;

/// The bytes of all sets.
#[derive(Debug)]
pub(super) struct XattrTable {
    /// What stands behind the inodes with each set.
    inline: Vec<Vec<u8>>,
    shared: Vec<u8>,
}

impl XattrTable {
    /// Encodes the sets; `used` has the set of each file.
    pub(super) fn new(sets: &XattrSets, used: impl Iterator<Item = SetId>) -> Self {
        let mut files = vec![0_u32; sets.len()];
        used.for_each(|set| {
            if let Some(count) = files.get_mut(set as usize) {
                *count += 1;
            }
        });
        let mut counts: HashMap<&Xattr, u32> = HashMap::new();
        for (set, &count) in (0..).zip(&files) {
            sets.get(set).iter().for_each(|xattr| *counts.entry(xattr).or_default() += count);
        }
        let mut table = Self { inline: Vec::new(), shared: Vec::new() };
        let mut places = HashMap::new();
        for (set, &count) in (0..).zip(&files) {
            let set = if count == 0 { &[] } else { sets.get(set) };
            let inline = table.encode(set, &counts, &mut places);
            table.inline.push(inline);
        }
        table
    }

    /// Encodes one set, and puts what is shared and not there yet into the shared area.
    fn encode<'a>(
        &mut self,
        set: &'a [Xattr],
        counts: &HashMap<&Xattr, u32>,
        places: &mut HashMap<&'a Xattr, u32>,
    ) -> Vec<u8> {
        if set.is_empty() {
            return Vec::new();
        }
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        for xattr in set {
            if counts.get(xattr).is_some_and(|&count| count > 1) && shared.len() < MAX_SHARED {
                let place = places.entry(xattr).or_insert_with(|| {
                    let place = (self.shared.len() / 4) as u32;
                    push_padded(&mut self.shared, xattr);
                    place
                });
                shared.push(*place);
            } else {
                push_padded(&mut own, xattr);
            }
        }
        let mut out = vec![0; HEADER];
        out[4] = shared.len() as u8;
        out.extend(shared.into_iter().flat_map(u32::to_le_bytes));
        out.extend(own);
        out
    }

    pub(super) fn inline(&self, set: SetId) -> &[u8] {
        self.inline.get(set as usize).map_or(&[], |bytes| bytes)
    }

    pub(super) fn inline_size(&self, set: SetId) -> usize {
        self.inline(set).len()
    }

    pub(super) fn shared(&self) -> &[u8] {
        &self.shared
    }
}

fn push_padded(out: &mut Vec<u8>, xattr: &Xattr) {
    out.extend(xattr.bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_files_have_is_written_once() {
        let mut sets = XattrSets::default();
        let xattr = |name: &[u8]| Xattr::new(name, b"value").unwrap();
        let (both, _) = sets.add(vec![xattr(b"user.a"), xattr(b"user.b")]);
        let (one, _) = sets.add(vec![xattr(b"user.a")]);
        let table = XattrTable::new(&sets, [0, both, one].into_iter());
        assert_eq!(table.shared(), b"\x01\x01\x05\0avalue\0\0");
        assert_eq!(table.inline(0), b"");
        assert_eq!(table.inline(one), b"\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(table.inline_size(both), 12 + 4 + 12);
    }
}
