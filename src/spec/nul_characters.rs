//! Refuses NUL characters. JSON can contain them, but the kernel ends a string at a NUL, so the checked text
//! would not be the used one. Every field that tare reads ends up in the kernel, so they are refused
//! everywhere except in annotations, which are only passed on.

use serde_json::Value;

use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::tree;

const READ: &[&str] = &["root", "mounts", "process", "hostname", "domainname", "hooks", "linux"];

/// Checks a configuration.
pub(super) fn config(bytes: &[u8], diagnostics: &mut Diagnostics) {
    let value = suspect(bytes);
    for name in READ {
        if let Some(value) = value.as_ref().and_then(|value| tree::member(value, name)) {
            look(value, &JsonPointer::ROOT.key(name), diagnostics);
        }
    }
}

/// Checks a document that is read as a whole: a process, or resources.
pub(super) fn whole(bytes: &[u8], diagnostics: &mut Diagnostics) {
    if let Some(value) = suspect(bytes) {
        look(&value, &JsonPointer::ROOT, diagnostics);
    }
}

/// Parses the document if it may contain a NUL: in JSON only the escape can. Most documents contain no
/// backslash at all.
fn suspect(bytes: &[u8]) -> Option<Value> {
    let escaped = bytes.contains(&b'\\') && bytes.windows(6).any(|window| window == br"\u0000");
    escaped.then(|| serde_json::from_slice(bytes).ok())?
}

fn look(value: &Value, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    match value {
        Value::String(text) if text.contains('\0') => diagnostics.error(at, "contains a NUL character"),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| look(item, &at.item(index), diagnostics));
        }
        Value::Object(members) => {
            for (name, member) in members {
                let at = at.key(name);
                if name.contains('\0') {
                    diagnostics.error(&at, "the name contains a NUL character");
                }
                look(member, &at, diagnostics);
            }
        }
        _ => {}
    }
}
