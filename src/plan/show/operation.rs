//! One operation of a plan, and the list of them.

use std::ffi::CStr;
use std::fmt::{self, Display, Formatter};

/// One operation of a plan. Prints as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The part of the container's life in which it is done: one of [`super::PHASES`].
    pub phase: &'static str,
    /// The JSON pointer of the field that asks for it, as errors name it; `None` if no field does.
    pub pointer: Option<String>,
    /// What is done: `mount`, `device`, `hook prestart`.
    pub name: &'static str,
    /// The index, if the operation is for an entry of a list. The pointer ends with it too.
    pub index: Option<usize>,
    /// The object of the operation and its options. May be empty.
    pub detail: String,
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.index.map_or(Ok(()), |index| write!(f, " {index}"))?;
        match &*self.detail {
            "" => Ok(()),
            detail => write!(f, " {detail}"),
        }
    }
}

/// The operations so far, and the phase of the next one.
#[derive(Default)]
pub(super) struct Operations {
    pub phase: &'static str,
    pub list: Vec<Operation>,
}

impl Operations {
    /// Adds what the field at `pointer` asks for; an empty pointer is no field.
    pub(super) fn add(&mut self, name: &'static str, pointer: &str, detail: impl Display) {
        self.push(name, Some(pointer).filter(|pointer| !pointer.is_empty()).map(String::from), None, detail);
    }

    /// Adds what the entry of this index asks for, in the list at `pointer`; without an index no entry does.
    pub(super) fn entry(
        &mut self,
        name: &'static str,
        pointer: &str,
        index: impl Into<Option<usize>>,
        detail: impl Display,
    ) {
        let index = index.into();
        self.push(name, index.map(|index| format!("{pointer}/{index}")), index, detail);
    }

    /// Adds the text of an optional field.
    pub(super) fn optional(&mut self, name: &'static str, pointer: &str, value: Option<&impl AsRef<CStr>>) {
        if let Some(value) = value {
            self.add(name, pointer, text(value.as_ref()));
        }
    }

    fn push(
        &mut self,
        name: &'static str,
        pointer: Option<String>,
        index: Option<usize>,
        detail: impl Display,
    ) {
        let detail = detail.to_string();
        self.list.push(Operation { phase: self.phase, pointer, name, index, detail });
    }
}

/// Printable, on one line.
pub(super) fn text(text: &CStr) -> String {
    text.to_string_lossy().escape_debug().to_string()
}
