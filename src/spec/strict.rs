//! `Strict`: an adapter between parser and types that reads objects only as objects, enumeration words only
//! as strings, and member names in any case.
//!
//! The derived types also read an array as a struct, with its items as the members in the order of the
//! source, and an object with one member as a word of an enumeration: `"linux": []` would pass as a `linux`
//! with nothing set. On the other hand they ignore a member `Cpus` where `cpus` is meant, which Go's reader,
//! and so runc, accepts: a limit would silently be lost. This adapter also knows the place when reading
//! fails.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::spelling;
use super::tree::escape;

/// The start of the error for a member that no type has.
pub(super) const UNKNOWN: &str = "no such member";

/// The path back from an unreadable value. It is empty as long as nothing fails.
pub(super) struct Track {
    steps: RefCell<Vec<String>>,
    /// Whether a member that no type has is an error. (By the specification it is ignored.)
    refuse_unknown: bool,
}

impl Track {
    pub(super) fn new(refuse_unknown: bool) -> Self {
        Self { steps: RefCell::default(), refuse_unknown }
    }

    fn step(&self, token: String) {
        self.steps.borrow_mut().push(token);
    }

    /// Returns the JSON pointer of the unreadable value.
    pub(super) fn pointer(&self) -> String {
        self.steps.borrow().iter().rev().flat_map(|token| ["/", token]).collect()
    }
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

    forward! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map() deserialize_identifier() deserialize_ignored_any()
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
        self.inner.visit_map(Members { members, fields: &[], name: Cow::Borrowed(""), track: self.track })
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
        let name = Cow::Borrowed("");
        self.visitor.visit_map(Members { members, fields: self.fields, name, track: self.track })
    }
}

/// The members of an object, or of a map, which has no known names.
struct Members<'t, A> {
    members: A,
    fields: &'static [&'static str],
    /// The name of the current member.
    name: Cow<'static, str>,
    track: &'t Track,
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
        });
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
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let Self { inner, fields, name, refuse } = self;
        inner.deserialize(Name { inner: deserializer, fields, name, refuse })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Name<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, fields, name, refuse } = self;
        inner.deserialize_str(Name { inner: visitor, fields, name, refuse })
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
        let field = known(|field, name| field == name).or_else(|| known(str::eq_ignore_ascii_case));
        *self.name = field.map_or_else(|| Cow::Owned(name.to_owned()), |field| Cow::Borrowed(*field));
        if self.refuse && field.is_none() {
            let meant = spelling::nearest(name, self.fields.iter().copied());
            return Err(E::custom(format_args!("{UNKNOWN}{}", spelling::hint(meant))));
        }
        self.inner.visit_str(self.name)
    }
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
