//! Turns text of the configuration into strings for the kernel, which ends strings at a NUL.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Faults, Result};
use crate::spec::ConfigError;

/// Makes a C string of `text`. `pointer` is its place in the configuration.
pub(super) fn c_string(
    text: impl AsRef<OsStr>,
    pointer: impl FnOnce() -> String,
) -> Result<CString, ConfigError> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|_| ConfigError::new(pointer(), "has a NUL character within"))
}

/// Makes C strings of a list; `pointer/0` is the place of the first.
pub(super) fn c_strings(texts: &[String], pointer: &str) -> Result<Vec<CString>> {
    let numbered = texts.iter().enumerate();
    Faults::collect(numbered.map(|(index, text)| c_string(text, || format!("{pointer}/{index}"))))
}

/// Makes a C string of an optional field. An empty field counts as missing.
pub(super) fn optional_c_string(text: Option<&str>, pointer: &str) -> Result<Option<CString>, ConfigError> {
    let given = text.filter(|text| !text.is_empty());
    given.map(|text| c_string(text, || pointer.into())).transpose()
}

/// Makes C strings of a list of paths in the container, each of which must be absolute.
pub(super) fn absolute_paths(paths: Option<&Option<Vec<String>>>, pointer: &str) -> Result<Vec<CString>> {
    let paths = paths.and_then(|paths| paths.as_deref()).unwrap_or_default();
    let path = |(index, path): (usize, &String)| match path.starts_with('/') {
        false => {
            let why = format!("must be an absolute path: {path}");
            Err(ConfigError::new(format!("{pointer}/{index}"), why))
        }
        true => c_string(path, || format!("{pointer}/{index}")),
    };
    Faults::collect(paths.iter().enumerate().map(path))
}
