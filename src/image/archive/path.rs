//! Paths of tar entries. A clean path is relative to the root of the tree and has no empty component, `.` or
//! `..`.

use nix::errno::Errno;

use crate::error::Result;

/// Returns the clean form of a path; `..` never climbs above the root.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// The longest name that a file can have.
pub(crate) const NAME_MAX: usize = 255;

/// Refuses a path that the kernel would not look up.
pub(crate) fn check_length(path: &[u8]) -> Result<()> {
    let is_short = path.len() < libc::PATH_MAX as usize;
    match is_short && path.split(|&byte| byte == b'/').all(|part| part.len() <= NAME_MAX) {
        true => Ok(()),
        false => Err(Errno::ENAMETOOLONG.into()),
    }
}

/// The ends of the prefixes of a clean path that are paths themselves, the shortest first.
pub(crate) fn ends(path: &[u8]) -> impl Iterator<Item = usize> {
    let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
    slashes.chain([path.len()])
}

/// The end of the first prefix of a clean path that is not there; None if the path itself is. What is behind one
/// that is not there is not there either: a path of a thousand directories takes ten looks, as each of them costs
/// as much as the path is long.
pub(crate) fn first_missing<E>(
    path: &[u8],
    mut is_there: impl FnMut(&[u8]) -> Result<bool, E>,
) -> Result<Option<usize>, E> {
    let ends: Vec<usize> = ends(path).collect();
    let (mut there, mut missing) = (0, ends.len());
    while there < missing {
        let middle = there.midpoint(missing);
        match is_there(&path[..ends[middle]])? {
            true => there = middle + 1,
            false => missing = middle,
        }
    }
    Ok(ends.get(there).copied())
}

/// Splits a clean path into its directory and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Whether the clean path `path` is `above` itself or below it.
pub(crate) fn is_within(path: &[u8], above: &[u8]) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_within_the_root() {
        for (from, to) in [
            ("", ""),
            ("/", ""),
            (".", ""),
            ("./", ""),
            ("./a/", "a"),
            ("/a//b", "a/b"),
            ("../../etc", "etc"),
            ("a/../../b", "b"),
            ("a/./b/..", "a"),
            ("a/...", "a/..."),
        ] {
            assert_eq!(clean(from.as_bytes()), to.as_bytes(), "{from}");
        }
    }
    #[test]
    fn a_long_path_takes_few_looks() {
        let path = vec![&b"d"[..]; 1000].join(&b'/');
        for there in [0, 1, 500, 999, 1000] {
            let mut looks = 0;
            let mut is_there = |prefix: &[u8]| {
                looks += 1;
                Ok::<_, ()>(prefix.split(|&byte| byte == b'/').count() <= there)
            };
            let expected = (there < 1000).then_some(2 * there + 1);
            assert_eq!(first_missing(&path, &mut is_there), Ok(expected), "{there}");
            assert!(looks <= 11, "{there}: {looks}");
        }
        assert_eq!(first_missing(b"", |_| Ok::<_, ()>(true)), Ok(None));
    }

    #[test]
    fn what_is_within_is_told_by_components() {
        for (path, above, expected) in
            [("a/b", "a", true), ("a", "a", true), ("ab", "a", false), ("a", "", true), ("a", "a/b", false)]
        {
            assert_eq!(is_within(path.as_bytes(), above.as_bytes()), expected, "{path} {above}");
        }
    }
}
