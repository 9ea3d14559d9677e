//! Makes text safe to print. It may come from a container, a bundle, an image or a registry, and must not
//! control the terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns `text` with JSON escapes for control characters, and for those that turn the direction of writing,
/// which make a name look like another one. So text stays readable, and JSON keeps its meaning. Newlines and
/// tabs stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_control(c) && !matches!(c, '\n' | '\t'))
}

/// Makes one line, or one cell of a table, printable: a name must not look like several.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, is_control)
}

/// Makes a message printable: its further lines are indented, so that none looks like another message.
pub(crate) fn message(text: &str) -> Cow<'_, str> {
    match printable(text) {
        text if text.contains('\n') => text.replace('\n', "\n  ").into(),
        text => text,
    }
}

/// A text of bounded length: of a longer one the beginning and the end, with how much is left out. Names in images and
/// answers of servers may have megabytes, in which a person does not find what is said.
pub(crate) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    let (mut begin, mut end) = (most / 2, text.len() - most / 4);
    while !text.is_char_boundary(begin) {
        begin -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    format!("{} [… {} bytes …] {}", &text[..begin], end - begin, &text[end..]).into()
}

/// Returns `1 layer` or `2 layers`. `one` is the word for one thing, whose plural has an s.
pub(crate) fn counted(count: impl TryInto<u64>, one: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a String cannot fail. All these characters are below 0x10000.
        match is_escaped(c) {
            true => drop(write!(escaped, "\\u{:04x}", u32::from(c))),
            false => escaped.push(c),
        }
    }
    escaped.into()
}

/// Whether a character is a control character, a separator of lines or paragraphs, or a bidirectional one
/// (Unicode, UAX #9).
pub(crate) fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(printable("plain größer\n\tb"), "plain größer\n\tb");
        assert_eq!(printable("\u{1b}[2J\r\u{9b}H\u{7f}"), "\\u001b[2J\\u000d\\u009bH\\u007f");
        assert_eq!(printable("a\u{202e}b\u{2066}\u{2028}"), "a\\u202eb\\u2066\\u2028");
        assert_eq!(one_line("a\nb\tc"), "a\\u000ab\\u0009c");
        assert_eq!(message("a\nerror: b"), "a\n  error: b");
    }

    #[test]
    fn of_a_long_text_both_ends_are_shown() {
        assert_eq!(shortened("short", 5), "short");
        let text = format!("begin{}end", "é".repeat(1000));
        let short = shortened(&text, 100);
        assert!(short.starts_with("beginé") && short.ends_with("éend") && short.len() < 130, "{short}");
        assert!(short.contains(" [… 19"), "{short}");
    }

    #[test]
    fn json_stays_what_it_was() {
        let value = serde_json::json!({ "a": "\u{9b}\u{7f}\u{1b}\u{202e}ü" });
        let text = value.to_string();
        assert_ne!(printable(&text), text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printable(&text)).unwrap(), value);
    }
}
