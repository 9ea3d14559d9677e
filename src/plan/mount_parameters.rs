//! Turns option words that belong to a filesystem into its parameters.
//!
//! Other runtimes mount with mount(2), which passes all parameters as one text and cuts it at commas. So one
//! word of a configuration may contain several parameters (`mode=0700,size=1m`), and not every comma ends
//! one.

use std::ffi::{CStr, CString};

/// A filesystem parameter: `key=value` or a bare flag.
pub(crate) type Parameter = (CString, Option<CString>);

/// The options that give an SELinux label.
pub(super) const LABELS: [&CStr; 4] = [c"context", c"fscontext", c"defcontext", c"rootcontext"];

/// Splits one word into parameters for a filesystem `kind`. Returns `None` if one contains a NUL character.
pub(super) fn parameters(word: &str, kind: &str) -> Option<Vec<Parameter>> {
    let mut parameters = Vec::with_capacity(1);
    let mut rest = Some(word);
    while let Some(text) = rest {
        let end = parameter_end(text, kind);
        if end > 0 {
            parameters.push(parameter(&text[..end])?);
        }
        rest = text.get(end + 1..);
    }
    Some(parameters)
}

/// Returns where the first parameter of `text` ends.
fn parameter_end(text: &str, kind: &str) -> usize {
    let is_label = is_label(text);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b',' if !quoted && !escaped && !comma_is_part_of_value(&text[at + 1..], kind, is_label) => {
                return at;
            }
            b'"' if is_label => quoted = !quoted,
            // A path with a comma: `lowerdir=/a\,b`. overlayfs removes the backslash.
            b'\\' if kind == "overlay" => {
                escaped = !escaped;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    text.len()
}

/// Whether the text after a comma still belongs to the value. That is so in node lists of tmpfs, by the
/// kernel's rule (`mpol=bind:0,2`), and in the categories of a label, which many people write without quotes.
fn comma_is_part_of_value(rest: &str, kind: &str, is_label: bool) -> bool {
    let is_digit = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
    kind == "tmpfs" && is_digit(rest) || is_label && rest.strip_prefix('c').is_some_and(is_digit)
}

fn is_label(text: &str) -> bool {
    let key = text.split('=').next().unwrap_or_default();
    LABELS.iter().any(|name| name.to_bytes() == key.as_bytes())
}

/// Reads `key=value` or a bare flag.
pub(super) fn parameter(word: &str) -> Option<Parameter> {
    let (key, value) = match word.split_once('=') {
        // fsconfig(2) does not know the quotes around a label.
        Some((key, value)) if is_label(word) => (key, Some(CString::new(value.replace('"', "")).ok()?)),
        Some((key, value)) => (key, Some(CString::new(value).ok()?)),
        None => (word, None),
    };
    Some((CString::new(key).ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_cut_where_the_kernel_cuts_it() {
        for (kind, word, parts) in [
            ("tmpfs", "mode=0700,size=1m", &["mode=0700", "size=1m"][..]),
            ("tmpfs", ",mode=0700,,size=1m,", &["mode=0700", "size=1m"]),
            ("tmpfs", "mpol=bind:0,2,uid=5", &["mpol=bind:0,2", "uid=5"]),
            ("tmpfs", "a\\,b", &["a\\", "b"]),
            ("devpts", "newinstance,gid=5,0", &["newinstance", "gid=5", "0"]),
            (
                "overlay",
                "lowerdir=/a:/b,upperdir=/c,workdir=/d",
                &["lowerdir=/a:/b", "upperdir=/c", "workdir=/d"],
            ),
            ("overlay", r"lowerdir=/a\,b\\,upperdir=/c\,", &[r"lowerdir=/a\,b\\", r"upperdir=/c\,"]),
            ("ext4", "context=\"u:r:t:s0:c1,c2\",discard", &["context=u:r:t:s0:c1,c2", "discard"]),
            ("ext4", "context=u:r:t:s0:c1,c2,commit=5", &["context=u:r:t:s0:c1,c2", "commit=5"]),
            ("ext4", "data=\"a,b\"", &["data=\"a", "b\""]),
            ("tmpfs", "", &[]),
        ] {
            let joined = |(key, value): Parameter| {
                let key = key.into_string().unwrap();
                value.map_or_else(|| key.clone(), |value| format!("{key}={}", value.to_str().unwrap()))
            };
            let all: Vec<String> = parameters(word, kind).unwrap().into_iter().map(joined).collect();
            assert_eq!(all, parts, "{kind} {word}");
        }
        assert_eq!(parameters("a=1,b=\0", "tmpfs"), None);
    }
}
