//! The owners that things in a tree have in an image: mapped back, or read from the attribute that keeps them.

use nix::sys::stat::FileStat;

use crate::image::unpack::adapt::{OWNER, read_owner, unrooted};
use crate::image::userns::mapping::Mapping;

/// How owners were changed when the bundle was unpacked; the default is not at all.
#[derive(Debug, Default, Clone)]
pub struct Owners {
    /// All is one user's, and an attribute says whose it would be.
    pub is_single: bool,
    pub mapping: Option<Mapping>,
}

impl Owners {
    /// What the image has, but for the attribute.
    pub fn stat(&self, stat: &FileStat) -> FileStat {
        let mut stat = *stat;
        if let Some(mapping) = &self.mapping {
            (stat.st_uid, stat.st_gid) = mapping.inner(stat.st_uid, stat.st_gid);
        }
        stat
    }

    /// Takes the attribute that keeps the owner away, and returns what it says.
    pub fn take(&self, xattrs: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Option<(u32, u32)> {
        self.capability(xattrs);
        let at = xattrs.iter().position(|(name, _)| self.is_single && name == OWNER)?;
        read_owner(&xattrs.remove(at).1)
    }

    /// A file capability of the mapped root is the image's root's.
    pub fn capability(&self, xattrs: &mut [(Vec<u8>, Vec<u8>)]) {
        let Some(Ok((root, _))) = self.mapping.as_ref().map(|mapping| mapping.host(0, 0)) else { return };
        for (_, value) in xattrs.iter_mut().filter(|(name, _)| name == b"security.capability") {
            unrooted(value, root);
        }
    }
}
