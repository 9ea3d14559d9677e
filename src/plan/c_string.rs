//! Text of the configuration as strings for the kernel, which ends strings at a NUL.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use crate::spec::ConfigError;

/// Makes a C string of `text`, which stands at `pointer` in the configuration.
pub(super) fn c_string(
    text: impl AsRef<OsStr>,
    pointer: impl FnOnce() -> String,
) -> Result<CString, ConfigError> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|_| ConfigError::new(pointer(), "has a NUL character within"))
}
