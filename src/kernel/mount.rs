//! Flags of mounts: MS_* of mount(2) and MOUNT_ATTR_* of mount_setattr(2).

pub(crate) use libc::{
    MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME, MS_NOATIME, MS_NODEV,
    MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_RELATIME, MS_SHARED, MS_SLAVE,
    MS_STRICTATIME, MS_UNBINDABLE,
};

/// KERNEL(5.10); missing in libc.
pub(crate) const MS_NOSYMFOLLOW: u64 = 0x100;
/// KERNEL(5.14); missing in libc for musl.
pub(crate) const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;
/// The field of access-time modes within the attributes.
pub(crate) const MOUNT_ATTR_ATIME: u64 = 0x0000_0070;

/// The changes that mount_setattr(2) makes to a mount; zeroes change nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// MOUNT_ATTR_* to set.
    pub set: u64,
    /// MOUNT_ATTR_* to clear; an access-time mode to set needs `MOUNT_ATTR_ATIME` here.
    pub clear: u64,
    /// MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE; 0 keeps it.
    pub propagation: u64,
}

impl Attributes {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
