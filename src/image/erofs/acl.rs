//! Access lists in extended attributes (acl(5)): which of them the kernel takes as they are, and the mode that
//! a file with one has.

use super::not_plain::NotPlain;

/// The version of the attribute's form.
const VERSION: [u8; 4] = [2, 0, 0, 0];

/// What becomes of an access list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It says no more than these permission bits, and is not kept.
    Mode(u32),
    /// It is kept, and the file has these permission bits.
    List(u32),
}

/// Checks that a list has its entries in the kernel's order, each with its rights: the owner's, those of
/// users, the group's, those of groups, the mask if there are any such users or groups, and the others'.
pub(super) fn check(value: &[u8]) -> Result<Access, NotPlain> {
    let unusual = NotPlain("it has an unusual access list");
    let entries = value.strip_prefix(&VERSION).filter(|rest| rest.len().is_multiple_of(8)).ok_or(unusual)?;
    let (mut bits, mut last, mut is_extended) = ([None; 6], 0, false);
    for entry in entries.chunks_exact(8) {
        let &[tag, 0, rights @ 0..=7, 0, a, b, c, d] = entry else { return Err(unusual) };
        let place = match tag {
            0x01 => 1,
            0x02 => 2,
            0x04 => 3,
            0x08 => 4,
            0x10 => 5,
            0x20 => 6,
            _ => return Err(unusual),
        };
        let is_named = matches!(tag, 0x02 | 0x08);
        if place < last || place == last && !is_named || is_named && [a, b, c, d] == [0xff; 4] {
            return Err(unusual);
        }
        is_extended |= is_named || tag == 0x10;
        last = place;
        bits[place - 1] = Some(u32::from(rights));
    }
    let [Some(owner), users, Some(group), groups, mask, Some(others)] = bits else { return Err(unusual) };
    if (users.is_some() || groups.is_some()) && mask.is_none() {
        return Err(unusual);
    }
    let mode = owner << 6 | mask.unwrap_or(group) << 3 | others;
    Ok(if is_extended { Access::List(mode) } else { Access::Mode(mode) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u8, u8, u32)]) -> Vec<u8> {
        let mut out = VERSION.to_vec();
        for &(tag, rights, id) in entries {
            out.extend([tag, 0, rights, 0]);
            out.extend(id.to_le_bytes());
        }
        out
    }

    const NONE: u32 = u32::MAX;

    #[test]
    fn the_mode_follows_from_the_list() {
        let short = list(&[(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)]);
        assert_eq!(check(&short), Ok(Access::Mode(0o640)));
        let long = list(&[
            (1, 7, NONE),
            (2, 5, 1000),
            (4, 1, NONE),
            (8, 7, 4),
            (8, 4, 5),
            (0x10, 4, NONE),
            (0x20, 0, NONE),
        ]);
        assert_eq!(check(&long), Ok(Access::List(0o740)));
    }

    #[test]
    fn lists_that_the_kernel_refuses_or_changes_are_left_to_it() {
        for bad in [
            list(&[]),
            list(&[(1, 6, NONE), (4, 4, NONE)]),
            list(&[(4, 4, NONE), (1, 6, NONE), (0x20, 0, NONE)]),
            list(&[(1, 6, NONE), (2, 6, 5), (4, 4, NONE), (0x20, 0, NONE)]),
            list(&[(1, 6, NONE), (1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)]),
            list(&[(1, 8, NONE), (4, 4, NONE), (0x20, 0, NONE)]),
            list(&[(1, 6, NONE), (2, 6, NONE), (4, 4, NONE), (0x10, 7, NONE), (0x20, 0, NONE)]),
            b"\x01\0\0\0".to_vec(),
            b"\x02\0\0\0\x01".to_vec(),
            Vec::new(),
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
