//! One rule of the list, read from the configuration.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::cgroup::plan::pointer::invalid_resource;
use crate::error::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceType {
    Block,
    Char,
}

/// A set of the three ways to use a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access(u8);

impl Access {
    pub const MKNOD: Self = Self(1);
    pub const READ: Self = Self(2);
    pub const WRITE: Self = Self(4);
    pub const ALL: Self = Self(7);

    /// Returns the bits as in `struct bpf_cgroup_dev_ctx`.
    pub fn bits(self) -> u8 {
        self.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Parses letters `r`, `w`, `m`; `None` for another letter or no letter at all.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |letter| match letter {
            'r' => Some(Self::READ),
            'w' => Some(Self::WRITE),
            'm' => Some(Self::MKNOD),
            _ => None,
        };
        let set = text.chars().try_fold(Self::default(), |set, c| Some(set.or(letter(c)?)))?;
        (!set.is_empty()).then_some(set)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if !self.and(bit).is_empty() {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// The nodes that a rule applies to. `None` stands for every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DevicePattern {
    pub kind: DeviceType,
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

impl DevicePattern {
    pub const fn char(major: Option<u32>, minor: Option<u32>) -> Self {
        Self { kind: DeviceType::Char, major, minor }
    }

    /// Whether this contains every node of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        let matches = |mine: Option<u32>, other| mine.is_none() || mine == other;
        self.kind == other.kind && matches(self.major, other.major) && matches(self.minor, other.minor)
    }

    /// Whether some node belongs to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let matches = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && matches(self.major, other.major) && matches(self.minor, other.minor)
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = match self.kind {
            DeviceType::Block => 'b',
            DeviceType::Char => 'c',
        };
        write!(f, "{kind} {}:{}", number(self.major), number(self.minor))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    /// `None`: both kinds (type `a`, or no type).
    pub kind: Option<DeviceType>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

impl Rule {
    /// Reads rule `index` of `linux.resources.devices`.
    pub fn from_spec(rule: &LinuxDeviceCgroup, index: usize) -> Result<Self> {
        let field = |name: &str| format!("devices/{index}/{name}");
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => None,
            Some(LinuxDeviceType::B) => Some(DeviceType::Block),
            Some(LinuxDeviceType::C) => Some(DeviceType::Char),
            Some(other) => {
                let word = other.as_str();
                return Err(invalid_resource(
                    &field("type"),
                    format_args!("invalid cgroup device type: {word:?}"),
                ));
            }
        };
        let text = rule.access().as_deref().unwrap_or_default();
        let access = Access::parse(text).ok_or_else(|| {
            invalid_resource(&field("access"), format_args!("must be one or more of r, w, m: {text:?}"))
        })?;
        let major = number(rule.major(), 12, &field("major"))?;
        let minor = number(rule.minor(), 20, &field("minor"))?;
        Ok(Self { allow: rule.allow(), kind, major, minor, access })
    }

    /// Whether the rule is for all nodes and all ways of access.
    pub fn is_all(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == Access::ALL
    }

    pub fn nodes(&self) -> impl Iterator<Item = DevicePattern> + use<> {
        let Self { major, minor, .. } = *self;
        let kinds = match self.kind {
            Some(kind) => [Some(kind), None],
            None => [Some(DeviceType::Block), Some(DeviceType::Char)],
        };
        kinds.into_iter().flatten().map(move |kind| DevicePattern { kind, major, minor })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.allow { "allow" } else { "deny" };
        let mut node =
            DevicePattern { kind: DeviceType::Char, major: self.major, minor: self.minor }.to_string();
        match self.kind {
            Some(kind) => node = DevicePattern { kind, major: self.major, minor: self.minor }.to_string(),
            None => node.replace_range(..1, "a"),
        }
        write!(f, "{verb} {node} {}", self.access)
    }
}

/// Reads a device number of `bits` bits, as the kernel packs them. A missing number or -1 is every number.
fn number(value: Option<i64>, bits: u32, field: &str) -> Result<Option<u32>> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => match u32::try_from(value) {
            Ok(number) if number < 1 << bits => Ok(Some(number)),
            _ => {
                let what = format_args!("not a device number below {}: {value}", 1_u32 << bits);
                Err(invalid_resource(field, what))
            }
        },
    }
}
