//! Finds the name of a user id in /etc/passwd itself, because a static binary has no name service.

/// Returns the name of `uid`, otherwise `#uid`.
pub(crate) fn name(passwd: &str, uid: u32) -> String {
    let fields = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse::<u32>().ok()?))
    };
    let found = passwd.lines().filter_map(fields).find(|(_, id)| *id == uid);
    found.map_or_else(|| format!("#{uid}"), |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_the_id_wins_and_an_unknown_id_is_shown_as_a_number() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\n# note\nbroken\ntoor:x:0:0::/:\nme:x:1000:100::/:/bin/sh\n";
        for (uid, expected) in [(0, "root"), (1000, "me"), (100, "#100")] {
            assert_eq!(name(passwd, uid), expected);
        }
        assert_eq!(name("", 5), "#5");
    }
}
