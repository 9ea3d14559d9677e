//! Reads the values of annotations `org.systemd.property.NAME`: GVariant text, as GLib prints it.

use std::str::FromStr;

use zbus::wire::Signature;
use zbus::{Array, ObjectPath, Variant};

use super::properties::Property;
use crate::cgroup::plan::pointer::escape_pointer;
use crate::error::{Error, Kind, Result};
use crate::fail;
use crate::weak::{Defence, stands};

const PREFIX: &str = "org.systemd.property.";
/// Properties that are decided elsewhere: the place of the unit, and its processes.
const OURS: [(&str, &str); 2] = [
    ("Slice", "the slice is the first part of /linux/cgroupsPath"),
    ("PIDs", "the container's process is the first"),
];
/// The longest text of a value, in bytes.
const LONGEST: usize = 64 << 10;
/// How deep arrays may nest: more is a mistake or an attack on our stack.
const DEEPEST: usize = 8;

/// Returns the property that an annotation sets; `None` for other annotations.
pub(crate) fn property(annotation: &str, text: &str) -> Result<Option<Property>> {
    let Some(name) = annotation.strip_prefix(PREFIX) else { return Ok(None) };
    let pointer = format!("/annotations/{}", escape_pointer(annotation));
    let wrong = |what: String| -> Error { fail!(Kind::Spec, "{pointer}: {what}") };
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(wrong(format!("{name:?} is no property name: at least three letters")));
    }
    if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Err(wrong(format!("cannot be set: {why}")));
    }
    if stands(Defence::UnitProperty) && acts_on_the_host(name) {
        return Err(wrong(
            "cannot be set: it has systemd run programs, start units or end the machine".into(),
        ));
    }
    if text.len() > LONGEST {
        return Err(wrong(format!("a value of {} bytes: at most {LONGEST}", text.len())));
    }
    let value = parse(text).map_err(|what| wrong(format!("value {text:?}: {what}")))?;
    // Configuration files use seconds, the bus uses microseconds.
    let (name, value) = match name.strip_suffix("Sec") {
        Some(stem) if !name.ends_with("USec") => {
            let value = microseconds(&value)
                .ok_or_else(|| wrong(format!("value {text:?}: not a number of seconds")))?;
            (format!("{stem}USec"), Variant::from(value))
        }
        _ => (name.to_owned(), value),
    };
    Ok(Some(Property::new(&name, value, pointer)))
}

/// Whether a property does something when the unit ends or fails. Annotations may come from who may not do that to this
/// host: the owner of a pod (CVE-2024-3154).
fn acts_on_the_host(name: &str) -> bool {
    name.starts_with("Exec")
        || ["Action", "RebootArgument", "OnFailure", "OnSuccess"].iter().any(|end| name.ends_with(end))
}

fn microseconds(value: &Variant<'_>) -> Option<u64> {
    let seconds = match *value {
        Variant::U8(value) => f64::from(value),
        Variant::I16(value) => f64::from(value),
        Variant::U16(value) => f64::from(value),
        Variant::I32(value) => f64::from(value),
        Variant::U32(value) => f64::from(value),
        Variant::I64(value) => return u64::try_from(value).ok()?.checked_mul(1_000_000),
        Variant::U64(value) => return value.checked_mul(1_000_000),
        Variant::F64(value) => value,
        _ => return None,
    };
    (0.0..1e13).contains(&seconds).then_some((seconds * 1e6) as u64)
}

type Parsed<T> = std::result::Result<T, String>;

fn parse(text: &str) -> Parsed<Variant<'static>> {
    let mut reader = Reader { rest: text, depth: 0 };
    let value = reader.value(None)?;
    reader.skip();
    if reader.rest.is_empty() { Ok(value) } else { Err(format!("unexpected {:?} at the end", reader.rest)) }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> &'a str {
        self.skip();
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// Parses a value. `wanted` is the type that a prefix or an earlier element has given.
    fn value(&mut self, wanted: Option<&Signature>) -> Parsed<Variant<'static>> {
        self.skip();
        match self.rest.chars().next() {
            Some('\'' | '"') => self.string(wanted),
            Some('[') => self.nested(|reader| reader.array(wanted)),
            Some('(') => self.nested(|reader| reader.tuple(wanted)),
            Some('@') => {
                self.rest = &self.rest[1..];
                let end = self.rest.find(char::is_whitespace).ok_or("a type without a value")?;
                let (signature, rest) = self.rest.split_at(end);
                let signature =
                    Signature::from_str(signature).map_err(|_| format!("{signature:?} is no type"))?;
                self.rest = rest;
                self.value(Some(&signature))
            }
            Some(_) => self.scalar(wanted),
            None => Err("empty".to_owned()),
        }
    }

    fn nested(
        &mut self,
        body: impl FnOnce(&mut Self) -> Parsed<Variant<'static>>,
    ) -> Parsed<Variant<'static>> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        let value = body(self);
        self.depth -= 1;
        value
    }

    fn scalar(&mut self, wanted: Option<&Signature>) -> Parsed<Variant<'static>> {
        let word = self.word();
        let named = match word {
            "true" => return typed(Variant::Bool(true), wanted),
            "false" => return typed(Variant::Bool(false), wanted),
            "byte" => Signature::U8,
            "int16" => Signature::I16,
            "uint16" => Signature::U16,
            "int32" => Signature::I32,
            "uint32" => Signature::U32,
            "int64" => Signature::I64,
            "uint64" => Signature::U64,
            "double" => Signature::F64,
            "boolean" => Signature::Bool,
            "string" => Signature::Str,
            "objectpath" => Signature::ObjectPath,
            "" => return Err(format!("unexpected {:?}", self.rest)),
            _ => return number(word, wanted),
        };
        if wanted.is_some_and(|wanted| *wanted != named) {
            return Err(format!("{word} in the place of another type"));
        }
        self.value(Some(&named))
    }

    fn string(&mut self, wanted: Option<&Signature>) -> Parsed<Variant<'static>> {
        let mut chars = self.rest.chars();
        let quote = chars.next().unwrap_or('\'');
        let mut text = String::new();
        loop {
            match chars.next() {
                None => return Err("a string without an end".to_owned()),
                Some(c) if c == quote => break,
                Some('\\') => text.push(escape(&mut chars)?),
                Some(c) => text.push(c),
            }
        }
        self.rest = chars.as_str();
        if text.contains('\0') {
            return Err("a string with a NUL".to_owned());
        }
        match wanted {
            Some(Signature::ObjectPath) => {
                let path = ObjectPath::try_from(text).map_err(|_| "not an object path")?;
                Ok(Variant::ObjectPath(path))
            }
            _ => typed(Variant::from(text), wanted),
        }
    }

    fn array(&mut self, wanted: Option<&Signature>) -> Parsed<Variant<'static>> {
        self.take('[');
        let mut element = match wanted {
            None => None,
            Some(Signature::Array(child)) => Some(child.signature().clone()),
            Some(other) => return Err(format!("an array in the place of {other}")),
        };
        let mut items = Vec::new();
        while !self.take(']') {
            if !items.is_empty() && !self.take(',') {
                return Err("an array without an end".to_owned());
            }
            let item = self.value(element.as_ref())?;
            element.get_or_insert_with(|| item.value_signature().clone());
            items.push(item);
        }
        let element = element.ok_or("an empty array needs its type: @as []")?;
        let mut array = Array::new(&element);
        for item in items {
            array.append(item).map_err(|error| error.to_string())?;
        }
        Ok(Variant::Array(array))
    }

    fn tuple(&mut self, wanted: Option<&Signature>) -> Parsed<Variant<'static>> {
        self.take('(');
        let fields: Option<Vec<Signature>> = match wanted {
            None => None,
            Some(Signature::Structure(fields)) => Some(fields.iter().cloned().collect()),
            Some(other) => return Err(format!("a tuple in the place of {other}")),
        };
        let mut builder = zbus::wire::StructureBuilder::new();
        let mut count = 0;
        while !self.take(')') {
            if count > 0 && !self.take(',') {
                return Err("a tuple without an end".to_owned());
            }
            if count > 0 && self.take(')') {
                break;
            }
            let wanted = match &fields {
                Some(fields) => Some(fields.get(count).ok_or("a tuple with too many values")?),
                None => None,
            };
            builder.push_value(self.value(wanted)?);
            count += 1;
        }
        if fields.is_some_and(|fields| fields.len() != count) {
            return Err("a tuple with too few values".to_owned());
        }
        builder.build().map(Variant::Structure).map_err(|error| error.to_string())
    }
}

fn escape(chars: &mut std::str::Chars<'_>) -> Parsed<char> {
    let digits = match chars.next() {
        Some('n') => return Ok('\n'),
        Some('t') => return Ok('\t'),
        Some('r') => return Ok('\r'),
        Some('u') => 4,
        Some('U') => 8,
        Some(c) => return Ok(c),
        None => return Err("a string without an end".to_owned()),
    };
    let hex: String = chars.by_ref().take(digits).collect();
    let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
    code.ok_or_else(|| format!("{hex:?} is no character"))
}

fn typed(value: Variant<'static>, wanted: Option<&Signature>) -> Parsed<Variant<'static>> {
    match wanted {
        Some(wanted) if value.value_signature() != wanted => Err(format!("{value} in the place of {wanted}")),
        _ => Ok(value),
    }
}

/// Parses a number. Without a type, a whole number is an int32 and one with a point is a double.
fn number(word: &str, wanted: Option<&Signature>) -> Parsed<Variant<'static>> {
    fn whole<T: TryFrom<i128> + Into<Variant<'static>>>(word: &str) -> Parsed<Variant<'static>> {
        let (sign, digits) = match word.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, word.strip_prefix('+').unwrap_or(word)),
        };
        let value = match digits.strip_prefix("0x") {
            Some(hex) => i128::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        let value = value.map_err(|_| format!("unexpected {word:?}"))? * sign;
        T::try_from(value).map(Into::into).map_err(|_| format!("{word} is out of range"))
    }
    let double = |word: &str| word.parse().map(Variant::F64).map_err(|_| format!("unexpected {word:?}"));
    match wanted {
        None if word.contains('.') => double(word),
        None | Some(Signature::I32) => whole::<i32>(word),
        Some(Signature::U8) => whole::<u8>(word),
        Some(Signature::I16) => whole::<i16>(word),
        Some(Signature::U16) => whole::<u16>(word),
        Some(Signature::U32) => whole::<u32>(word),
        Some(Signature::I64) => whole::<i64>(word),
        Some(Signature::U64) => whole::<u64>(word),
        Some(Signature::F64) => double(word),
        Some(other) => Err(format!("{word} in the place of {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_elsewhere_is_refused() {
        let error = property("org.systemd.property.Slice", "'a.slice'").unwrap_err().to_string();
        assert_eq!(
            error,
            "/annotations/org.systemd.property.Slice: cannot be set: the slice is the first part of /linux/cgroupsPath"
        );
        assert!(property("org.systemd.property.PIDs", "[uint32 1]").is_err());
    }

    #[test]
    fn values_read_as_glib_writes_them() {
        for (text, want) in [
            ("'inactive-or-failed'", "\"inactive-or-failed\""),
            ("\"a'b\"", "\"a'b\""),
            (r"'a\'\u0041\n'", "\"a'A\\n\""),
            ("true", "true"),
            ("5", "5"),
            ("-5", "-5"),
            ("uint64 123456789", "uint64 123456789"),
            ("byte 0x1f", "byte 0x1f"),
            ("1.5", "1.5"),
            ("['a.service', 'b.service']", "[\"a.service\", \"b.service\"]"),
            ("@as []", "@as []"),
            ("[uint32 1, 2]", "[uint32 1, 2]"),
            ("@au [1,2]", "[uint32 1, 2]"),
            ("('a', uint64 5)", "(\"a\", uint64 5)"),
            ("[('a', true)]", "[(\"a\", true)]"),
            ("@a(st) [('x', 7)]", "[(\"x\", uint64 7)]"),
            ("objectpath '/a/b'", "objectpath \"/a/b\""),
        ] {
            assert_eq!(parse(text).map(|value| value.to_string()).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            "'a",
            "[]",
            "[1,",
            "(1",
            "uint64",
            "uint64 -1",
            "byte 256",
            "['a', 1]",
            "1 2",
            "abc",
            "@zz 1",
            "@as [1]",
            "@(ss) ('a')",
            "{'a': 1}",
            "objectpath 'x'",
            "[[[[[[[[[1]]]]]]]]]",
            "'\\u00zz'",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn annotations_become_properties_and_seconds_microseconds() {
        let get = |name: &str, text: &str| property(&format!("org.systemd.property.{name}"), text);
        for (name, text, want) in [
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec uint64 5"),
            ("TimeoutStopSec", "123.45", "TimeoutStopUSec uint64 123450000"),
            ("TimeoutStopSec", "uint64 7", "TimeoutStopUSec uint64 7000000"),
            ("CollectMode", "'inactive'", "CollectMode \"inactive\""),
        ] {
            let property = get(name, text).unwrap().unwrap();
            assert_eq!(format!("{} {}", property.name, property.value), want);
        }
        assert_eq!(property("org.example", "nonsense").unwrap(), None);
        for (name, text) in
            [("ab", "1"), ("a/b", "1"), ("Foo1", "1"), ("XSec", "'a'"), ("XSec", "-1"), ("Foo", "x")]
        {
            let error = get(name, text).unwrap_err().to_string();
            assert!(error.starts_with("/annotations/org.systemd.property."), "{error}");
        }
    }
}
