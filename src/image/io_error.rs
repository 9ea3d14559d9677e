//! Carries the errors of this program through the traits of `std::io`, which know only `io::Error`.

use std::io;

use crate::error::{Error, Kind};

/// Our error on its way through `std::io`.
pub(super) fn to_io_error(error: Error) -> io::Error {
    io::Error::other(error)
}

/// What came through `std::io`: our own sentence unharmed, else the kernel's answer.
pub(super) fn from_io_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.raw_os_error() {
            Some(_) => error.into(),
            None => Error::new(Kind::Spec, error.to_string()),
        },
    }
}
