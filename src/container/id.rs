//! A container's id: checked before anything touches the disk, because it becomes a directory's name.

use std::fmt;

use crate::error::{Error, Kind, Result, matched};

/// The file system's limit on a name.
const LONGEST: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerId(String);

impl ContainerId {
    pub fn parse(id: &str) -> Result<Self> {
        if id.is_empty() {
            return Err(Error::new(Kind::Usage, matched::EMPTY_ID));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '.' | '-');
        if id.len() > LONGEST || !id.chars().all(allowed) || matches!(id, "." | "..") {
            return Err(Error::new(Kind::Usage, matched::INVALID_ID));
        }
        Ok(Self(id.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stay_in_their_directory_are_ids() {
        for good in ["a", "-x", "a.b_c+d-1", "..."] {
            assert!(ContainerId::parse(good).is_ok(), "{good:?}");
        }
        let long = "x".repeat(5000);
        for bad in ["", ".", "..", "a/b", "../x", "a\0b", "a b", "a\n", "é", "%2e", &long] {
            assert!(ContainerId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
