//! Names of capabilities, exactly as in capabilities(7).
//!
//! The crate's own reader accepts `net_admin`, `NET_ADMIN` and `CAP_CAP_NET_ADMIN` for CAP_NET_ADMIN. runc
//! grants nothing for any of them: whoever reviews a configuration looks for the exact name, so nothing else
//! may grant it.

use std::collections::HashSet;

use oci_spec::runtime::Capability;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected};

use super::config_error::quote;
use super::spelling;

/// Returns the capability with exactly this name.
pub(super) fn parse_exact(name: &str) -> Option<Capability> {
    name.strip_prefix("CAP_")?.parse().ok()
}

/// Returns the capability with exactly this name, or an error.
pub(crate) fn parse_capability(name: &str) -> Result<Capability, String> {
    parse_exact(name).ok_or_else(|| format!("unknown capability {}", quote_with_suggestion(name)))
}

/// Quotes the name, and adds the one that was probably meant.
pub(super) fn quote_with_suggestion(name: &str) -> String {
    match suggest(name) {
        Some(meant) => format!("{} (did you mean CAP_{meant}?)", quote(name)),
        None => quote(name),
    }
}

/// Finds the meant name in spite of another case, a missing or doubled prefix, spaces around it, hyphens
/// within it, or a typing error.
fn suggest(name: &str) -> Option<Capability> {
    let upper = name.trim().to_ascii_uppercase().replace('-', "_");
    let bare = upper.trim_start_matches("CAP_");
    bare.parse().ok().or_else(|| {
        let known: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
        let known = known.iter().filter_map(|name| name.strip_prefix("CAP_"));
        spelling::nearest(bare, known)?.parse().ok()
    })
}

/// For `deserialize_with`: reads a set of exact names. Fails at the first invalid one.
pub(super) fn set<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<HashSet<Capability>>, D::Error> {
    let names: Option<Vec<Exact>> = Option::deserialize(deserializer)?;
    Ok(names.map(|names| names.into_iter().map(|Exact(capability)| capability).collect()))
}

struct Exact(Capability);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = || Error::invalid_value(Unexpected::Str(&name), &"the name of a capability");
        parse_exact(&name).map(Self).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_name_is_one() {
        assert_eq!(parse_exact("CAP_NET_ADMIN"), Some(Capability::NetAdmin));
        for name in [
            "NET_ADMIN",
            "net_admin",
            "cap_net_admin",
            "CAP_CAP_NET_ADMIN",
            " CAP_NET_ADMIN",
            "Cap-Net-Admin",
        ] {
            assert_eq!(parse_exact(name), None, "{name}");
            assert_eq!(quote_with_suggestion(name), format!("{name:?} (did you mean CAP_NET_ADMIN?)"));
        }
        assert_eq!(quote_with_suggestion("CAP_ALL"), "\"CAP_ALL\"");
    }

    #[test]
    fn each_capability_of_the_kernel_has_its_name_here() {
        for name in caps::all().iter().map(ToString::to_string) {
            assert_eq!(parse_exact(&name).map(|known| format!("CAP_{known}")), Some(name));
        }
    }
}
