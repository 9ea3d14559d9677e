//! The parts that every sentence of an explanation is made of.

use std::ffi::CString;

use nix::errno::Errno;

use crate::error::{Error, Kind, describe};
use crate::handshake::Report;

/// Makes `doing: call: the kernel's answer`, of kind `Child`.
pub(super) fn during(report: &Report, doing: &str) -> Error {
    let text = report.text();
    let error = match report.errno {
        0 => Error::new(Kind::Child, text),
        code => {
            let error = Error::new(Kind::Child, describe(Errno::from_raw(code)));
            if text.is_empty() { error } else { error.context(text) }
        }
    };
    if doing.is_empty() { error } else { error.context(doing.to_owned()) }
}

pub(super) fn show(text: Option<&CString>) -> String {
    text.map_or(String::new(), |text| text.to_string_lossy().into_owned())
}
