//! Entries as they can be made where not everything can be: owners that are mapped, or kept in an attribute; devices
//! that become empty files.

use std::cell::Cell;

use crate::error::{Kind, Result};
use crate::image::archive::{Entry, Type};
use crate::image::userns::mapping::Mapping;
use crate::image::userns::namespace::{self, Ids, Place};
use crate::{fail, log};

/// Where the true owner is kept if there is one id only: as umoci and PRoot do.
pub const OWNER: &[u8] = b"user.rootlesscontainers";
const CAPABILITY: &[u8] = b"security.capability";

/// What becomes of entries; the default leaves them as they are.
#[derive(Debug, Default, Clone)]
pub struct Adapt {
    /// No devices, no attributes of `trusted.`.
    pub is_confined: bool,
    /// No owner but root: the true one is kept in an attribute.
    pub is_single: bool,
    /// Owners are these ids of the host.
    pub mapping: Option<Mapping>,
    /// The ids that there are at all; the kernel maps them.
    pub known: Option<Mapping>,
    /// What was told once.
    told: Cell<(bool, bool)>,
}

impl Adapt {
    /// As the place of this process asks for, with the mapping that a person asked for.
    pub fn of(place: Place, mapping: Option<Mapping>) -> Self {
        let is_single = place == Place::Own(Ids::Single);
        let known = (place.is_confined() && !is_single).then(|| namespace::mapping().ok()).flatten();
        Self { is_confined: place.is_confined(), is_single, mapping, known, told: Cell::default() }
    }

    /// The ids that root has in the tree.
    pub fn root(&self) -> (u32, u32) {
        let of = |mapping: &Mapping| mapping.host(0, 0).unwrap_or_default();
        self.mapping.as_ref().map_or((0, 0), of)
    }

    /// Changes an entry that is about to be applied.
    pub fn entry(&self, entry: &mut Entry) -> Result<()> {
        if self.is_confined {
            self.confined(entry);
        }
        if let Some(known) = &self.known {
            known.host(entry.uid, entry.gid).map_err(|error| {
                error.with_hint("root gives more in /etc/subuid and /etc/subgid; or say --rootless=single")
            })?;
        }
        if let Some(mapping) = &self.mapping {
            (entry.uid, entry.gid) = mapping.host(entry.uid, entry.gid)?;
            let root = self.root().0;
            for (name, value) in &mut entry.xattrs {
                if name == CAPABILITY {
                    rooted(value, root);
                }
            }
        }
        Ok(())
    }

    fn confined(&self, entry: &mut Entry) {
        let (devices, attributes) = self.told.get();
        if matches!(entry.kind, Type::CharDevice | Type::BlockDevice) {
            // What the image has there cannot be made; a file says so to who looks, and the runtime makes its own /dev.
            (entry.kind, entry.mode, entry.size) = (Type::Regular, 0, 0);
            if !devices {
                let name = entry.name.escape_ascii();
                log::warn(format_args!("{name}: devices become empty files, for want of privileges"));
                self.told.set((true, attributes));
            }
        }
        if entry.xattrs.iter().any(|(name, _)| name.starts_with(b"trusted.")) {
            entry.xattrs.retain(|(name, _)| !name.starts_with(b"trusted."));
            if !attributes {
                let name = entry.name.escape_ascii();
                log::warn(format_args!("{name}: attributes trusted.* are left out, for want of privileges"));
                self.told.set((self.told.get().0, true));
            }
        }
        if self.is_single && entry.kind != Type::HardLink {
            entry.xattrs.retain(|(name, _)| name != OWNER);
            if (entry.uid, entry.gid) != (0, 0) {
                entry.xattrs.push((OWNER.to_vec(), owner(entry.uid, entry.gid)));
                (entry.uid, entry.gid) = (0, 0);
            }
        }
    }
}

/// The owner as the attribute has it: a message of Protocol Buffers, field 1 the user, field 2 the group.
pub fn owner(uid: u32, gid: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, id) in [(0x08, uid), (0x10, gid)] {
        bytes.push(tag);
        let mut rest = id;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

/// Reads what `owner` writes; None for what is damaged. A field that is not there is 0.
pub fn read_owner(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut ids = (0, 0);
    let mut bytes = bytes.iter();
    while let Some(tag) = bytes.next() {
        let mut id: u64 = 0;
        for shift in (0..35).step_by(7) {
            let byte = *bytes.next()?;
            id |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let id = u32::try_from(id).ok()?;
        match tag {
            0x08 => ids.0 = id,
            0x10 => ids.1 = id,
            _ => return None,
        }
    }
    Some(ids)
}

/// A file capability of version 2 counts in the namespaces of the host's root alone; one of version 3 names the root
/// that it counts for. KERNEL(4.14).
fn rooted(value: &mut Vec<u8>, root: u32) {
    const VERSION: usize = 3;
    if value.len() == 20 && value[VERSION] == 2 {
        value[VERSION] = 3;
        value.extend(root.to_le_bytes());
    }
}

/// The same back again, for an image.
pub fn unrooted(value: &mut Vec<u8>, root: u32) {
    const VERSION: usize = 3;
    if value.len() == 24 && value[VERSION] == 3 && value[20..] == root.to_le_bytes() {
        value[VERSION] = 2;
        value.truncate(20);
    }
}

impl Mapping {
    /// The host's ids for a container's.
    pub fn host(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        let of = |ranges: &[crate::image::userns::mapping::Range], id: u32, what: &str| -> Result<u32> {
            let range = ranges.iter().find(|range| id >= range.inner && id - range.inner < range.size);
            let range = range.ok_or_else(|| {
                let last = ranges.iter().map(|range| range.inner + (range.size - 1)).max().unwrap_or(0);
                fail!(Kind::Unsupported, "the image has {what} id {id}, the mapping goes to {last}")
            })?;
            Ok(range.host + (id - range.inner))
        };
        Ok((of(&self.uids, uid, "user")?, of(&self.gids, gid, "group")?))
    }

    /// The container's ids for the host's; those that it has not stay what they are.
    pub fn inner(&self, uid: u32, gid: u32) -> (u32, u32) {
        let of = |ranges: &[crate::image::userns::mapping::Range], id: u32| {
            let range = ranges.iter().find(|range| id >= range.host && id - range.host < range.size);
            range.map_or(id, |range| range.inner + (id - range.host))
        };
        (of(&self.uids, uid), of(&self.gids, gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::userns::mapping::Range;

    #[test]
    fn an_owner_is_a_protobuf_message() {
        assert_eq!(owner(0, 1), [0x08, 0, 0x10, 1]);
        assert_eq!(owner(300, 65534), [0x08, 0xac, 0x02, 0x10, 0xfe, 0xff, 0x03]);
        for ids in [(0, 0), (127, 128), (300, 65534), (u32::MAX, 1 << 31)] {
            assert_eq!(read_owner(&owner(ids.0, ids.1)), Some(ids));
        }
        assert_eq!(read_owner(&[0x10, 5]), Some((0, 5)));
        assert_eq!(read_owner(&[0x08]), None);
        assert_eq!(read_owner(&[0x18, 1]), None);
    }

    #[test]
    fn ids_are_mapped_there_and_back() {
        let ranges =
            vec![Range { inner: 0, host: 1000, size: 1 }, Range { inner: 1, host: 100_000, size: 65536 }];
        let mapping = Mapping { uids: ranges.clone(), gids: ranges };
        assert_eq!(mapping.host(0, 5).unwrap(), (1000, 100_004));
        assert_eq!(mapping.inner(1000, 100_004), (0, 5));
        let error = mapping.host(65537, 0).unwrap_err().to_string();
        assert_eq!(error, "the image has user id 65537, the mapping goes to 65536");
    }

    #[test]
    fn a_file_capability_names_its_root() {
        let mut value = vec![1, 0, 0, 2];
        value.resize(20, 0);
        let before = value.clone();
        rooted(&mut value, 100_000);
        assert_eq!((value.len(), value[3]), (24, 3));
        unrooted(&mut value, 5);
        assert_eq!(value.len(), 24);
        unrooted(&mut value, 100_000);
        assert_eq!(value, before);
    }
}
