//! `Strict`: an adapter between parser and types that reads objects only as objects, enumeration words only
//! as strings, and member names in any case.
//!
//! The derived types also read an array as a struct, with its items as the members in the order of the
//! source, and an object with one member as a word of an enumeration: `"linux": []` would pass as a `linux`
//! with nothing set. On the other hand they ignore a member `Cpus` where `cpus` is meant, which Go's reader,
//! and so runc, accepts: a limit would silently be lost. This adapter also knows the place when reading
//! fails.
//!
//! A document that readers read differently is one thing to who checks it and another to who runs it
//! (CVE-2021-41190): of two members of one name Go takes the last and others the first, and one of another
//! case is a member to Go alone. [`from_slice`] refuses both, for images and our own files.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::spelling;
use super::tree::escape;

/// The start of the error for a member that no type has.
pub(super) const UNKNOWN: &str = "no such member";

/// The path back from an unreadable value. It is empty as long as nothing fails.
pub(super) struct Track {
    steps: RefCell<Vec<String>>,
    /// Whether a member that no type has is an error. (By the specification it is ignored.)
    refuse_unknown: bool,
    /// Set where two members of one name are an error wherever they are. (Without it, where a type knows the
    /// name.)
    unambiguous: Option<Spelling>,
}

/// How a member is read whose name differs from a known one only in case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// It is that member, as to Go.
    AnyCase,
    /// It is refused: to Go it is that member, to others it is none.
    Exact,
}

impl Track {
    pub(super) fn new(refuse_unknown: bool) -> Self {
        Self { steps: RefCell::default(), refuse_unknown, unambiguous: None }
    }

    fn step(&self, token: String) {
        self.steps.borrow_mut().push(token);
    }

    /// Returns the JSON pointer of the unreadable value.
    pub(super) fn pointer(&self) -> String {
        self.steps.borrow().iter().rev().flat_map(|token| ["/", token]).collect()
    }
}

/// Reads a document that all readers must read as the same. An error names the place.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8], spelling: Spelling) -> Result<T, String> {
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = read(&mut parser, spelling)?;
    parser.end().map(|()| value).map_err(|error| error.to_string())
}

/// Does the same with values that were read already.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value, spelling: Spelling) -> Result<T, String> {
    read(value, spelling)
}

fn read<'de, T, D>(from: D, spelling: Spelling) -> Result<T, String>
where
    T: DeserializeOwned,
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let track = Track { unambiguous: Some(spelling), ..Track::new(false) };
    T::deserialize(Strict::new(from, &track)).map_err(|error| match track.pointer() {
        pointer if pointer.is_empty() => error.to_string(),
        pointer => format!("{pointer}: {error}"),
    })
}

#[derive(Clone, Copy)]
pub(super) struct Strict<'t, T> {
    inner: T,
    track: &'t Track,
}

impl<'t, T> Strict<'t, T> {
    pub(super) fn new(inner: T, track: &'t Track) -> Self {
        Self { inner, track }
    }

    fn below<U>(&self, inner: U) -> Strict<'t, U> {
        Strict { inner, track: self.track }
    }
}

macro_rules! forward {
    ($($method:ident($($argument:ident: $typ:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $typ,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.below(visitor);
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(Object { visitor, fields, track: self.track })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_str(Word(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.below(visitor);
        match self.track.unambiguous {
            // The names in ignored values are checked too, because other programs read these values.
            Some(_) => self.inner.deserialize_any(visitor),
            None => self.inner.deserialize_ignored_any(visitor),
        }
    }

    forward! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map() deserialize_identifier()
    }
}

macro_rules! visit {
    ($($method:ident: $typ:ty)*) => {$(
        fn $method<E: Error>(self, value: $typ) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

/// Values inside are read as strictly.
impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool visit_i64: i64 visit_u64: u64 visit_f64: f64
        visit_str: &str visit_borrowed_str: &'de str visit_string: String
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.below(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.below(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Items { items, next: 0, track: self.track })
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Members::new(members, &[], self.track))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.below(deserializer);
        self.inner.deserialize(deserializer)
    }
}

struct Items<'t, A> {
    items: A,
    next: usize,
    track: &'t Track,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let item = self.items.next_element_seed(Strict::new(seed, self.track));
        self.next += 1;
        item.inspect_err(|_| self.track.step((self.next - 1).to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        self.items.size_hint()
    }
}

/// An object with members of known names.
struct Object<'t, V> {
    visitor: V,
    fields: &'static [&'static str],
    track: &'t Track,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Object<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Members::new(members, self.fields, self.track))
    }
}

/// The members of an object, or of a map, which has no known names.
struct Members<'t, A> {
    members: A,
    fields: &'static [&'static str],
    /// The name of the current member.
    name: Cow<'static, str>,
    /// The names so far that are not fields. If a field occurs twice, its type itself reports that.
    seen: HashSet<String>,
    track: &'t Track,
}

impl<'t, A> Members<'t, A> {
    fn new(members: A, fields: &'static [&'static str], track: &'t Track) -> Self {
        Self { members, fields, name: Cow::Borrowed(""), seen: HashSet::new(), track }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let refuse = self.track.refuse_unknown && !self.fields.is_empty();
        let key = self.members.next_key_seed(Name {
            inner: seed,
            fields: self.fields,
            name: &mut self.name,
            refuse,
            unambiguous: self.track.unambiguous,
        });
        if self.track.unambiguous.is_some()
            && let (Ok(Some(_)), Cow::Owned(name)) = (&key, &self.name)
            && !self.seen.insert(name.clone())
        {
            return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
        }
        key.inspect_err(|_| {
            if refuse {
                self.track.step(escape(&self.name));
            }
        })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.members.next_value_seed(Strict::new(seed, self.track));
        value.inspect_err(|_| self.track.step(escape(&self.name)))
    }

    fn size_hint(&self) -> Option<usize> {
        self.members.size_hint()
    }
}

/// The name of a member, on its way from the parser (a deserializer) to the type (a visitor).
struct Name<'m, T> {
    inner: T,
    fields: &'static [&'static str],
    name: &'m mut Cow<'static, str>,
    /// Whether a name that is none of `fields` is an error.
    refuse: bool,
    unambiguous: Option<Spelling>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let Self { inner, fields, name, refuse, unambiguous } = self;
        inner.deserialize(Name { inner: deserializer, fields, name, refuse, unambiguous })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Name<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, fields, name, refuse, unambiguous } = self;
        inner.deserialize_str(Name { inner: visitor, fields, name, refuse, unambiguous })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Name<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<V::Value, E> {
        let known = |same: fn(&str, &str) -> bool| self.fields.iter().find(|field| same(field, name));
        let field = known(|field, name| field == name).or_else(|| known(is_one_to_go));
        if let (Some(field), Some(Spelling::Exact)) = (field, self.unambiguous)
            && *field != name
        {
            return Err(E::custom(format_args!(
                "{name:?} is {field:?} to some readers, and nothing to others"
            )));
        }
        *self.name = field.map_or_else(|| Cow::Owned(name.to_owned()), |field| Cow::Borrowed(*field));
        if self.refuse && field.is_none() {
            let meant = spelling::nearest(name, self.fields.iter().copied());
            return Err(E::custom(format_args!("{UNKNOWN}{}", spelling::hint(meant))));
        }
        self.inner.visit_str(self.name)
    }
}

/// Whether Go's reader takes a member for the field: it ignores case, and also knows the two letters outside
/// ASCII whose other case is inside.
fn is_one_to_go(field: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    field.chars().map(fold).eq(name.chars().map(fold))
}

/// A word of an enumeration, which can only be a string.
struct Word<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Word<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<V::Value, E> {
        self.0.visit_enum(StrDeserializer::new(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "what is read is told by whether it is")]
    struct Thing {
        layers: Option<Vec<Thing>>,
        #[serde(default)]
        labels: std::collections::HashMap<String, String>,
    }

    fn told(json: &str, spelling: Spelling) -> String {
        from_slice::<Thing>(json.as_bytes(), spelling).map_or_else(|error| error, |_| String::new())
    }

    #[test]
    fn a_document_that_readers_read_differently_is_refused() {
        for (json, why) in [
            (r#"{"layers":[],"Layers":[]}"#, "is \"layers\" to some readers"),
            (r#"{"Layers":[]}"#, "is \"layers\" to some readers"),
            ("{\"layer\u{17f}\":[]}", "is \"layers\" to some readers"),
            (r#"{"layers":[{"LABELS":{}}]}"#, "/layers/0: "),
            (r#"{"layers":[],"layers":[]}"#, "duplicate field `layers`"),
            (r#"{"labels":{"a":"1","a":"2"}}"#, "/labels: duplicate field `a`"),
            (r#"{"labels":{"a":"1","\u0061":"2"}}"#, "duplicate field `a`"),
            (r#"{"other":{"a":[{"b":1,"b":2}]}}"#, "/other/a/0: duplicate field `b`"),
            (r#"{"other":1,"other":2}"#, "duplicate field `other`"),
            (r#"[[],{}]"#, "invalid type: sequence"),
            (r#"{"layers":[[null]]}"#, "/layers/0: invalid type: sequence"),
        ] {
            assert!(told(json, Spelling::Exact).contains(why), "{json}: {}", told(json, Spelling::Exact));
        }
        assert_eq!(
            told(r#"{"layers":[{"labels":{"a":"1","A":"2"}}],"Other":1,"other":2}"#, Spelling::Exact),
            ""
        );
        assert_eq!(told("{\"LAYER\u{17f}\":[]}", Spelling::AnyCase), "");
        assert!(told(r#"{"Layers":[],"layers":[]}"#, Spelling::AnyCase).contains("duplicate field"));
    }
}
