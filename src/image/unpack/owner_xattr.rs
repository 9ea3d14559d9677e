//! The attribute `user.rootlesscontainers`, which stores the owner that a file has in the image if the file
//! itself can belong to the unpacking user only. umoci and PRoot use the same format: a message of Protocol
//! Buffers, field 1 the user id, field 2 the group id.

pub(crate) const OWNER_XATTR: &[u8] = b"user.rootlesscontainers";

/// Encodes an owner as the attribute's value.
pub(super) fn encode_owner(uid: u32, gid: u32) -> Vec<u8> {
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

/// Decodes an owner, user and group; None if the value is damaged. A missing field is 0.
pub(crate) fn decode_owner(bytes: &[u8]) -> Option<(u32, u32)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_protobuf_message() {
        assert_eq!(encode_owner(0, 1), [0x08, 0, 0x10, 1]);
        assert_eq!(encode_owner(300, 65534), [0x08, 0xac, 0x02, 0x10, 0xfe, 0xff, 0x03]);
        for ids in [(0, 0), (127, 128), (300, 65534), (u32::MAX, 1 << 31)] {
            assert_eq!(decode_owner(&encode_owner(ids.0, ids.1)), Some(ids));
        }
        assert_eq!(decode_owner(&[0x10, 5]), Some((0, 5)));
        assert_eq!(decode_owner(&[0x08]), None);
        assert_eq!(decode_owner(&[0x18, 1]), None);
    }
}
