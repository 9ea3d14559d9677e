//! `Error` is the one error type. It imports nothing of tare but the words for an errno: every layer above
//! adds what it was doing, to which object.
//!
//! A message goes from the outermost part to the innermost, with the value last after a colon, in lower case
//! and without a full stop:
//! `/mounts/3: error mounting "cgroup" to rootfs at "/sys/fs/cgroup": move_mount: operation not permitted`. A
//! hint is separate.

pub(crate) mod matched;
pub(crate) mod printable;

use std::borrow::Cow;
use std::fmt;

use nix::errno::Errno;

use printable::shortened;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure: the only part of an error that code may decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong.
    Usage,
    /// config.json, process.json or another document is wrong.
    Spec,
    /// There is no such container, file or image.
    NotFound,
    /// The id or name is in use.
    Exists,
    /// The container is in a state that does not allow the verb.
    State,
    /// This host or this build cannot do it.
    Unsupported,
    /// A registry, a policy or another program refuses it.
    Denied,
    /// A system call failed.
    System(Errno),
    /// The container's process, a hook or a helper program failed.
    Child,
}

/// A failure: its kind, the sentence, and perhaps a hint for the person.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    /// The innermost is first; they are printed in reverse.
    context: Vec<Cow<'static, str>>,
    cause: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    /// Errors that were found at the same time and are not consequences of this one.
    others: Vec<Error>,
}

/// The longest part of an error in bytes: a path that the kernel takes has half of that.
const MOST_OF_A_PART: usize = 8192;
/// How many faults are told of one document.
const MOST_FAULTS: usize = 500;

/// Collects errors, so that all of them are reported at once.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Error>);

impl Faults {
    /// Returns the value of a result, or keeps its error and returns `None`: then the caller leaves out what
    /// depends on the value.
    pub(crate) fn keep<T, E: Into<Error>>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.push(error.into())).ok()
    }

    /// Adds an error. Each is compared with the others, and nobody reads more than [`MOST_FAULTS`]: the last one says that
    /// there are more.
    pub(crate) fn push(&mut self, error: Error) {
        if self.0.len() >= MOST_FAULTS {
            return;
        }
        // Two checks may find the same error.
        if self.0.iter().any(|told| told.to_string() == error.to_string()) {
            return;
        }
        match self.0.len() + 1 < MOST_FAULTS {
            true => self.0.push(error),
            false => self.0.push(Error::new(error.kind(), "and more, which are not told")),
        }
    }

    /// Returns the value if no error was found, otherwise all the errors.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T> {
        self.error().map_or(Ok(value), Err)
    }

    /// Returns all the errors as one, of the kind of the first.
    pub(crate) fn error(self) -> Option<Error> {
        let mut errors = self.0.into_iter();
        let mut first = errors.next()?;
        first.0.others.extend(errors);
        Some(first)
    }

    /// Returns the values of a list of results, or all its errors.
    pub(crate) fn collect<T, E: Into<Error>>(items: impl Iterator<Item = Result<T, E>>) -> Result<Vec<T>> {
        let mut faults = Self::default();
        // Allocated once, because this runs for every container.
        let mut good = Vec::with_capacity(items.size_hint().0);
        good.extend(items.filter_map(|item| faults.keep(item)));
        faults.into_result(good)
    }
}

impl Error {
    /// Returns the errors that were found together, each alone.
    pub(crate) fn parts(mut self) -> Vec<Self> {
        let others = std::mem::take(&mut self.0.others);
        std::iter::once(self).chain(others.into_iter().flat_map(Self::parts)).collect()
    }

    /// Makes an error of `kind` whose innermost sentence is `cause`: lower case, no full stop.
    pub fn new(kind: Kind, cause: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            context: Vec::new(),
            cause: cause.into(),
            hint: None,
            others: Vec::new(),
        }))
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the kernel's answer, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self.0.kind {
            Kind::System(errno) => Some(errno),
            _ => None,
        }
    }

    /// Returns what a person can do about the error.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Adds what a person can do about the error. It is printed on a line of its own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the file system that is full, where the error is about that, by `path`, which is on it.
    #[must_use]
    pub(crate) fn name_full_disk(self, path: &std::path::Path) -> Self {
        let path = path.display();
        match self.errno() {
            Some(Errno::ENOSPC) if self.hint().is_none() => self.with_hint(format!(
                "the file system that {path} is on is full: `df {path}` and `df -i {path}` show it"
            )),
            Some(Errno::EDQUOT) if self.hint().is_none() => {
                self.with_hint(format!("the quota on the file system of {path} is used up"))
            }
            _ => self,
        }
    }

    /// Adds what was being done, as the new outermost part of the sentence.
    #[must_use]
    pub fn context(mut self, doing: impl Into<Cow<'static, str>>) -> Self {
        self.0.context.push(doing.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doing in self.0.context.iter().rev() {
            write!(f, "{}: ", shortened(doing, MOST_OF_A_PART))?;
        }
        f.write_str(&shortened(&self.0.cause, MOST_OF_A_PART))?;
        self.0.others.iter().try_for_each(|other| write!(f, "; {other}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

/// Returns the words for an errno: `operation not permitted`.
pub(crate) fn describe(errno: Errno) -> String {
    crate::errno_words::words(errno)
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::new(Kind::System(errno), describe(errno))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Errno::from_raw(code).into(),
            None => Self::new(Kind::System(Errno::EIO), error.to_string()),
        }
    }
}

/// Turns the error of a `Result` into an [`Error`] and adds what was being done, to which object.
pub(crate) trait Context<T> {
    fn context(self, doing: impl Into<Cow<'static, str>>) -> Result<T>;
    fn with_context<C: Into<Cow<'static, str>>>(self, doing: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|e| e.into().context(doing))
    }

    fn with_context<C: Into<Cow<'static, str>>>(self, doing: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|e| e.into().context(doing()))
    }
}

/// Makes an error of `kind` with a formatted sentence: `fail!(Kind::Spec, "{path}: not absolute")`.
#[macro_export]
macro_rules! fail {
    ($kind:expr, $($arg:tt)+) => { $crate::error::Error::new($kind, format!($($arg)+)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_reads_outside_in() {
        let error = Error::from(Errno::EPERM).context("move_mount").context("mount 3 (/sys/fs/cgroup)");
        assert_eq!(error.to_string(), "mount 3 (/sys/fs/cgroup): move_mount: operation not permitted");
        assert_eq!(error.errno(), Some(Errno::EPERM));
    }
}
