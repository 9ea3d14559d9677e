//! One value for one control file, and what to do if the kernel does not accept it.

use std::fmt;

/// A value to write, with the config field that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The controller, such as `memory` or `cpu`. It decides in which hierarchy the file is.
    pub controller: String,
    pub file: String,
    pub value: String,
    /// JSON pointer into config.json.
    pub pointer: String,
    pub if_missing: IfMissing,
    /// The kernel compares this value with a related one (limit with swap, quota with period). So a refusal
    /// (EINVAL) is final only if it is repeated after the controller's other values are written.
    pub retry: bool,
}

/// What happens if the file is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMissing {
    Fail,
    /// Nothing: the host has nothing to limit here.
    Skip,
    /// A warning: some kernels have no such limit.
    Warn,
    /// The value goes to another kernel's file instead.
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

    /// Whether this needs a controller. A limit does, "no limit" does not: engines write it for every
    /// container (`podman run --pids-limit -1`).
    pub fn needs_controller(&self) -> bool {
        self.if_missing != IfMissing::Skip && !self.lifts_limit()
    }

    /// Whether the value is that of a new group anyway: no limit.
    fn lifts_limit(&self) -> bool {
        // For "no limit" the kernel shows the largest number, rounded down to a whole page.
        let largest = self.value.parse::<i64>().is_ok_and(|value| value >= i64::MAX - 0xffff);
        let is_max = |word: &str| word == "max" || word.ends_with("=max");
        let mut words = self.value.split_whitespace();
        match self.file.as_str() {
            "cpu.max" => words.next() == Some("max"),
            // The line is for one device or resource, which is its first word.
            "io.max" | "rdma.max" | "misc.max" => words.skip(1).all(is_max),
            "cpu.idle" | "cpu.max.burst" | "cpu.cfs_burst_us" => self.value == "0",
            // A period without a quota limits nothing.
            "cpu.cfs_period_us" | "cpu.rt_period_us" => true,
            file if file.starts_with("blkio.throttle.") => self.value.ends_with(" 0"),
            file if file.ends_with(".max") || file.ends_with(".high") => is_max(&self.value) || largest,
            // v1's values, and the largest value of v2's protection.
            _ => {
                let protection = self.pointer.ends_with("/reservation") && self.value == "max";
                self.value == "-1" || largest || protection
            }
        }
    }

    /// Whether `unified` names this file itself.
    pub fn is_unified(&self) -> bool {
        self.pointer.starts_with("/linux/resources/unified/")
    }

    #[must_use]
    pub fn optional(mut self) -> Self {
        self.if_missing = IfMissing::Skip;
        self
    }

    #[must_use]
    pub fn or_warning(mut self) -> Self {
        self.if_missing = IfMissing::Warn;
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
            IfMissing::Skip | IfMissing::Warn => write!(f, " if there")?,
            IfMissing::Fallback { file, value } => write!(f, " or {file} = {value:?}")?,
        }
        write!(f, " ({})", self.pointer)
    }
}
