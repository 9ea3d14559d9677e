//! `MountError`: a failed call of a mount, with the filesystem's own message about it.

use nix::errno::Errno;

use crate::handshake::{Report, Step};

/// A failed call, and the filesystem's own message about it.
pub(super) struct MountError {
    pub errno: Errno,
    pub call: &'static str,
    pub words: Vec<u8>,
}

impl MountError {
    /// Makes the report of the mount with this index in the plan.
    pub(super) fn report(&self, index: usize) -> Report {
        let mut report = Report::new(Step::Mount(index), self.errno, self.call);
        if !self.words.is_empty() {
            report.add(" (");
            report.add(&String::from_utf8_lossy(&self.words));
            report.add(")");
        }
        report
    }
}

/// Adds the name of the call to an errno.
pub(super) trait InCall<T> {
    fn call(self, call: &'static str) -> Result<T, MountError>;
}

impl<T> InCall<T> for Result<T, Errno> {
    fn call(self, call: &'static str) -> Result<T, MountError> {
        self.map_err(|errno| MountError { errno, call, words: Vec::new() })
    }
}
