//! One value for one control file, and what to do when the kernel does not take it.

use std::fmt;

/// A value to be written, with the config field that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `memory`, `cpu`, …: which hierarchy holds the file.
    pub controller: String,
    pub file: String,
    pub value: String,
    /// JSON pointer into config.json.
    pub pointer: String,
    pub absent: Absent,
    /// The kernel compares this value with a neighbour's (limit with swap, quota with period): a refusal (EINVAL) is
    /// final only when it comes again after the rest of the controller's values are in place.
    pub again: bool,
}

/// What a missing file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    Fail,
    /// The host has nothing to limit here.
    Skip,
    /// The same wish for another kernel's file.
    Instead {
        file: String,
        value: String,
    },
}

impl Write {
    pub fn new(controller: &str, file: &str, value: impl fmt::Display, pointer: impl Into<String>) -> Self {
        Self {
            controller: controller.to_owned(),
            file: file.to_owned(),
            value: value.to_string(),
            pointer: pointer.into(),
            absent: Absent::Fail,
            again: false,
        }
    }

    /// A file that `unified` names itself.
    pub fn is_unified(&self) -> bool {
        self.pointer.starts_with("/linux/resources/unified/")
    }

    #[must_use]
    pub fn or_skip(mut self) -> Self {
        self.absent = Absent::Skip;
        self
    }

    #[must_use]
    pub fn or(mut self, file: &str, value: impl fmt::Display) -> Self {
        self.absent = Absent::Instead { file: file.to_owned(), value: value.to_string() };
        self
    }

    #[must_use]
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.file, self.value)?;
        match &self.absent {
            Absent::Fail => {}
            Absent::Skip => write!(f, " if there")?,
            Absent::Instead { file, value } => write!(f, " or {file} = {value:?}")?,
        }
        write!(f, " ({})", self.pointer)
    }
}
