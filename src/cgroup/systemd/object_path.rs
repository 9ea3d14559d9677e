//! Names on the bus.

/// Returns a unit's object path: every byte that is no letter or digit becomes `_xx`, and so does a digit in
/// front.
pub(super) fn unit_object(name: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_unit_has_an_object_path() {
        assert_eq!(super::unit_object("1a-b.scope"), "/org/freedesktop/systemd1/unit/_31a_2db_2escope");
    }
}
