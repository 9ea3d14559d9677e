//! Finds the line and column of a JSON pointer, for error messages.
//!
//! It works on `serde_json`'s raw values, which are slices of the text itself: the address of a value gives
//! its offset.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::tree::escape;

/// How deep a pointer is followed. The members that tare knows are not deeper, and hostile ones may be.
const DEPTH: usize = 12;

/// The members of an object in the order of the text, including repeated names.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn members(value: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    let object = value.get().starts_with('{');
    object.then(|| serde_json::from_str::<Members<'_>>(value.get()).ok())?.map(|members| members.0)
}

fn items(value: &RawValue) -> Option<Vec<&RawValue>> {
    let array = value.get().starts_with('[');
    array.then(|| serde_json::from_str(value.get()).ok())?
}

/// The place of a value in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Both count from 1, the column in bytes.
    pub line: usize,
    pub column: usize,
    /// The value itself, in bytes from the beginning of the text.
    pub span: Range<usize>,
    /// Whether this is the requested value, and not only the nearest one above it.
    pub exact: bool,
}

/// Finds places in one text. It remembers the values that it has looked into, for the next pointer.
pub(crate) struct Places<'a> {
    bytes: &'a [u8],
    root: &'a RawValue,
    /// The offsets at which lines begin, without the first line.
    lines: Vec<usize>,
    /// The members or items of a value, by the value's offset.
    below: HashMap<usize, Below<'a>>,
}

/// The members of an object, or the items of an array.
#[derive(Default)]
struct Below<'a> {
    items: Vec<&'a RawValue>,
    /// If a name occurs twice, the last member counts.
    named: HashMap<String, &'a RawValue>,
    in_lower_case: HashMap<String, &'a RawValue>,
}

impl<'a> Below<'a> {
    fn of(value: &'a RawValue) -> Self {
        let mut below = Self { items: items(value).unwrap_or_default(), ..Self::default() };
        for (name, member) in members(value).into_iter().flatten() {
            let name = escape(&name);
            below.in_lower_case.insert(name.to_ascii_lowercase(), member);
            below.named.insert(name, member);
        }
        below
    }

    /// Returns the item, or the member with that name; otherwise one whose name differs only in case, as Go
    /// does.
    fn get(&self, token: &str) -> Option<&'a RawValue> {
        let named = self.named.get(token).or_else(|| self.in_lower_case.get(&token.to_ascii_lowercase()));
        named.or_else(|| self.items.get(token.parse::<usize>().ok()?)).copied()
    }
}

impl<'a> Places<'a> {
    /// `None` if the document does not parse.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        let root = serde_json::from_slice(bytes).ok()?;
        let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let lines = newlines.map(|(offset, _)| offset + 1).collect();
        Some(Self { bytes, root, lines, below: HashMap::new() })
    }

    /// Returns the place of the value at `pointer`, or of the nearest existing value above it.
    pub(crate) fn find(&mut self, pointer: &str) -> Place {
        let (mut value, mut exact) = (self.root, true);
        for token in pointer.split('/').skip(1).take(DEPTH) {
            let offset = self.offset(value);
            let below = self.below.entry(offset).or_insert_with(|| Below::of(value));
            let Some(below) = below.get(token) else {
                exact = false;
                break;
            };
            value = below;
        }
        let offset = self.offset(value);
        let line = self.lines.partition_point(|&begin| begin <= offset);
        let begin = line.checked_sub(1).map_or(0, |before| self.lines[before]);
        Place { line: line + 1, column: offset - begin + 1, span: offset..offset + value.get().len(), exact }
    }

    fn offset(&self, value: &RawValue) -> usize {
        value.get().as_ptr().addr() - self.bytes.as_ptr().addr()
    }
}

/// Returns the place of one value, as [`Places::find`]. `None` if the document does not parse.
fn place(bytes: &[u8], pointer: &str) -> Option<Place> {
    Some(Places::new(bytes)?.find(pointer))
}

/// Returns line and column of [`place`].
pub(super) fn position(bytes: &[u8], pointer: &str) -> Option<(usize, usize)> {
    place(bytes, pointer).map(|place| (place.line, place.column))
}

/// Returns the pointers of members whose name occurred before in their object. `serde_json` refuses such a
/// document if the object is a struct, without saying where, and uses the last one if it is a map.
pub(super) fn duplicates(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(root) = serde_json::from_slice(bytes) {
        collect_repeated(root, "", DEPTH, &mut found);
    }
    found
}

fn collect_repeated(value: &RawValue, pointer: &str, depth: usize, found: &mut Vec<String>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (index, item) in items(value).into_iter().flatten().enumerate() {
        collect_repeated(item, &format!("{pointer}/{index}"), depth, found);
    }
    let (mut seen, mut repeated) = (HashSet::new(), HashSet::new());
    for (name, below) in members(value).into_iter().flatten() {
        let pointer = format!("{pointer}/{}", escape(&name));
        if !seen.contains(&name) {
            seen.insert(name);
            collect_repeated(below, &pointer, depth, found);
        } else if repeated.insert(name) {
            found.push(pointer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"a\": [1,\n    {\"b/c\": \"x\"}],\n\t\"d\": {}\n}";

    #[test]
    fn a_pointer_leads_to_its_line_and_column() {
        for (pointer, position_) in [
            ("", (1, 1)),
            ("/a", (2, 8)),
            ("/a/0", (2, 9)),
            ("/a/1/b~1c", (3, 13)),
            ("/d", (4, 7)),
            // A missing value is shown where it is missing.
            ("/d/e/f", (4, 7)),
            ("/a/7", (2, 8)),
        ] {
            assert_eq!(position(TEXT.as_bytes(), pointer), Some(position_), "{pointer}");
        }
        assert_eq!(position(b"{", ""), None);
    }

    #[test]
    fn a_repeated_name_is_found_at_any_level() {
        assert_eq!(duplicates(TEXT.as_bytes()), [""; 0]);
        assert_eq!(duplicates(br#"{"a":1,"b":[{"c":1,"c":2,"c":3}],"a":1}"#), ["/b/0/c", "/a"]);
        assert_eq!(duplicates(br#"{"a":1,"\u0061":2}"#), ["/a"]);
    }
}
