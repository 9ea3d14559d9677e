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
    pub if_missing: IfMissing,
    /// The kernel compares this value with a neighbour's (limit with swap, quota with period): a refusal (EINVAL) is
    /// final only when it comes again after the rest of the controller's values are in place.
    pub retry: bool,
}

/// What a missing file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMissing {
    Fail,
    /// The host has nothing to limit here.
    Skip,
    /// The same wish for another kernel's file.
    Fallback {
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
            if_missing: IfMissing::Fail,
            retry: false,
        }
    }

    /// A file that `unified` names itself.
    pub fn is_unified(&self) -> bool {
        self.pointer.starts_with("/linux/resources/unified/")
    }

    #[must_use]
    pub fn optional(mut self) -> Self {
        self.if_missing = IfMissing::Skip;
        self
    }

    #[must_use]
    pub fn with_fallback(mut self, file: &str, value: impl fmt::Display) -> Self {
        self.if_missing = IfMissing::Fallback { file: file.to_owned(), value: value.to_string() };
        self
    }

    #[must_use]
    pub fn with_retry(mut self) -> Self {
        self.retry = true;
        self
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.file, self.value)?;
        match &self.if_missing {
            IfMissing::Fail => {}
            IfMissing::Skip => write!(f, " if there")?,
            IfMissing::Fallback { file, value } => write!(f, " or {file} = {value:?}")?,
        }
        write!(f, " ({})", self.pointer)
    }
}
