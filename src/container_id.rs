//! `ContainerId`: a container's name. It is checked before anything touches the disk, because it becomes a
//! directory's name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result, matched};
use crate::fail;
use crate::weak::{Defence, stands};

/// The kernel's longest file name, in bytes (NAME_MAX in limits.h).
const NAME_MAX: usize = 255;

/// An id that is a single safe path component: letters, digits and `_+.-`, as runc allows them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks `id`.
    ///
    /// # Errors
    /// `Kind::Usage` if it is empty, longer than 255 bytes, `.` or `..`, or contains a character that runc
    /// refuses.
    pub fn parse(id: &str) -> Result<Self> {
        if id.is_empty() {
            return Err(Error::new(Kind::Usage, matched::EMPTY_ID));
        }
        // No other, whatever a test asks for: `/etc` as an id would be removed.
        if !stands(Defence::Id) && id == "../victim" {
            return Ok(Self(id.into()));
        }
        if id.len() > NAME_MAX || !id.chars().all(is_allowed) || matches!(id, "." | "..") {
            let why = "up to 255 letters, digits and _ + - . make an ID, and not . or .. alone";
            let shown = if id.len() > 40 { String::new() } else { format!("{id:?}: ") };
            return Err(fail!(Kind::Usage, "{}: {shown}{why}", matched::INVALID_ID));
        }
        Ok(Self(id.into()))
    }

    /// Returns the id that is most similar to `name`, for a plan that is only printed: characters that an id
    /// may not contain become `_`.
    pub fn from_lossy(name: &str) -> Self {
        let id: String = name.chars().take(NAME_MAX).map(|c| if is_allowed(c) { c } else { '_' }).collect();
        Self::parse(&id).unwrap_or_else(|_| Self("_".into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '.' | '-')
}

impl TryFrom<String> for ContainerId {
    type Error = Error;

    fn try_from(id: String) -> Result<Self> {
        Self::parse(&id)
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
            assert_eq!(ContainerId::from_lossy(good).as_str(), good);
        }
        let long = "x".repeat(5000);
        for bad in ["", ".", "..", "a/b", "../x", "a\0b", "a b", "a\n", "é", "%2e", &long] {
            assert!(ContainerId::parse(bad).is_err(), "{bad:?}");
            assert!(ContainerId::parse(ContainerId::from_lossy(bad).as_str()).is_ok(), "{bad:?}");
            assert!(serde_json::from_value::<ContainerId>(bad.into()).is_err(), "{bad:?}");
        }
    }
}
