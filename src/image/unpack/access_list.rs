//! The ids in POSIX access lists, as their extended attributes have them (acl(5)): a version, then entries of
//! a tag, the rights and an id.

use crate::error::Result;

const HEADER: usize = 4;
const ENTRY: usize = 8;
/// The tags of entries for one user and for one group; the others have no id.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// Whether an extended attribute is an access list.
pub(super) fn is_access_list(name: &[u8]) -> bool {
    matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// Replaces each user id by `user` of it, and each group id by `group` of it.
pub(super) fn change_ids(
    list: &mut [u8],
    user: impl Fn(u32) -> Result<u32>,
    group: impl Fn(u32) -> Result<u32>,
) -> Result<()> {
    let Some(entries) = list.get_mut(HEADER..) else { return Ok(()) };
    for entry in entries.chunks_exact_mut(ENTRY) {
        let &mut [a, b, _, _, ref mut id @ ..] = entry else { continue };
        let Ok(bytes) = <[u8; 4]>::try_from(&*id) else { continue };
        let before = u32::from_le_bytes(bytes);
        let now = match u16::from_le_bytes([a, b]) {
            USER => user(before)?,
            GROUP => group(before)?,
            _ => continue,
        };
        id.copy_from_slice(&now.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_named_users_and_groups_change_and_no_others() {
        let entry =
            |tag: u16, id: u32| [&tag.to_le_bytes()[..], &7_u16.to_le_bytes(), &id.to_le_bytes()].concat();
        let list = |user, group| {
            let entries = [entry(1, u32::MAX), entry(USER, user), entry(GROUP, group), entry(16, u32::MAX)];
            [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
        };
        let mut changed = list(5, 6);
        change_ids(&mut changed, |id| Ok(id + 100), |id| Ok(id + 1000)).unwrap();
        assert_eq!(changed, list(105, 1006));
        for short in [&b""[..], b"\x02\0", b"\x02\0\0\0\x02\0\x07"] {
            change_ids(&mut short.to_vec(), Ok, Ok).unwrap();
        }
    }
}
