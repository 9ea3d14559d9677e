//! The extended attributes of a layer's files. Files with the same attributes share one set of them, and what
//! several sets have is written once.

use std::collections::HashMap;
use std::sync::Arc;

/// The set that a file has; 0 is the empty one.
pub(super) type SetId = u32;

/// One attribute as the format has it: the number of its prefix, the rest of its name, and its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Xattr {
    pub(super) prefix: u8,
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// The number of the prefix `trusted.`.
pub(super) const TRUSTED: u8 = 4;

/// The prefixes that have a number in the format.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", TRUSTED),
    (b"security.", 6),
];

impl Xattr {
    /// Splits the name of an attribute; None if the format has no such name or value, or the kernel none.
    pub(super) fn new(name: &[u8], value: &[u8]) -> Option<Self> {
        let (rest, prefix) =
            PREFIXES.iter().find_map(|&(prefix, number)| Some((name.strip_prefix(prefix)?, number)))?;
        let is_whole = matches!(prefix, 2 | 3);
        let fits = name.len() <= 255 && value.len() < 1 << 16 && rest.is_empty() == is_whole;
        fits.then(|| Self { prefix, name: rest.to_vec(), value: value.to_vec() })
    }

    /// The attribute as it is written, without padding.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![self.name.len() as u8, self.prefix];
        out.extend((self.value.len() as u16).to_le_bytes());
        out.extend(&self.name);
        out.extend(&self.value);
        out
    }

    pub(super) fn len(&self) -> usize {
        4 + self.name.len() + self.value.len()
    }
}

/// All sets of a layer.
#[derive(Debug)]
pub(super) struct XattrSets {
    sets: Vec<Arc<[Xattr]>>,
    known: HashMap<Arc<[Xattr]>, SetId>,
}

impl Default for XattrSets {
    fn default() -> Self {
        let empty: Arc<[Xattr]> = Arc::from([]);
        Self { known: [(Arc::clone(&empty), 0)].into(), sets: vec![empty] }
    }
}

impl XattrSets {
    /// Adds a set, and returns how many bytes it takes if it is new.
    pub(super) fn add(&mut self, mut set: Vec<Xattr>) -> (SetId, usize) {
        set.sort();
        let set: Arc<[Xattr]> = set.into();
        if let Some(&known) = self.known.get(&set) {
            return (known, 0);
        }
        let id = self.sets.len() as SetId;
        self.sets.push(Arc::clone(&set));
        let bytes = set.iter().map(|xattr| xattr.len() + size_of::<Xattr>()).sum();
        self.known.insert(set, id);
        (id, bytes)
    }

    pub(super) fn get(&self, id: SetId) -> &[Xattr] {
        self.sets.get(id as usize).map_or(&[], |set| set)
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_prefixes_of_the_format() {
        let split = |name: &str| Xattr::new(name.as_bytes(), b"v").map(|it| (it.prefix, it.name));
        assert_eq!(split("user.a"), Some((1, b"a".to_vec())));
        assert_eq!(split("security.capability"), Some((6, b"capability".to_vec())));
        assert_eq!(split("system.posix_acl_access"), Some((2, Vec::new())));
        for none in ["user.", "system.nfs4_acl", "system.posix_acl_access2", "other", ""] {
            assert_eq!(split(none), None, "{none}");
        }
        assert!(Xattr::new(b"user.a", &[0; 65536]).is_none());
        assert!(Xattr::new(&[b"user.", &[b'a'; 251][..]].concat(), b"").is_none());
    }

    #[test]
    fn equal_sets_are_kept_once() {
        let mut sets = XattrSets::default();
        let xattr = |name: &[u8]| Xattr::new(name, b"v").unwrap();
        let (first, _) = sets.add(vec![xattr(b"user.a"), xattr(b"user.b")]);
        assert_eq!(sets.add(vec![xattr(b"user.b"), xattr(b"user.a")]), (first, 0));
        assert_eq!(sets.add(Vec::new()), (0, 0));
        assert_eq!(sets.get(first).len(), 2);
    }
}
