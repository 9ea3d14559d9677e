//! Paths through a tree of values as Go reads it: a member with the exact name, otherwise one whose name
//! differs only in case.

use serde_json::Value;

/// Returns the member `name` of the object `value`.
pub(super) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let members = value.as_object()?;
    members
        .get(name)
        .or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

pub(super) fn member_mut<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let key = key(value, name)?;
    value.get_mut(&key)
}

/// Removes the member from its object, and returns it.
pub(super) fn remove(value: &mut Value, name: &str) -> Option<Value> {
    let key = key(value, name)?;
    value.as_object_mut()?.remove(&key)
}

/// Adds a member to the object if it does not have it.
pub(super) fn default(object: &mut Value, name: &str, value: Value) {
    if member(object, name).is_none()
        && let Some(members) = object.as_object_mut()
    {
        members.insert(name.to_owned(), value);
    }
}

/// Returns the value at `pointer` (RFC 6901).
pub(super) fn find<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    tokens(pointer).try_fold(value, |value, token| match value {
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => member(value, &token),
    })
}

pub(super) fn find_mut<'a>(value: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    tokens(pointer).try_fold(value, |value, token| match value {
        Value::Array(items) => items.get_mut(token.parse::<usize>().ok()?),
        _ => member_mut(value, &token),
    })
}

/// Returns the items of the array at `pointer`; none if it is no array.
pub(super) fn items_mut<'a>(value: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    find_mut(value, pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Returns a member name as a reference token of a JSON pointer. Control characters are escaped: a name comes
/// from the document and must not break a line of the log.
pub(crate) fn escape(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '~' => token.push_str("~0"),
            '/' => token.push_str("~1"),
            other if other.is_control() => token.extend(other.escape_default()),
            other => token.push(other),
        }
    }
    token
}

pub(super) fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn tokens(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(unescape)
}

fn key(value: &Value, name: &str) -> Option<String> {
    let members = value.as_object()?;
    let exact = members.get_key_value(name);
    let key = exact.map(|(key, _)| key).or_else(|| members.keys().find(|key| key.eq_ignore_ascii_case(name)));
    key.cloned()
}
