//! Recovers the owners that files have in the image: mapped back from the ids of the host, or read from the
//! attribute `user.rootlesscontainers`.

use nix::sys::stat::FileStat;

use crate::image::unpack::entry_adapter::unmap_attributes;
use crate::image::unpack::owner_xattr::{OWNER_XATTR, decode_owner};
use crate::image::userns::mapping::IdMapping;

/// How owners were changed when the bundle was unpacked. By default they were not changed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Owners {
    /// Every file belongs to one user, and an attribute has its owner in the image.
    pub(crate) is_single_id: bool,
    pub(crate) mapping: Option<IdMapping>,
}

impl Owners {
    /// `stat` with the owner in the image, without regard to the attribute.
    pub(crate) fn unmap(&self, stat: &FileStat) -> FileStat {
        let mut stat = *stat;
        if let Some(mapping) = &self.mapping {
            (stat.st_uid, stat.st_gid) = mapping.to_container(stat.st_uid, stat.st_gid);
        }
        stat
    }

    /// Removes the attribute `user.rootlesscontainers` from `xattrs`, and returns the owner in it. Unmaps the
    /// other attributes too.
    pub(crate) fn take_owner(&self, xattrs: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Option<(u32, u32)> {
        self.unmap_attributes(xattrs);
        let index = xattrs.iter().position(|(name, _)| self.is_single_id && name == OWNER_XATTR)?;
        decode_owner(&xattrs.remove(index).1)
    }

    /// Changes ids of the host in file capabilities and access lists to those that the image has.
    pub(crate) fn unmap_attributes(&self, xattrs: &mut [(Vec<u8>, Vec<u8>)]) {
        if let Some(mapping) = &self.mapping {
            unmap_attributes(xattrs, mapping);
        }
    }
}
