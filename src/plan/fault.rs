//! What is wrong with a configuration: where, and what.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Kind};

/// A field that cannot be planned: its JSON pointer and one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub pointer: String,
    pub message: String,
}

impl Fault {
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        crate::fail!(Kind::Spec, "{}: {}", fault.pointer, fault.message)
    }
}

/// A string for the kernel, which ends strings at a NUL.
pub fn c_string(text: impl AsRef<OsStr>, pointer: impl FnOnce() -> String) -> Result<CString, Fault> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| Fault::new(pointer(), "has a NUL character within"))
}
