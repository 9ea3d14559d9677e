//! Finds the word that was probably meant.

/// Returns the word of `known` that `typed` was probably meant to be; `None` if none is similar.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Text from a document may have any length; no known word is longer.
    if typed.is_empty() || typed.len() > 64 {
        return None;
    }
    let known: Vec<&str> = known.into_iter().collect();
    let plain = |word: &str| word.to_ascii_lowercase().replace(['-', '_', '.'], "");
    // A common prefix (`RLIMIT_`) does not make two words similar, and many people leave it out.
    let prefix = common_prefix(&known);
    let bare = plain(typed.strip_prefix(prefix).unwrap_or(typed));
    let distance = |word: &str| {
        let whole =
            if prefix.is_empty() { usize::MAX } else { strsim::osa_distance(&plain(typed), &plain(word)) };
        whole.min(strsim::osa_distance(&bare, &plain(&word[prefix.len()..])))
    };
    let near = known.iter().map(|word| (distance(word), *word)).min_by_key(|(distance, _)| *distance)?;
    // In a short word one typing error is allowed, in a long one two or three.
    let allowed = match near.1.len() - prefix.len() {
        0..=2 => 0,
        3..=5 => 1,
        6..=11 => 2,
        _ => 3,
    };
    (near.0 <= allowed && near.1 != typed).then_some(near.1)
}

/// Returns the common prefix of all words, up to its last `_`.
fn common_prefix<'a>(words: &[&'a str]) -> &'a str {
    let [first, rest @ ..] = words else { return "" };
    if rest.is_empty() {
        return "";
    }
    let shared = |end: &usize| rest.iter().all(|word| word.starts_with(&first[..*end]));
    let mut ends = first.match_indices('_').map(|(at, _)| at + 1);
    ends.rfind(shared).map_or("", |end| &first[..end])
}

/// Returns ` (did you mean "network"?)`, or nothing.
pub(crate) fn hint(meant: Option<&str>) -> String {
    meant.map_or_else(String::new, |meant| format!(" (did you mean {meant:?}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["pid", "network", "mount", "user", "uts"];
        for (typed, meant) in [
            ("netwrok", Some("network")),
            ("Network", Some("network")),
            ("net-work", Some("network")),
            ("mnt", None),
            ("pdi", Some("pid")),
            ("mounts", Some("mount")),
            ("network", None),
            ("", None),
            ("x", None),
            ("time", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
        let limits = ["RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_NPROC"];
        for (typed, meant) in [
            ("RLIMIT_X", None),
            ("RLIMIT_NOFILES", Some("RLIMIT_NOFILE")),
            ("nofile", Some("RLIMIT_NOFILE")),
            ("RLMIT_NPROC", Some("RLIMIT_NPROC")),
        ] {
            assert_eq!(nearest(typed, limits), meant, "{typed}");
        }
        assert_eq!(nearest(&"n".repeat(1 << 20), known), None);
        assert_eq!(hint(Some("pid")), " (did you mean \"pid\"?)");
    }
}
