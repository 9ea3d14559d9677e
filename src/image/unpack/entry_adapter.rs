//! Changes the entries of a layer so that this host can make them. With a mapping, owners become ids of the
//! host. In a user namespace of an unprivileged user, devices become empty files, and owners that cannot be
//! set are kept in an attribute.

use std::cell::Cell;

use super::access_list::{change_ids, is_access_list};
use super::owner_xattr::{OWNER_XATTR, encode_owner};
use crate::error::{Kind, Result};
use crate::image::archive::{Entry, EntryKind};
use crate::image::filesystem::xattrs::is_overlay_mark;
use crate::image::userns::mapping::IdMapping;
use crate::image::userns::namespace::{self, MappedIds, Privilege};
use crate::weak::{Defence, stands};
use crate::{fail, log};

const CAPABILITY: &[u8] = b"security.capability";

/// The changes to make; by default none.
#[derive(Debug, Default, Clone)]
pub(crate) struct EntryAdapter {
    /// Devices and `trusted.*` attributes cannot be made: this is a user namespace.
    pub(crate) is_confined: bool,
    /// Root is the only mapped id: other owners are kept in `OWNER_XATTR`.
    pub(crate) is_single_id: bool,
    /// Owners become ids of the host, through this mapping.
    pub(crate) mapping: Option<IdMapping>,
    /// The mapping of this process's user namespace: an owner outside it is an error. The kernel applies it.
    pub(crate) namespace: Option<IdMapping>,
    /// Whether the warnings about devices and about attributes were given: each is given once.
    warned: Cell<(bool, bool)>,
}

impl EntryAdapter {
    /// The adapter for a process of this privilege, with the mapping of --uid-map.
    pub(crate) fn for_privilege(privilege: Privilege, mapping: Option<IdMapping>) -> Self {
        let is_single_id = privilege == Privilege::OwnNamespace(MappedIds::Single);
        let namespace =
            (privilege.is_confined() && !is_single_id).then(|| namespace::current_mapping().ok()).flatten();
        Self {
            is_confined: privilege.is_confined(),
            is_single_id,
            mapping,
            namespace,
            warned: Cell::default(),
        }
    }

    /// The user and group id that root has in the tree.
    pub(crate) fn root_ids(&self) -> (u32, u32) {
        let to_host = |mapping: &IdMapping| mapping.to_host(0, 0).unwrap_or_default();
        self.mapping.as_ref().map_or((0, 0), to_host)
    }

    /// Changes an entry before it is applied.
    ///
    /// # Errors
    ///
    /// `Kind::Unsupported` for an owner outside the mapping.
    pub(super) fn adapt(&self, entry: &mut Entry) -> Result<()> {
        refuse_overlay_marks(entry)?;
        if self.is_confined {
            self.adapt_confined(entry);
        }
        if let Some(namespace) = &self.namespace {
            namespace.to_host(entry.uid, entry.gid).map_err(|error| {
                error.with_hint("root gives more in /etc/subuid and /etc/subgid; or say --rootless=single")
            })?;
        }
        if let Some(mapping) = &self.mapping {
            (entry.uid, entry.gid) = mapping.to_host(entry.uid, entry.gid)?;
            map_attributes(&mut entry.xattrs, mapping)?;
        }
        Ok(())
    }

    /// Changes an entry that a user namespace cannot make.
    fn adapt_confined(&self, entry: &mut Entry) {
        let (devices, attributes) = self.warned.get();
        if matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            // An empty file without permissions takes the place of the device. The runtime makes the
            // container's own /dev.
            (entry.kind, entry.mode, entry.size) = (EntryKind::Regular, 0, 0);
            if !devices {
                let name = entry.name.escape_ascii();
                log::warn(format_args!("{name}: devices become empty files, for want of privileges"));
                self.warned.set((true, attributes));
            }
        }
        if entry.xattrs.iter().any(|(name, _)| name.starts_with(b"trusted.")) {
            entry.xattrs.retain(|(name, _)| !name.starts_with(b"trusted."));
            if !attributes {
                let name = entry.name.escape_ascii();
                log::warn(format_args!("{name}: attributes trusted.* are left out, for want of privileges"));
                self.warned.set((self.warned.get().0, true));
            }
        }
        if self.is_single_id && entry.kind != EntryKind::HardLink {
            entry.xattrs.retain(|(name, _)| name != OWNER_XATTR);
            if (entry.uid, entry.gid) != (0, 0) {
                entry.xattrs.push((OWNER_XATTR.to_vec(), encode_owner(entry.uid, entry.gid)));
                (entry.uid, entry.gid) = (0, 0);
            }
        }
    }
}

/// Refuses whiteouts of overlayfs and removes its attributes, which no image has: a tree with them, copied or
/// mounted as a layer, would hide or move files as soon as somebody mounts it in an overlay.
fn refuse_overlay_marks(entry: &mut Entry) -> Result<()> {
    if !stands(Defence::OverlayMarks) {
        return Ok(());
    }
    if entry.kind == EntryKind::CharDevice && entry.device == (0, 0) {
        return Err(fail!(Kind::Spec, "the device 0:0 would be a whiteout in an overlay"));
    }
    let before = entry.xattrs.len();
    entry.xattrs.retain(|(name, _)| !is_overlay_mark(name));
    if entry.xattrs.len() < before {
        let name = entry.name.escape_ascii();
        log::debug(format_args!("{name}: attributes that overlayfs has for itself are left out"));
    }
    Ok(())
}

/// Changes the ids in the extended attributes of a file to those of the host.
///
/// # Errors
///
/// `Kind::Unsupported` for an id outside the mapping.
pub(crate) fn map_attributes(attributes: &mut [(Vec<u8>, Vec<u8>)], mapping: &IdMapping) -> Result<()> {
    let (root, _) = mapping.to_host(0, 0)?;
    for (name, value) in attributes {
        if name == CAPABILITY {
            map_capability(value, root);
        } else if is_access_list(name) {
            let user = |id| Ok(mapping.to_host(id, 0)?.0);
            change_ids(value, user, |id| Ok(mapping.to_host(0, id)?.1))?;
        }
    }
    Ok(())
}

/// Changes the ids in the extended attributes of a file back to those of the image.
pub(crate) fn unmap_attributes(attributes: &mut [(Vec<u8>, Vec<u8>)], mapping: &IdMapping) {
    let root = mapping.to_host(0, 0).map(|(root, _)| root);
    for (name, value) in attributes {
        if let (CAPABILITY, Ok(root)) = (&name[..], &root) {
            unmap_capability(value, *root);
        } else if is_access_list(name) {
            let user = |id| Ok(mapping.to_container(id, 0).0);
            let _ = change_ids(value, user, |id| Ok(mapping.to_container(0, id).1));
        }
    }
}

/// Makes a file capability of version 2, which counts for the host's root only, one of version 3 that counts
/// for the user namespace whose root has the id `root` on the host (capabilities(7)). KERNEL(4.14).
fn map_capability(value: &mut Vec<u8>, root: u32) {
    const VERSION: usize = 3;
    if value.len() == 20 && value[VERSION] == 2 {
        value[VERSION] = 3;
        value.extend(root.to_le_bytes());
    }
}

/// Makes a file capability of version 3 for this root one of version 2 again, as images have it.
fn unmap_capability(value: &mut Vec<u8>, root: u32) {
    const VERSION: usize = 3;
    if value.len() == 24 && value[VERSION] == 3 && value[20..] == root.to_le_bytes() {
        value[VERSION] = 2;
        value.truncate(20);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_capability_names_its_root() {
        let mut value = vec![1, 0, 0, 2];
        value.resize(20, 0);
        let before = value.clone();
        map_capability(&mut value, 100_000);
        assert_eq!((value.len(), value[3]), (24, 3));
        unmap_capability(&mut value, 5);
        assert_eq!(value.len(), 24);
        unmap_capability(&mut value, 100_000);
        assert_eq!(value, before);
    }
}
