//! The forms of the names in a store. A file with another name is not ours, and stays.

/// The name of a layer: `sha256-HEX`, or `chain-sha256-HEX`.
pub(super) fn is_layer(name: &str) -> bool {
    let name = name.strip_prefix("chain-").unwrap_or(name);
    let Some((algorithm, hex)) = name.split_once('-') else { return false };
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    is_hex(hex, digits)
}

/// The name of a session: `PID-NANOSECONDS`.
pub(super) fn is_session(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('-').is_some_and(|(pid, time)| is_number(pid) && is_number(time))
}

/// The name of a record: a SHA-256.
pub(super) fn is_record(name: &str) -> bool {
    is_hex(name, 64)
}

/// The name of a record that is being written.
pub(super) fn is_partial_record(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(record, end)| is_record(record) && (end == "partial" || end.starts_with("tare-")))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_known() {
        let (hex, long) = ("0a".repeat(32), "f".repeat(128));
        for name in [format!("sha256-{hex}"), format!("chain-sha256-{hex}"), format!("sha512-{long}")] {
            assert!(is_layer(&name), "{name}");
        }
        for name in ["", "x", "sha256-", "sha256-..", &format!("sha256-{long}"), &format!("md5-{hex}"), &hex]
        {
            assert!(!is_layer(name), "{name}");
        }
        assert!(!is_layer(&format!("sha256-{}", hex.to_uppercase())));
        assert!(is_session("12-345"));
        assert!(!["", "-", "1-", "-1", "12", "a-1", "1-2-3", "session"].into_iter().any(is_session));
        assert!(is_record(&hex) && !is_record("notes") && !is_record(&format!("{hex}.partial")));
        assert!(
            is_partial_record(&format!("{hex}.partial")) && is_partial_record(&format!("{hex}.tare-1-0"))
        );
        assert!(!is_partial_record(&hex) && !is_partial_record("notes.partial"));
    }
}
