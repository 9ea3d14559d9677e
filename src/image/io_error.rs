//! Carries the errors of this program through the traits of `std::io`, which know only `io::Error`.

use std::io;

use crate::error::{Error, Kind};

/// Wraps our error in an `io::Error`, so that a `Read` can return it.
pub(super) fn to_io_error(error: Error) -> io::Error {
    io::Error::other(error)
}

/// Takes our error out of an `io::Error` again; any other becomes an error of the system or of the format.
pub(super) fn from_io_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.raw_os_error() {
            Some(_) => error.into(),
            None => Error::new(Kind::Spec, error.to_string()),
        },
    }
}
