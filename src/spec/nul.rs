//! Refuses NUL characters. JSON can write them, but the kernel ends a string at them: what is checked would not be what is
//! used. Every field that tare reads goes to the kernel in the end, so they are refused wherever they stand, but
//! for annotations, which are only handed on.

use serde_json::Value;

use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::tree;

const READ: &[&str] = &["root", "mounts", "process", "hostname", "domainname", "hooks", "linux"];

/// The rule for a configuration.
pub(super) fn config(bytes: &[u8], diagnostics: &mut Diagnostics) {
    let value = suspect(bytes);
    for name in READ {
        if let Some(value) = value.as_ref().and_then(|value| tree::member(value, name)) {
            look(value, &JsonPointer::ROOT.key(name), diagnostics);
        }
    }
}

/// The rule for a document that is read whole: a process, resources.
pub(super) fn whole(bytes: &[u8], diagnostics: &mut Diagnostics) {
    if let Some(value) = suspect(bytes) {
        look(&value, &JsonPointer::ROOT, diagnostics);
    }
}

/// The document, if it may hold a NUL: within JSON only the escape can. Most documents hold no backslash at all.
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
